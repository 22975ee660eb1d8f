//! Patterns: templates in the workflow language. A pattern has typed parameters and a body, the keys of one task; using
//! it puts the body, with the parameters filled in, in the place of the use. The built-in ones are files of the same
//! form.

use std::sync::{Arc, OnceLock};

use base::Finding;
use serde_json::{Value, json};

use crate::{
    Limits, VersionRange,
    report::Report,
    text::{
        self,
        tree::{Data, Key, Node},
    },
};

mod arguments;
pub(crate) mod expand;
mod fill;
mod trial;

/// A parameter of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// `role`, `roles`, `expression`, `template`, `duration`, `string`, `integer`, `number`, `boolean`, `list`,
    /// `object`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// What it is when it is not given; `None` = it has to be given.
    pub default: Option<Value>,
    /// JSON Schema of its values.
    pub schema: Value,
    default_node: Option<Node>,
}

/// A checked pattern. Cloning is cheap enough for lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, for people.
    pub description: String,
    /// In the order of the text.
    pub parameters: Vec<Parameter>,
    /// Patterns it is built from, with ranges of versions.
    pub uses: Vec<String>,
    /// The keys of the task it becomes.
    body: Node,
}

/// Where patterns of users are found.
pub trait Patterns {
    /// The newest version in `range` of the pattern called `name`.
    fn find(&self, name: &str, range: &VersionRange) -> Option<Arc<Pattern>>;
    /// Names that exist, for remedies.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What came of the text of a pattern.
#[derive(Clone, Debug)]
pub struct PatternOutcome {
    /// Everything found, by line.
    pub findings: Vec<Finding>,
    /// The pattern, when there are no errors.
    pub pattern: Option<Pattern>,
}

impl Pattern {
    /// `{name, version, description, uses, parameters: [{name, type, description, default, required, schema}]}`.
    pub fn describe(&self) -> Value {
        let parameters: Vec<Value> = self
            .parameters
            .iter()
            .map(|p| {
                json!({
                    "name": p.name, "type": p.kind, "description": p.description, "default": p.default,
                    "required": p.default.is_none(), "schema": p.schema,
                })
            })
            .collect();
        json!({
            "name": self.name, "version": self.version, "description": self.description, "uses": self.uses,
            "parameters": parameters,
        })
    }
}

const SOURCES: &[&str] = &[
    include_str!("../patterns/debate.yaml"),
    include_str!("../patterns/evaluator-optimizer.yaml"),
    include_str!("../patterns/handoff.yaml"),
    include_str!("../patterns/hierarchical.yaml"),
    include_str!("../patterns/manual.yaml"),
    include_str!("../patterns/map-reduce.yaml"),
    include_str!("../patterns/network.yaml"),
    include_str!("../patterns/pair.yaml"),
    include_str!("../patterns/plan-execute-replan.yaml"),
    include_str!("../patterns/race.yaml"),
    include_str!("../patterns/round-robin.yaml"),
    include_str!("../patterns/router.yaml"),
    include_str!("../patterns/supervisor.yaml"),
    include_str!("../patterns/swarm.yaml"),
];

/// The patterns that are always there, by name. Their texts are read once.
pub fn built_in_patterns() -> &'static [Arc<Pattern>] {
    static READ: OnceLock<Vec<Arc<Pattern>>> = OnceLock::new();
    READ.get_or_init(|| {
        let read = |source: &&str| {
            let mut report = Report::default();
            read_text(source, &Limits::default(), &mut report).map(Arc::new)
        };
        SOURCES.iter().filter_map(read).collect()
    })
}

/// The texts of the built-in patterns: examples of the form.
pub fn built_in_pattern_sources() -> &'static [&'static str] {
    SOURCES
}

/// Reads and checks the text of a pattern: its form, its parameters, and what becomes of it with example values.
/// `others` are the patterns that it may be built from, beside the built-in ones.
pub fn parse_pattern(source: &str, limits: &Limits, others: Option<&dyn Patterns>) -> PatternOutcome {
    let mut report = Report::with_max(limits.findings_max);
    let mut pattern = read_text(source, limits, &mut report);
    if let Some(read) = &pattern {
        if built_in_patterns().iter().any(|known| known.name == read.name && known.body != read.body) {
            let message = format!("`{}` is the name of a built-in pattern", read.name);
            report.error("bad-name", read.body.at, "pattern", message).remedy("choose another name");
        }
        trial::run(read, limits, others, &mut report);
    }
    if report.has_errors() {
        pattern = None;
    }
    PatternOutcome { findings: report.finish(), pattern }
}

