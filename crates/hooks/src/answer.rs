//! What a hook's output says.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a hook decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Go on; the message is noted.
    Warn,
    /// A critical failure.
    Abort,
}

impl Decision {
    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Abort => "abort",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Allow, Self::Warn, Self::Abort].into_iter().find(|d| d.as_str() == text)
    }
}

/// What a hook wants set. Later hooks of a chain win.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// The agent that the call should go to, when it can take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The output of the task: no agent is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Variables of the session.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub variables: Map<String, Value>,
}

impl Setting {
    /// Whether nothing is to be set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in what a later hook wants.
    pub fn merge(&mut self, later: Self) {
        self.agent = later.agent.or(self.agent.take());
        self.output = later.output.or(self.output.take());
        self.variables.extend(later.variables);
    }
}

/// The output of a hook, read: `{"decision": "allow" | "warn" | "abort", "message": "…", "set": {"agent", "output",
/// "variables"}}`, every part optional.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What it decides.
    pub decision: Decision,
    /// Why, for people.
    pub message: String,
    /// What it wants set.
    pub set: Setting,
}

impl Default for Answer {
    fn default() -> Self {
        Self { decision: Decision::Allow, message: String::new(), set: Setting::default() }
    }
}

impl Answer {
    /// Everything is well.
    pub fn allow(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Reads an output. Output that is not a JSON object is text for people and decides nothing.
    ///
    /// # Errors
    /// An object whose decision is unknown or whose parts have the wrong type: what was meant as a decision must not be
    /// taken for a nod.
    pub fn read(output: &[u8]) -> Result<Self, String> {
        match serde_json::from_slice(output) {
            Ok(Value::Object(object)) => Self::of(object),
            _ => Ok(Self::default()),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// As [`Answer::read`].
    pub fn of(mut object: Map<String, Value>) -> Result<Self, String> {
        let decision = match object.get("decision") {
            None | Some(Value::Null) => Decision::Allow,
            Some(Value::String(text)) => match text.as_str() {
                "allow" | "continue" | "ok" => Decision::Allow,
                "warn" | "warning" => Decision::Warn,
                "abort" | "deny" | "block" => Decision::Abort,
                other => return Err(format!("decision {other:?} is not one of allow, warn, abort")),
            },
            Some(_) => return Err("decision must be a text: allow, warn or abort".into()),
        };
        let message = match object.remove("message") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(_) => return Err("message must be a text".into()),
        };
        let set = match object.remove("set") {
            None | Some(Value::Null) => Setting::default(),
            Some(Value::Object(set)) => setting(set)?,
            Some(_) => return Err("set must be an object".into()),
        };
        Ok(Self { decision, message, set })
    }
}

fn setting(mut set: Map<String, Value>) -> Result<Setting, String> {
    let agent = match set.remove("agent") {
        None | Some(Value::Null) => None,
        Some(Value::String(agent)) => Some(agent),
        Some(_) => return Err("set.agent must be the id of an agent".into()),
    };
    let variables = match set.remove("variables") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(variables)) => variables,
        Some(_) => return Err("set.variables must be an object".into()),
    };
    let output = set.remove("output");
    match set.keys().next() {
        Some(key) => Err(format!("set.{key} is unknown; there are agent, output and variables")),
        None => Ok(Setting { agent, output, variables }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outputs_are_read_as_meant() {
        for (output, decision, message) in [
            ("", Decision::Allow, ""),
            ("3 files formatted", Decision::Allow, ""),
            ("[1]", Decision::Allow, ""),
            ("{}", Decision::Allow, ""),
            (r#"{"decision": "warn", "message": "slow"}"#, Decision::Warn, "slow"),
            (r#"{"decision": "abort", "message": "no"}"#, Decision::Abort, "no"),
            (r#"{"decision": "deny"}"#, Decision::Abort, ""),
        ] {
            let answer = Answer::read(output.as_bytes()).unwrap();
            assert_eq!((answer.decision, answer.message.as_str()), (decision, message), "{output}");
        }
    }

    #[test]
    fn a_decision_that_is_none_is_not_taken_for_a_nod() {
        for output in [
            r#"{"decision": "abrot"}"#,
            r#"{"decision": 1}"#,
            r#"{"message": []}"#,
            r#"{"set": []}"#,
            r#"{"set": {"agent": 1}}"#,
            r#"{"set": {"colour": 1}}"#,
            r#"{"set": {"variables": 1}}"#,
        ] {
            assert!(Answer::read(output.as_bytes()).is_err(), "{output}");
        }
    }

    #[test]
    fn what_later_hooks_set_wins() {
        let read = |v: Value| Answer::read(v.to_string().as_bytes()).unwrap().set;
        let mut set = read(json!({"set": {"agent": "a", "variables": {"x": 1, "y": 1}}}));
        set.merge(read(json!({"set": {"output": 7, "variables": {"y": 2}}})));
        assert_eq!(set.agent.as_deref(), Some("a"));
        assert_eq!(set.output, Some(json!(7)));
        assert_eq!(Value::Object(set.variables), json!({"x": 1, "y": 2}));
    }
}
