//! Floor 1: definitions in every dialect become one [`Definition`], are checked, and compile to a [`Plan`].
//!
//! Text goes through these steps, each its own module: `text` (YAML or JSON to a tree that knows line and column of
//! every key and value), `pattern` (uses of patterns are replaced by what they stand for), `read` (the dialects:
//! canonical, `workflow`, S0 `stages`, S1 `steps`, S4 chain and graph, to one definition), `shape` and `lower` (types,
//! cases, fallbacks and cycles become plain tasks and edges), `check` (everything that needs the whole of it; it builds
//! the plan) and [`explain`] (levels, critical path, estimates, candidates). Findings are collected, not thrown: one run
//! reports everything it can see.
//!
//! The reference of the language is `docs/language.md`. No IO, no clock, no randomness.

mod allocate;
mod canonical;
mod check;
mod definition;
mod explain;
mod format;
mod limits;
mod lower;
mod offers;
mod pattern;
mod providers;
mod range;
mod read;
mod render;
mod report;
mod schema;
mod shape;
mod text;

use std::time::Duration;

use base::{ErrorCode, Finding};
use workflow::plan::Plan;

use report::Report;

pub use allocate::{Allocation, Allotment, Choice, Job, allocate};
pub use definition::{Body, Definition, Dependency, Dialect, Shape, Task};
pub use explain::{Analysis, analyse, calls, explain};
pub use format::format_definition;
pub use limits::Limits;
pub use offers::{Candidate, Chance, Offer, Offers, Shortage};
pub use pattern::{
    Parameter, Pattern, PatternOutcome, Patterns, built_in_pattern_sources, built_in_patterns, parse_pattern,
    read_pattern,
};
pub use providers::{Kinds, Provider};
pub use range::VersionRange;
pub use render::render;
pub use schema::definition_schema;
pub use text::Format;

/// What the installation sets for definitions that do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Time limit of an execution of a chain.
    pub chain_timeout: Option<Duration>,
    /// Retries of the steps of a chain.
    pub chain_retries: Option<u32>,
    /// Nodes of a graph that run at once.
    pub graph_max_workers: Option<u32>,
    /// Whether nodes of a graph run at once at all.
    pub graph_parallel: bool,
    /// Task queue of work of other engines that names none, and shown as that of every workflow.
    pub task_queue: Option<String>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            chain_timeout: None,
            chain_retries: None,
            graph_max_workers: None,
            graph_parallel: true,
            task_queue: None,
        }
    }
}

/// How a definition is to be read.
#[derive(Clone, Default)]
pub struct Options<'a> {
    /// YAML or JSON; `None` = found out.
    pub format: Option<Format>,
    /// How large it may be.
    pub limits: Limits,
    /// For what the definition does not say.
    pub defaults: Defaults,
    /// The fleet; `None` = there is none to ask, nothing is said about agents.
    pub offers: Option<&'a dyn Offers>,
    /// Patterns of users; `None` = only the built-in ones.
    pub patterns: Option<&'a dyn Patterns>,
    /// Engines that `provider` may name; `None` = those of this release.
    pub providers: Option<&'a [Provider]>,
    /// Which kinds of definitions are taken.
    pub kinds: Kinds,
}

/// A definition without errors.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The definition. Its version is set; it was derived from the content if the text has none.
    pub definition: Definition,
    /// The plan.
    pub plan: Plan,
    /// The canonical form: JSON with sorted keys, the same for every spelling of the same definition.
    pub canonical: String,
    /// Hex of the BLAKE3 of the canonical form, without a name or version that was derived from it.
    pub content_hash: String,
}

/// What came of a text.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Everything found, by line.
    pub findings: Vec<Finding>,
    /// The result, when there are no errors.
    pub compiled: Option<Compiled>,
    /// What could be read, errors or not; `None` when the text is no definition.
    pub definition: Option<Definition>,
}

impl Outcome {
    /// The error code that a refusal has: a pattern that does not run and what can never fit have their own, everything
    /// else is an invalid definition. `None` when there is no error.
    pub fn error_code(&self) -> Option<ErrorCode> {
        let mut errors = self.findings.iter().filter(|finding| finding.is_error()).peekable();
        errors.peek()?;
        let all = |code: &str| self.findings.iter().filter(|f| f.is_error()).all(|f| f.code == code);
        Some(match () {
            () if all("unsupported-pattern") => ErrorCode::UnsupportedPattern,
            () if all("insufficient-resources") => ErrorCode::InsufficientResources,
            () if all("kind-off") => ErrorCode::InvalidState,
            () => ErrorCode::InvalidDefinition,
        })
    }
}

/// Reads, checks and compiles `source`.
pub fn compile(source: &str, options: &Options<'_>) -> Outcome {
    let mut report = Report::with_max(options.limits.findings_max);
    let Some(mut root) = text::parse(source, options.format, &options.limits, &mut report) else {
        return Outcome { findings: report.finish(), compiled: None, definition: None };
    };
    if !pattern::expand::expand(&mut root, options.patterns, &options.limits, &mut report) {
        return Outcome { findings: report.finish(), compiled: None, definition: None };
    }
    let Some(mut definition) = read::read(&root, &options.limits, &mut report) else {
        return Outcome { findings: report.finish(), compiled: None, definition: None };
    };
    drop(root);
    if let Some((what, setting)) = options.kinds.refuses(definition.dialect) {
        let message = format!("{what} are switched off ({setting})");
        report
            .error("kind-off", definition.places.name, "", message)
            .remedy(format!("set {setting} to true, or write the definition in another form"));
    }
    let shipped = options.providers.is_none().then(Provider::shipped).unwrap_or_default();
    let providers = options.providers.unwrap_or(&shipped);
    check::providers(&definition, providers, &mut report);
    let plan = check::plan(&mut definition, &options.limits, options.offers, &mut report);
    let compiled = plan.map(|mut plan| {
        check::apply(&options.defaults, providers, definition.dialect, &mut plan);
        finish(definition.clone(), plan)
    });
    Outcome { findings: report.finish(), compiled, definition: Some(definition) }
}

/// Names what has no name or version by its content.
fn finish(mut definition: Definition, mut plan: Plan) -> Compiled {
    let written = canonical::text(&definition);
    let content_hash = blake3::hash(written.as_bytes()).to_hex().to_string();
    let named = !definition.name.is_empty() && definition.version.is_some();
    if definition.name.is_empty() {
        definition.name = format!("{}-{}", definition.dialect.as_str(), &content_hash[..8]);
        plan.name.clone_from(&definition.name);
    }
    if definition.version.is_none() {
        // A letter first, so that it is never taken for a number.
        let version = format!("c{}", &content_hash[..12]);
        plan.version.clone_from(&version);
        definition.version = Some(version);
    }
    let canonical = if named { written } else { canonical::text(&definition) };
    Compiled { definition, plan, canonical, content_hash }
}
