//! A pattern with example values, checked like a definition: mistakes in its body are found before it is used.

use serde_json::{Map, Value, json};

use crate::{
    Limits,
    report::Report,
    text::tree::{Data, Key, Node},
};

use super::{Pattern, Patterns, arguments, expand::Expander, fill::Fill};

/// Checks what `pattern` becomes. Findings point into its own text.
pub(super) fn run(pattern: &Pattern, limits: &Limits, others: Option<&dyn Patterns>, report: &mut Report) {
    let at = pattern.body.at;
    let given = pattern.parameters.iter().filter(|p| p.default.is_none());
    let given: Map<_, _> = given.map(|p| (p.name.clone(), example(&p.schema))).collect();
    let with = node(&Value::Object(given), &pattern.body);
    let Some(names) = arguments::bind(pattern, Some(&with), at, 0, report) else { return };
    let mut left = limits.nodes_max;
    let body = Fill { names, origin: 0, left: &mut left, report }.node(&pattern.body);
    let Some(body) = body.filter(|_| !report.has_errors()) else { return };
    let mut task = node(&json!({"id": "trial"}), &pattern.body);
    let mut expander = Expander { others, report, left };
    expander.merge(&mut task, body, pattern);
    expander.inside(&mut task, pattern);
    if report.has_errors() {
        return;
    }
    let key = |text: &str| Key { at, text: text.to_owned() };
    let list = Node { at, data: Data::List(vec![task]) };
    let name = node(&json!("trial"), &pattern.body);
    let root = Node { at, data: Data::Map(vec![(key("name"), name), (key("tasks"), list)]) };
    if let Some(mut definition) = crate::read::read(&root, limits, report) {
        crate::check::plan(&mut definition, limits, None, report);
    }
}

/// `value` as if it stood where `place` stands.
fn node(value: &Value, place: &Node) -> Node {
    let at = place.at;
    let data = match value {
        Value::Null => Data::Null,
        Value::Bool(b) => Data::Bool(*b),
        Value::Number(number) => Data::Number(number.clone(), None),
        Value::String(text) => Data::Text(text.clone(), None),
        Value::Array(items) => Data::List(items.iter().map(|item| node(item, place)).collect()),
        Value::Object(members) => Data::Map(
            members
                .iter()
                .map(|(name, member)| (Key { at, text: name.clone() }, node(member, place)))
                .collect(),
        ),
    };
    Node { at, data }
}

/// A value that most likely fits `schema`.
fn example(schema: &Value) -> Value {
    let say = |key: &str| schema.get(key);
    if let Some(first) = say("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        return first.clone();
    }
    let types: Vec<&str> = match say("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["string"],
    };
    let number = |key: &str| say(key).and_then(Value::as_u64);
    match types.first().copied().unwrap_or("string") {
        "integer" | "number" => number("minimum").unwrap_or(1).into(),
        "boolean" => true.into(),
        "array" => {
            let count = number("minItems").unwrap_or(0).clamp(0, 16);
            let item = say("items").map_or_else(|| json!("x"), example);
            (0..count.max(2))
                .map(|n| match &item {
                    Value::String(text) if say("items").is_some_and(|i| i.get("enum").is_none()) => {
                        Value::from(format!("{text}{n}"))
                    }
                    other => other.clone(),
                })
                .collect()
        }
        "object" => {
            let required = say("required").and_then(Value::as_array).into_iter().flatten();
            let mut members: Map<_, _> = required
                .filter_map(Value::as_str)
                .map(|name| {
                    let rules = schema.pointer(&format!("/properties/{name}"));
                    (name.to_owned(), rules.map_or_else(|| json!("x"), example))
                })
                .collect();
            if members.is_empty()
                && let Some(rules @ Value::Object(_)) = say("additionalProperties")
            {
                members.insert("a".into(), example(rules));
            }
            members.into()
        }
        _ => "x".into(),
    }
}