/// Reads the text of a pattern that was checked when it was stored: its form alone, without a trial. `None` when it has
/// errors all the same.
pub fn read_pattern(source: &str, limits: &Limits) -> Option<Pattern> {
    read_text(source, limits, &mut Report::with_max(limits.findings_max))
}

/// Finds a pattern: the built-in ones go before those of users.
pub(crate) fn find(name: &str, range: &VersionRange, others: Option<&dyn Patterns>) -> Option<Arc<Pattern>> {
    let built_in = built_in_patterns().iter().find(|p| p.name == name && range.holds(&p.version));
    built_in.cloned().or_else(|| others?.find(name, range))
}

/// Names of all patterns.
pub(crate) fn names(others: Option<&dyn Patterns>) -> Vec<String> {
    let built_in = built_in_patterns().iter().map(|p| p.name.clone());
    built_in.chain(others.map(|others| others.names()).unwrap_or_default()).collect()
}

/// Most parameters of a pattern.
const PARAMETERS_MAX: usize = 100;

const KEYS: &[&str] = &["pattern", "version", "description", "parameters", "uses", "body"];

fn read_text(source: &str, limits: &Limits, report: &mut Report) -> Option<Pattern> {
    let root = text::parse(source, None, limits, report)?;
    let Some(entries) = root.map() else {
        let message = format!("a pattern is a mapping, this is {}", root.kind());
        report.error("bad-type", root.at, "", message).remedy("start with `pattern: name`");
        return None;
    };
    let mut pattern = Pattern {
        name: String::new(),
        version: "1.0.0".into(),
        description: String::new(),
        parameters: Vec::new(),
        uses: Vec::new(),
        body: Node { at: root.at, data: Data::Null },
    };
    for (key, value) in entries {
        match key.text.as_str() {
            "pattern" | "name" => pattern.name = checked(value, "pattern", report),
            "version" => pattern.version = checked(value, "version", report),
            "description" => pattern.description = words(value, "description", report),
            "parameters" => pattern.parameters = parameters(value, report),
            "uses" => pattern.uses = uses(value, report),
            "body" => pattern.body = value.clone(),
            _ => unknown_key(key, "", KEYS, report),
        }
    }
    for (key, missing) in [("pattern", pattern.name.is_empty()), ("body", pattern.body.map().is_none())] {
        if missing {
            let message = format!("a pattern has a `{key}`");
            report.error("missing-key", root.at, key, message).remedy(format!("add `{key}: …`"));
        }
    }
    (!report.has_errors()).then_some(pattern)
}

fn unknown_key(key: &Key, path: &str, known: &[&str], report: &mut Report) {
    let message = format!("`{}` is not known here", key.text);
    let remedy = match base::finding::nearest(&key.text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known keys are {}", known.join(", ")),
    };
    let path = if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
    report.error("unknown-key", key.at, path, message).remedy(remedy);
}

fn words(node: &Node, path: &str, report: &mut Report) -> String {
    match node.text_or_number() {
        Some(text) => text,
        None => {
            let message = format!("`{path}` is a text, this is {}", node.kind());
            report.error("bad-type", node.at, path, message).remedy("write a text");
            String::new()
        }
    }
}

/// A name or a version.
fn checked(node: &Node, path: &'static str, report: &mut Report) -> String {
    let text = words(node, path, report);
    if let Err(bad) = base::ids::check_key(path, &text)
        && !text.is_empty()
    {
        report
            .error("bad-name", node.at, path, bad.to_string())
            .remedy("use letters, digits, '.', '_' and '-'");
    }
    text
}

