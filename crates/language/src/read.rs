//! Dialect readers: a tree to the one definition. Every key is known or reported.

pub(crate) mod coordination;
pub(crate) mod extras;
pub(crate) mod fields;
pub(crate) mod flow;
pub(crate) mod kinds;
mod later;
pub(crate) mod limits;
mod links;
pub(crate) mod options;
mod remote;
pub(crate) mod tasks;
pub(crate) mod turns;
pub(crate) mod waits;
pub(crate) mod workflow;

use base::time::BareUnit;

use crate::{
    Limits,
    definition::{Definition, Dialect},
    report::Report,
    text::tree::Node,
};

/// What every reader needs.
pub(crate) struct Reading<'a> {
    pub(crate) report: &'a mut Report,
    pub(crate) limits: &'a Limits,
    /// The unit of a bare duration.
    pub(crate) bare: BareUnit,
    /// Expressions that were compiled already, by their text.
    pub(crate) expressions: std::collections::HashMap<String, Vec<expr::Path>>,
    /// Tasks that were read, in bodies too.
    pub(crate) tasks: usize,
}

/// Reads `root` in the dialect it is written in. `None` when it is no definition at all.
pub(crate) fn read(root: &Node, limits: &Limits, report: &mut Report) -> Option<Definition> {
    let Some(entries) = root.map() else {
        let message = format!("a definition is a mapping, this is {}", root.kind());
        report.error("bad-type", root.at, "", message).remedy("start with `name:` and `tasks:`");
        return None;
    };
    let expressions = std::collections::HashMap::new();
    let mut reading = Reading { report, limits, bare: BareUnit::Seconds, expressions, tasks: 0 };
    let has = |name: &str| entries.iter().any(|(key, _)| key.text == name);
    let wrapped =
        |name: &str| if entries.len() == 1 { root.get(name).filter(|n| n.map().is_some()) } else { None };
    if let Some(inner) = wrapped("workflow") {
        return workflow::read(&mut reading, inner, Dialect::Workflow);
    }
    if let Some(inner) = wrapped("chain") {
        return workflow::read(&mut reading, inner, Dialect::Chain);
    }
    if let Some(inner) = wrapped("graph") {
        return workflow::read(&mut reading, inner, Dialect::Graph);
    }
    match () {
        () if has("tasks") => workflow::read(&mut reading, root, Dialect::Canonical),
        () if has("stages") => workflow::read(&mut reading, root, Dialect::Stages),
        () if has("steps") => workflow::read(&mut reading, root, Dialect::Steps),
        () if has("nodes") => workflow::read(&mut reading, root, Dialect::Graph),
        () => workflow::read(&mut reading, root, Dialect::Canonical),
    }
}
