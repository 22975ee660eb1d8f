//! What a session may hold and how changes meet. Pure: documents in, documents or a refusal out.

use std::{collections::BTreeMap, time::Duration};

use api::Fault;
use base::{ErrorCode, Payload, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Longest id of a session, in bytes.
const ID_BYTES_MAX: usize = 200;
/// Longest name of a variable or a role, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Bounds of a session. Every one is a setting.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Variables.
    pub vars_max: usize,
    /// Bytes of all variables together, as JSON.
    pub vars_bytes_max: usize,
    /// Turns that are kept; the oldest go.
    pub turns_max: u64,
    /// Bytes of the turns that are kept.
    pub turns_bytes_max: u64,
    /// Turns that an execution loads when its workflow does not say.
    pub history: u32,
    /// Sessions that nobody changed for this long are deleted; `None` = never.
    pub retention: Option<Duration>,
}

impl Default for SessionOptions {
    /// 200 variables in 256 KiB, 1,000 turns in 1 MiB, 20 of them loaded, kept for ever.
    fn default() -> Self {
        Self {
            vars_max: 200,
            vars_bytes_max: 256 << 10,
            turns_max: 1000,
            turns_bytes_max: 1 << 20,
            history: 20,
            retention: None,
        }
    }
}

/// A variable as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Var {
    /// Its value.
    pub value: Value,
    /// Version of the session in which it was set.
    pub version: u64,
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// Who set it.
    pub by: String,
}

/// The variables of a session.
pub type Vars = BTreeMap<String, Var>;

/// Who changes something, when, and which version the session will have.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The version after the change.
    pub version: u64,
    /// When.
    pub now: Timestamp,
    /// Who.
    pub by: &'a str,
}

impl Stamp<'_> {
    fn var(&self, value: Value) -> Var {
        Var { value, version: self.version, at_us: self.now.micros(), by: self.by.to_owned() }
    }
}

/// Refuses an id that cannot be one.
pub fn check_id(text: &str) -> Result<(), Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.chars().all(good) {
        let rule = format!("must be 1 to {ID_BYTES_MAX} letters, digits or any of - _ . : @ /");
        return Err(Fault::bad("session_id", rule));
    }
    Ok(())
}

/// Refuses the name of a variable, or a role, that cannot be one.
pub fn check_name(field: &str, text: &str) -> Result<(), Fault> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Fault::bad(
            field,
            format!("must be 1 to {NAME_BYTES_MAX} bytes without control characters"),
        ));
    }
    Ok(())
}

fn check_version(name: &str, found: Option<&Var>, expected: Option<u64>) -> Result<(), Fault> {
    let Some(expected) = expected else { return Ok(()) };
    match found {
        Some(var) if var.version == expected => Ok(()),
        Some(var) => {
            let text = format!("variable {name} has version {}, not {expected}: read it again", var.version);
            Err(Fault::new(ErrorCode::Conflict, text).field("expected_version"))
        }
        None => Err(Fault::not_found("session variable", name)),
    }
}

/// Sets one variable. `expected`: the version it must have.
///
/// # Errors
/// `conflict`, `not_found` (a version of what is not there), and those of [`check_vars`].
pub fn set(
    vars: &mut Vars,
    (name, value): (&str, Value),
    expected: Option<u64>,
    stamp: Stamp<'_>,
    bounds: &SessionOptions,
) -> Result<(), Fault> {
    check_name("name", name)?;
    check_version(name, vars.get(name), expected)?;
    vars.insert(name.to_owned(), stamp.var(value));
    check_vars(vars, bounds)
}

/// Deletes one variable.
///
/// # Errors
/// `not_found`, `conflict`.
pub fn delete(vars: &mut Vars, name: &str, expected: Option<u64>) -> Result<(), Fault> {
    check_version(name, vars.get(name), expected)?;
    vars.remove(name).map(drop).ok_or_else(|| Fault::not_found("session variable", name))
}

/// Refuses more variables than a session may hold.
///
/// # Errors
/// `resource_exhausted` for their number, `payload_too_large` for their size.
pub fn check_vars(vars: &Vars, bounds: &SessionOptions) -> Result<(), Fault> {
    if vars.len() > bounds.vars_max {
        let text =
            format!("the session would have {} variables, the limit is {}", vars.len(), bounds.vars_max);
        return Err(
            Fault::new(ErrorCode::ResourceExhausted, format!("{text} (sessions.vars_max)")).field("name")
        );
    }
    let bytes: usize = vars.iter().map(|(name, var)| name.len() + var.value.to_string().len()).sum();
    if bytes > bounds.vars_bytes_max {
        let text = format!(
            "the session's variables would take {bytes} bytes, the limit is {}",
            bounds.vars_bytes_max
        );
        let text = format!("{text} (sessions.vars_size_max)");
        return Err(Fault::new(ErrorCode::PayloadTooLarge, text).field("value"));
    }
    Ok(())
}