/// `[name@range, …]`.
fn uses(node: &Node, report: &mut Report) -> Vec<String> {
    let Data::List(items) = &node.data else {
        let message = format!("`uses` is a list of patterns, this is {}", node.kind());
        report.error("bad-type", node.at, "uses", message).remedy("write `uses: [name@^1]`");
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items {
        let text = words(item, "uses", report);
        let (_, range) = named(&text);
        if let Err(rule) = VersionRange::parse(range) {
            report
                .error("bad-value", item.at, "uses", rule)
                .remedy("write a version or a range: ^1, >=2, <3");
        }
        found.push(text);
    }
    found
}

/// `name@range`.
pub(crate) fn named(text: &str) -> (&str, &str) {
    text.split_once('@').unwrap_or((text, ""))
}

/// Types of parameters and the JSON Schema that each stands for.
const KINDS: &[(&str, &str)] = &[
    ("role", r#"{"type": "string", "minLength": 1}"#),
    ("roles", r#"{"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}"#),
    ("expression", r#"{"type": ["string", "boolean"]}"#),
    ("template", "true"),
    ("duration", r#"{"type": ["string", "number"]}"#),
    ("string", r#"{"type": "string"}"#),
    ("integer", r#"{"type": "integer"}"#),
    ("number", r#"{"type": "number"}"#),
    ("boolean", r#"{"type": "boolean"}"#),
    ("list", r#"{"type": "array"}"#),
    ("object", r#"{"type": "object"}"#),
];

fn parameters(node: &Node, report: &mut Report) -> Vec<Parameter> {
    let Some(entries) = node.map() else {
        if !matches!(node.data, Data::Null) {
            let message = format!("`parameters` is a mapping, this is {}", node.kind());
            report.error("bad-type", node.at, "parameters", message).remedy("write `name: {type: …}`");
        }
        return Vec::new();
    };
    if let Some((key, _)) = entries.get(PARAMETERS_MAX) {
        let message = format!("the pattern has {} parameters, the limit is {PARAMETERS_MAX}", entries.len());
        report
            .error("limit-parameters", key.at, "parameters", message)
            .remedy("use a parameter of type `object`");
    }
    entries.iter().take(PARAMETERS_MAX).filter_map(|(key, value)| parameter(key, value, report)).collect()
}

fn parameter(key: &Key, node: &Node, report: &mut Report) -> Option<Parameter> {
    let path = format!("parameters.{}", key.text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !key.text.chars().all(is_name) || key.text.is_empty() || key.text.ends_with("_key") {
        let message = format!("`{}` is no name of a parameter", key.text);
        report
            .error("bad-name", key.at, path, message)
            .remedy("use letters, digits and '_', without `_key` at the end");
        return None;
    }
    let mut kind = node.text().map(str::to_owned);
    let (mut description, mut default_node) = (String::new(), None);
    let mut rules = serde_json::Map::new();
    for (key, value) in node.map().unwrap_or_default() {
        match key.text.as_str() {
            "type" => kind = Some(words(value, &path, report)),
            "description" => description = words(value, &path, report),
            "default" => default_node = Some(value.clone()),
            _ => {
                rules.insert(key.text.clone(), value.value());
            }
        }
    }
    let kind = kind.unwrap_or_else(|| "template".into());
    let Some((_, schema)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let message = format!("{kind:?} is no type of a parameter");
        report.error("bad-value", node.at, path, message).remedy(format!("types are {}", names.join(", ")));
        return None;
    };
    let mut schema: Value = serde_json::from_str(schema).unwrap_or(Value::Bool(true));
    match &mut schema {
        Value::Object(members) => members.extend(rules),
        other if !rules.is_empty() => *other = Value::Object(rules),
        _ => {}
    }
    if let Err(error) = jsonschema::meta::validate(&schema) {
        let message = format!("its rules are no JSON Schema: {error}");
        report.error("bad-schema", node.at, path, message).remedy("see https://json-schema.org");
        return None;
    }
    let default = default_node.as_ref().map(Node::value);
    if let (Some(value), Some(node)) = (&default, &default_node)
        && let Some(wrong) = arguments::misfit(&schema, value)
    {
        report.error("bad-parameter", node.at, path, wrong).remedy("let the default fit its own type");
    }
    Some(Parameter { name: key.text.clone(), kind, description, default, schema, default_node })
}
