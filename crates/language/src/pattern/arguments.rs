//! What a use of a pattern gives for its parameters.

use serde_json::Value;

use crate::{
    report::Report,
    text::tree::{Data, Node, Pos},
};

use super::{Parameter, Pattern, fill};

/// Why `value` does not fit `schema`; `None` when it does.
pub(super) fn misfit(schema: &Value, value: &Value) -> Option<String> {
    match jsonschema::validate(schema, value) {
        Ok(()) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The value of each parameter. `None` when something is wrong; the report says what.
pub(super) fn bind(
    pattern: &Pattern,
    given: Option<&Node>,
    at: Pos,
    origin: u32,
    report: &mut Report,
) -> Option<Vec<(String, Node)>> {
    let entries = match given.map(|node| (&node.data, node.at)) {
        None | Some((Data::Null, _)) => &[][..],
        Some((Data::Map(entries), _)) => entries,
        Some((_, at)) => {
            let message = "`with` is a mapping from parameter to value";
            report.error("bad-type", at, "with", message).remedy("write `with: {name: value}`");
            return None;
        }
    };
    let mut fine = true;
    // Keys are unique, so more than there are parameters hold an unknown one among the first of them.
    for (key, _) in entries.iter().take(pattern.parameters.len() + 1) {
        if !pattern.parameters.iter().any(|p| p.name == key.text) {
            let names: Vec<&str> = pattern.parameters.iter().map(|p| p.name.as_str()).collect();
            let remedy = match base::finding::nearest(&key.text, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its parameters are {}", names.join(", ")),
            };
            let message = format!("the pattern `{}` has no parameter `{}`", pattern.name, key.text);
            report.error("unknown-parameter", key.at, format!("with.{}", key.text), message).remedy(remedy);
            fine = false;
        }
    }
    let mut bound = Vec::with_capacity(pattern.parameters.len());
    for parameter in &pattern.parameters {
        let given = entries.iter().find(|(key, _)| key.text == parameter.name).map(|(_, node)| node);
        match one(pattern, parameter, given, at, origin, report) {
            Some(node) => bound.push((parameter.name.clone(), node)),
            None => fine = false,
        }
    }
    fine.then_some(bound)
}

fn one(
    pattern: &Pattern,
    parameter: &Parameter,
    given: Option<&Node>,
    at: Pos,
    origin: u32,
    report: &mut Report,
) -> Option<Node> {
    let path = format!("with.{}", parameter.name);
    let Some(node) = given else {
        if let Some(default) = &parameter.default_node {
            return Some(fill::stamped(default, origin));
        }
        let message = format!("the pattern `{}` needs `{}`", pattern.name, parameter.name);
        let remedy = format!("add `{}: …` to `with`: {}", parameter.name, parameter.description);
        report.error("missing-parameter", at, path, message).remedy(remedy);
        return None;
    };
    if let Some(wrong) = misfit(&parameter.schema, &node.value()) {
        let message = format!("`{}` is of type {}: {wrong}", parameter.name, parameter.kind);
        report.error("bad-parameter", node.at, path, message).remedy(parameter.description.clone());
        return None;
    }
    Some(node.clone())
}