/// The variables as an object, of those that are asked for; none asked for = all.
pub fn loaded(vars: &Vars, names: &[String]) -> Map<String, Value> {
    let wanted = |name: &String| names.is_empty() || names.contains(name);
    vars.iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, var)| (name.clone(), var.value.clone()))
        .collect()
}

/// Lays what an execution leaves over what the session holds now. `base` is what the execution loaded. Gives the names
/// that others changed meanwhile.
///
/// A variable that the execution did not change is left alone. One that nobody else changed takes the execution's value.
/// Otherwise the two changes meet ([`meet`]).
pub fn lay_over(
    vars: &mut Vars,
    base: &Map<String, Value>,
    ours: Map<String, Value>,
    stamp: Stamp<'_>,
) -> Vec<String> {
    let mut conflicts = Vec::new();
    for (name, value) in ours {
        let before = base.get(&name);
        let stored = vars.get(&name).map(|var| &var.value);
        if before == Some(&value) || stored == Some(&value) {
            continue;
        }
        let value = match stored {
            Some(stored) if before != Some(stored) => {
                conflicts.push(name.clone());
                meet(before, stored, value)
            }
            _ => value,
        };
        vars.insert(name, stamp.var(value));
    }
    conflicts
}

/// Two changes of one value. Objects meet member by member; a list to which the execution only added keeps the others'
/// elements and gets the added ones; of anything else the execution's value stands: the last writer wins.
pub fn meet(base: Option<&Value>, stored: &Value, ours: Value) -> Value {
    match (stored, ours) {
        (Value::Object(stored), Value::Object(ours)) => {
            let base = base.and_then(Value::as_object);
            let mut out = stored.clone();
            if let Some(base) = base {
                // What the execution took out goes, unless somebody changed it.
                out.retain(|name, value| ours.contains_key(name) || base.get(name) != Some(value));
            }
            for (name, value) in ours {
                let before = base.and_then(|b| b.get(&name));
                if before == Some(&value) {
                    continue;
                }
                let value = match stored.get(&name) {
                    Some(theirs) if before != Some(theirs) => meet(before, theirs, value),
                    _ => value,
                };
                out.insert(name, value);
            }
            Value::Object(out)
        }
        (Value::Array(stored), Value::Array(ours)) => {
            let before = base.and_then(Value::as_array).map_or(0, Vec::len);
            let added_only = base.is_some_and(|b| b.as_array().is_some_and(|b| ours.starts_with(b)));
            match added_only {
                true => stored.iter().cloned().chain(ours.into_iter().skip(before)).collect(),
                false => Value::Array(ours),
            }
        }
        (_, ours) => ours,
    }
}

/// What a payload says, as the parts of a turn. Bytes of other media types are not kept, only their size.
pub fn parts(content: &Payload) -> Value {
    match content.json() {
        Some(value) => match &*value {
            Value::String(text) => json!([{"text": text}]),
            other => json!([{"data": other}]),
        },
        None => json!([{"media_type": &**content.media_type(), "bytes": content.len()}]),
    }
}

/// Parts that fit into a turn of at most `bytes_max` bytes: what is larger is replaced by its size.
pub fn fitting(parts: Value, bytes_max: u64) -> String {
    let text = parts.to_string();
    match text.len() as u64 <= bytes_max {
        true => text,
        false => json!([{"omitted": "larger than a turn may be", "bytes": text.len()}]).to_string(),
    }
}

