//! JSON Schemas along an edge: what one task promises against what the next one asks for.
//!
//! Only what the schemas state plainly is judged: types, properties, required. Where a schema uses `$ref`, `anyOf` and
//! the like, anything may be and nothing is reported.

use serde_json::{Value, json};
use workflow::plan::{InputSpec, Spread, TaskPlan};

use crate::{report::Report, text::tree::Pos};

use super::Level;

pub(crate) fn check(level: &Level<'_>, report: &mut Report) {
    for (n, task) in level.body.tasks.iter().enumerate() {
        let n = n as u32;
        reads(level, n, report);
        let Some(wanted) = &task.plan.input_schema else { continue };
        let at = place_of(task.places.input_schema, task.places.id);
        let path = format!("{}.input", level.path(n));
        let Some((from, given)) = given(level, n) else { continue };
        for mismatch in compare(&given, wanted, "") {
            let message = format!("{from} does not fit the input of `{}`: {mismatch}", task.plan.id);
            report
                .error("schema-mismatch", at, path.clone(), message)
                .remedy("change one of the two schemas, or map the field in `input`");
        }
    }
}

fn place_of(at: Pos, other: Pos) -> Pos {
    if at.line == 0 { other } else { at }
}

/// The schema of what a task is given, with the words for where it comes from. Empty when nothing is known.
fn given(level: &Level<'_>, n: u32) -> Option<(String, Value)> {
    let body = level.body;
    let task = &body.tasks[n as usize].plan;
    let before = level.graph.before(n);
    let input = || Some(("the workflow's input".to_owned(), level.input_schema()?.clone()));
    match (&task.input, before) {
        (InputSpec::Execution, _) | (InputSpec::Context | InputSpec::Previous, []) => input(),
        (InputSpec::Previous, [one]) => {
            let one = &body.tasks[*one as usize].plan;
            Some((format!("the output of `{}`", one.id), output_of(one)?))
        }
        (InputSpec::Previous, several) => {
            let properties: serde_json::Map<_, _> = several
                .iter()
                .map(|&t| &body.tasks[t as usize].plan)
                .map(|t| (t.id.clone(), output_of(t).unwrap_or(Value::Bool(true))))
                .collect();
            Some(("the outputs before it".into(), object(properties)))
        }
        (InputSpec::Context, several) => {
            let outputs: serde_json::Map<_, _> = several
                .iter()
                .map(|&t| &body.tasks[t as usize].plan)
                .map(|t| (t.id.clone(), output_of(t).unwrap_or(Value::Bool(true))))
                .collect();
            let input = level.input_schema().cloned().unwrap_or(Value::Bool(true));
            let both = [("input".to_owned(), input), ("dependencies".to_owned(), object(outputs))];
            Some(("what it is given".into(), object(both.into_iter().collect())))
        }
        (InputSpec::Template(value), _) => Some(("`input`".into(), of_template(level, value))),
    }
}