/// A turn as expressions and agents see it.
pub fn shown(turn: &store::sessions::TurnRow) -> Value {
    let parts: Value = serde_json::from_str(&turn.parts).unwrap_or_default();
    let text = match parts.as_array().map(Vec::as_slice) {
        Some([only]) => only.get("text").cloned(),
        _ => None,
    };
    let mut shown = json!({"turn": turn.turn, "role": turn.role, "parts": parts, "at": turn.at.rfc3339()});
    if let Some(text) = text {
        shown["text"] = text;
    }
    if let Some(id) = turn.execution_id {
        shown["execution_id"] = id.to_string().into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn vars(value: Value) -> Vars {
        let stamp = Stamp { version: 1, now: Timestamp::default(), by: "x" };
        object(value).into_iter().map(|(name, value)| (name, stamp.var(value))).collect()
    }

    #[test]
    fn what_an_execution_leaves_meets_what_others_changed() {
        for (what, base, stored, ours, want, conflicts) in [
            (
                "unchanged stays as others left it",
                json!({"a": 1}),
                json!({"a": 2}),
                json!({"a": 1}),
                json!({"a": 2}),
                vec![],
            ),
            (
                "changed by it alone",
                json!({"a": 1}),
                json!({"a": 1}),
                json!({"a": 3}),
                json!({"a": 3}),
                vec![],
            ),
            ("new", json!({}), json!({}), json!({"a": 1}), json!({"a": 1}), vec![]),
            ("made by both alike", json!({}), json!({"a": 1}), json!({"a": 1}), json!({"a": 1}), vec![]),
            (
                "the last writer wins",
                json!({"a": 1}),
                json!({"a": 2}),
                json!({"a": 3}),
                json!({"a": 3}),
                vec!["a"],
            ),
            (
                "deleted by others, changed by it",
                json!({"a": 1}),
                json!({}),
                json!({"a": 3}),
                json!({"a": 3}),
                vec![],
            ),
            (
                "deleted by others, left alone by it",
                json!({"a": 1}),
                json!({}),
                json!({"a": 1}),
                json!({}),
                vec![],
            ),
            (
                "objects meet member by member",
                json!({"a": {"x": 1, "y": 1, "z": 1}}),
                json!({"a": {"x": 2, "y": 1, "z": 1, "n": 1}}),
                json!({"a": {"x": 1, "y": 3}}),
                json!({"a": {"x": 2, "y": 3, "n": 1}}),
                vec!["a"],
            ),
            (
                "lists that only grew keep both",
                json!({"a": [1]}),
                json!({"a": [1, 2]}),
                json!({"a": [1, 3]}),
                json!({"a": [1, 2, 3]}),
                vec!["a"],
            ),
            (
                "lists that were rewritten do not",
                json!({"a": [1]}),
                json!({"a": [1, 2]}),
                json!({"a": [0]}),
                json!({"a": [0]}),
                vec!["a"],
            ),
        ] {
            let mut held = vars(stored);
            let stamp = Stamp { version: 7, now: Timestamp::default(), by: "execution" };
            let found = lay_over(&mut held, &object(base), object(ours), stamp);
            assert_eq!(Value::Object(loaded(&held, &[])), want, "{what}");
            assert_eq!(found, conflicts, "{what}");
        }
    }

    #[test]
    fn a_variable_is_changed_only_in_the_version_that_was_read() {
        let mut held = vars(json!({"a": 1}));
        let bounds = SessionOptions::default();
        let stamp = Stamp { version: 2, now: Timestamp::default(), by: "me" };
        let refused = set(&mut held, ("a", json!(2)), Some(5), stamp, &bounds).unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::Conflict, "expected_version"));
        assert_eq!(
            set(&mut held, ("b", json!(2)), Some(1), stamp, &bounds).unwrap_err().code,
            ErrorCode::NotFound
        );
        set(&mut held, ("a", json!(2)), Some(1), stamp, &bounds).unwrap();
        assert_eq!((held["a"].version, &*held["a"].by), (2, "me"));
        assert_eq!(delete(&mut held, "a", Some(1)).unwrap_err().code, ErrorCode::Conflict);
        delete(&mut held, "a", Some(2)).unwrap();
        assert_eq!(delete(&mut held, "a", None).unwrap_err().code, ErrorCode::NotFound);
    }

    #[test]
    fn limits_and_bad_names_are_refused_with_the_setting_or_the_rule() {
        let bounds = SessionOptions { vars_max: 2, vars_bytes_max: 100, ..SessionOptions::default() };
        let stamp = Stamp { version: 2, now: Timestamp::default(), by: "me" };
        let mut held = vars(json!({"a": 1, "b": 2}));
        let many = set(&mut held.clone(), ("c", json!(1)), None, stamp, &bounds).unwrap_err();
        assert_eq!(many.code, ErrorCode::ResourceExhausted);
        assert!(many.message.contains("sessions.vars_max"), "{many}");
        let large = set(&mut held, ("a", json!("x".repeat(200))), None, stamp, &bounds).unwrap_err();
        assert_eq!(large.code, ErrorCode::PayloadTooLarge);
        assert!(large.message.contains("sessions.vars_size_max"), "{large}");
        for id in ["", "a b", "ü", &"x".repeat(201)] {
            assert_eq!(check_id(id).unwrap_err().field, "session_id", "{id:?}");
        }
        check_id("user:ada@example.org/2").unwrap();
        assert!(check_name("name", "a\nb").is_err() && check_name("name", "mein Name").is_ok());
    }

    #[test]
    fn a_turn_says_what_the_payload_says_and_is_never_larger_than_it_may_be() {
        assert_eq!(parts(&Payload::from_value(&json!("hi"))), json!([{"text": "hi"}]));
        assert_eq!(parts(&Payload::from_value(&json!({"a": 1}))), json!([{"data": {"a": 1}}]));
        let image = Payload::new("image/png".into(), vec![1, 2].into());
        assert_eq!(parts(&image), json!([{"media_type": "image/png", "bytes": 2}]));
        assert_eq!(fitting(json!([{"text": "hi"}]), 100), r#"[{"text":"hi"}]"#);
        assert!(fitting(json!([{"text": "x".repeat(200)}]), 100).contains("\"bytes\":213"));
    }
}