fn object(properties: serde_json::Map<String, Value>) -> Value {
    let required: Vec<_> = properties.keys().cloned().collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The schema of a task's output; a list of it when the task is spread.
fn output_of(task: &TaskPlan) -> Option<Value> {
    let schema = task.output_schema.clone()?;
    Some(match task.spread {
        Spread::One => schema,
        Spread::ForEach { .. } | Spread::Parallel { .. } => json!({"type": "array", "items": schema}),
    })
}

/// What a template gives, as far as it can be seen.
fn of_template(level: &Level<'_>, value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            object(members.iter().map(|(k, v)| (k.clone(), of_template(level, v))).collect())
        }
        Value::String(text) if text.contains("${") => of_text(level, text.trim()),
        Value::String(_) => json!({"type": "string"}),
        Value::Array(_) => json!({"type": "array"}),
        Value::Number(n) if n.is_f64() => json!({"type": "number"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Null => json!({"type": "null"}),
    }
}

fn of_text(level: &Level<'_>, text: &str) -> Value {
    let Some(source) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return json!({"type": "string"});
    };
    if source.contains("${") {
        return json!({"type": "string"});
    }
    let path: Vec<String> = source.trim().split('.').map(str::to_owned).collect();
    let plain = path.iter().all(|p| p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    let schema = if plain { schema_of_path(level, &path) } else { None };
    schema.unwrap_or(Value::Bool(true))
}

fn schema_of_path(level: &Level<'_>, path: &[String]) -> Option<Value> {
    let (schema, rest) = match path.first()?.as_str() {
        "input" => (level.def.input_schema.clone()?, &path[1..]),
        "tasks" if path.get(2)? == "output" => {
            let task = level.graph.index(path.get(1)?)?;
            (output_of(&level.body.tasks[task as usize].plan)?, &path[3..])
        }
        _ => return None,
    };
    match member(&schema, rest) {
        Member::Schema(found) => Some(found.clone()),
        Member::Any | Member::Missing(_) => None,
    }
}

/// Reads of members that the schema of a task or of the workflow's input does not have.
fn reads(level: &Level<'_>, n: u32, report: &mut Report) {
    let task = &level.body.tasks[n as usize];
    for read in &task.places.reads {
        let (owner, schema, rest) = match read.path.first().map(String::as_str) {
            Some("input") => match &level.def.input_schema {
                Some(schema) => ("the workflow's input".to_owned(), schema.clone(), &read.path[1..]),
                None => continue,
            },
            Some("tasks") if read.path.get(2).is_some_and(|m| m == "output") => {
                let Some(other) = level.graph.index(&read.path[1]) else { continue };
                let other = &level.body.tasks[other as usize].plan;
                let Some(schema) = output_of(other) else { continue };
                (format!("the output of `{}`", other.id), schema, &read.path[3..])
            }
            _ => continue,
        };
        if let Member::Missing(field) = member(&schema, rest) {
            let path = format!("{}.{}", level.path(n), read.place.key());
            let message = format!("{owner} has no field `{field}`, says its schema");
            report
                .error("schema-mismatch", read.at, path, message)
                .remedy("read a field that is declared, or declare this one");
        }
    }
}

enum Member<'a> {
    Schema(&'a Value),
    /// Nothing is said about it.
    Any,
    /// The first field that does not exist.
    Missing(String),
}

/// Follows `path` through `properties`.
fn member<'a>(schema: &'a Value, path: &[String]) -> Member<'a> {
    let mut at = schema;
    for name in path {
        if !is_plain(at) {
            return Member::Any;
        }
        let types = types(at);
        if !types.is_empty() && !types.contains(&"object") {
            return Member::Missing(name.clone());
        }
        match at.get("properties").and_then(Value::as_object) {
            Some(properties) => match properties.get(name) {
                Some(found) => at = found,
                None if at.get("patternProperties").is_some() => return Member::Any,
                None => match at.get("additionalProperties") {
                    Some(Value::Object(_) | Value::Bool(true)) => return Member::Any,
                    _ => return Member::Missing(name.clone()),
                },
            },
            None => return Member::Any,
        }
    }
    Member::Schema(at)
}

/// Whether the schema says plainly what it allows.
fn is_plain(schema: &Value) -> bool {
    const COMBINES: &[&str] = &["$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "not", "if"];
    schema.as_object().is_some_and(|members| !COMBINES.iter().any(|key| members.contains_key(*key)))
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What `given` promises and `wanted` does not take, field by field.
pub(crate) fn compare(given: &Value, wanted: &Value, field: &str) -> Vec<String> {
    if !is_plain(given) || !is_plain(wanted) {
        return Vec::new();
    }
    let name = if field.is_empty() { "the value".to_owned() } else { format!("`{field}`") };
    let (have, need) = (types(given), types(wanted));
    let fits = |have: &str| need.contains(&have) || (have == "integer" && need.contains(&"number"));
    if !have.is_empty() && !need.is_empty() && !have.iter().any(|have| fits(have)) {
        return vec![format!("{name} is {} where {} is wanted", have.join(" or "), need.join(" or "))];
    }
    let mut found = Vec::new();
    let empty = serde_json::Map::new();
    let promised = given.get("properties").and_then(Value::as_object);
    let open = matches!(given.get("additionalProperties"), Some(Value::Object(_) | Value::Bool(true)))
        || given.get("patternProperties").is_some();
    let asked = wanted.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let inner = |key: &str| if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") };
    for key in
        wanted.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if promised.is_some_and(|p| !p.contains_key(key)) && !open {
            found.push(format!("the required field `{}` is missing", inner(key)));
        }
    }
    for (key, schema) in promised.into_iter().flatten() {
        if let Some(asked) = asked.get(key) {
            found.extend(compare(schema, asked, &inner(key)));
        }
    }
    if let (Some(have), Some(want)) = (given.get("items"), wanted.get("items")) {
        found.extend(compare(have, want, &format!("{field}[]")));
    }
    found
}
