//! From a message to the skill that it asks.

use std::{collections::HashMap, sync::Arc};

use a2a::{
    Fault, Json, keys,
    server::{Answer, Failure, Handler, Incoming, TaskContext},
};
use futures::future::{BoxFuture, FutureExt};
use jsonschema::Validator;
use serde_json::Value;

use crate::{
    Agent, Call, DefinitionError,
    builder::{Chooser, SkillHandler},
    call::{Origin, input_of},
    call_log::CallLog,
};

struct Ready {
    id: Arc<str>,
    handler: SkillHandler,
    input: Option<Validator>,
}

/// The skills of an agent, their schemas compiled once.
pub(crate) struct Skills {
    ready: HashMap<Arc<str>, Ready>,
    names: Vec<String>,
    chooser: Option<Chooser>,
    log: Option<CallLog>,
}

impl Skills {
    pub(crate) fn new(agent: &Agent, log: Option<CallLog>) -> Result<Self, DefinitionError> {
        agent.check()?;
        let mut ready = HashMap::new();
        for skill in &agent.skills {
            let Some(handler) = skill.handler.clone() else { continue };
            let bad = |why: String| DefinitionError::BadSchema { skill: skill.id.to_string(), why };
            let compiled = skill.contract.input_schema.as_ref().map(jsonschema::validator_for);
            let input = compiled.transpose().map_err(|err| bad(err.to_string()))?;
            ready.insert(skill.id.clone(), Ready { id: skill.id.clone(), handler, input });
        }
        let names = agent.skills.iter().map(|s| s.id.to_string()).collect();
        Ok(Self { ready, names, chooser: agent.chooser.clone(), log })
    }

    /// The skill that the message names, else the only one, else the one chosen by the input.
    fn choose(&self, asked: Option<&str>, input: impl FnOnce() -> Value) -> Result<&Ready, Fault> {
        let known = || self.names.join(", ");
        let field = format!("message.metadata.{}", keys::CAPABILITY);
        if let Some(asked) = asked {
            let unknown = || Fault::invalid(field, format!("no skill {asked:?}; this agent has {}", known()));
            return self.ready.get(asked).ok_or_else(unknown);
        }
        if let (1, Some(only)) = (self.ready.len(), self.ready.values().next()) {
            return Ok(only);
        }
        let chosen = self.chooser.as_ref().and_then(|choose| choose(&input()));
        let missing =
            || Fault::invalid(field, format!("the input fits no skill by itself: name one of {}", known()));
        chosen.and_then(|id| self.ready.get(id)).ok_or_else(missing)
    }

    fn of(&self, incoming: &Incoming, origin: &Origin) -> Result<&Ready, Fault> {
        let input = || input_of(&incoming.message).and_then(Json::value).unwrap_or_default();
        self.choose(origin.capability.as_deref(), input)
    }
}

/// Where in the input a schema is broken, as a path of the message: `input.query`, `input.list[2]`.
fn path(pointer: &str) -> String {
    let mut out = "input".to_owned();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        match step.parse::<usize>() {
            Ok(index) => out.push_str(&format!("[{index}]")),
            Err(_) => out.push_str(&format!(".{step}")),
        }
    }
    out
}

fn check(schema: &Validator, input: Option<&Json>) -> Result<(), Fault> {
    let value = match input {
        None => Value::Null,
        Some(json) => json.value().ok_or_else(|| Fault::invalid("input", "is not JSON"))?,
    };
    schema.validate(&value).map_err(|err| {
        let rule: String = err.to_string().chars().take(500).collect();
        Fault::invalid(path(&err.instance_path().to_string()), rule)
    })
}

impl Handler for Skills {
    fn accept(&self, incoming: &Incoming) -> Result<(), Fault> {
        let skill = self.of(incoming, &Origin::of(incoming))?;
        skill.input.as_ref().map_or(Ok(()), |schema| check(schema, input_of(&incoming.message)))
    }

    fn handle(
        self: Arc<Self>,
        incoming: Incoming,
        task: TaskContext,
    ) -> BoxFuture<'static, Result<Answer, Failure>> {
        let origin = Origin::of(&incoming);
        let skill = match self.of(&incoming, &origin) {
            Ok(skill) => skill,
            Err(fault) => return std::future::ready(Err(Failure::Rejected(fault.message))).boxed(),
        };
        let (message, headers) = (incoming.message, incoming.headers);
        let call = Call { message, headers, origin, skill: skill.id.clone(), task };
        if let Some(log) = &self.log {
            log.write(&call);
        }
        (skill.handler)(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Skill;
    use serde_json::json;

    fn skills(agent: Agent) -> Result<Skills, DefinitionError> {
        Skills::new(&agent, None)
    }

    fn skill(id: &str) -> Skill {
        Skill::new(id, "").handler(|call: Call| async move { Ok(call.input()) })
    }

    fn incoming(metadata: Value, input: Option<Value>) -> Incoming {
        let parts = input.iter().map(|v| a2a::model::Part::data(Json::from_value(v))).collect();
        let metadata = Some(Json::from_value(&metadata));
        let message = a2a::model::Message { parts, metadata, ..Default::default() };
        Incoming { message, metadata: None, headers: Default::default() }
    }

    #[test]
    fn the_skill_is_named_or_the_only_one_or_chosen_by_the_input() {
        let one = skills(Agent::new("a", "").skill(skill("x"))).unwrap();
        let two = Agent::new("a", "").skill(skill("x")).skill(skill("y"));
        let blind = skills(two.clone()).unwrap();
        let seeing = skills(two.choose(|input| input.get("y").map(|_| "y"))).unwrap();
        let named = |id: &str| json!({"orchestra.capability": id});
        for (skills, metadata, input, want) in [
            (&one, json!({}), None, Ok("x")),
            (&one, named("x"), None, Ok("x")),
            (&one, named("z"), None, Err("no skill \"z\"; this agent has x")),
            (&blind, named("y"), None, Ok("y")),
            (&blind, json!({}), Some(json!({"y": 1})), Err("name one of x, y")),
            (&seeing, json!({}), Some(json!({"y": 1})), Ok("y")),
            (&seeing, json!({}), Some(json!({})), Err("name one of x, y")),
            (&seeing, named("x"), Some(json!({"y": 1})), Ok("x")),
        ] {
            let incoming = incoming(metadata, input);
            match (skills.of(&incoming, &Origin::of(&incoming)), want) {
                (Ok(skill), Ok(want)) => assert_eq!(&*skill.id, want),
                (Err(fault), Err(want)) => assert!(fault.message.contains(want), "{fault}"),
                (got, want) => panic!("{:?} instead of {want:?}", got.map(|s| s.id.clone())),
            }
        }
    }

    #[test]
    fn an_input_that_breaks_its_schema_names_the_field() {
        let schema = json!({"type": "object", "required": ["q"], "properties": {"list": {"items": {"type": "string"}}}});
        let skills = skills(Agent::new("a", "").skill(skill("x").input_schema(schema))).unwrap();
        for (input, field) in [
            (Some(json!({"q": 1, "list": ["a"]})), None),
            (Some(json!({"q": 1, "list": ["a", 2]})), Some("input.list[1]")),
            (Some(json!({})), Some("input")),
            (None, Some("input")),
        ] {
            let refused = skills.accept(&incoming(json!({}), input.clone())).err();
            assert_eq!(refused.and_then(|f| f.field).as_deref(), field, "{input:?}");
        }
    }

    #[test]
    fn an_agent_that_cannot_work_is_refused_when_it_is_built() {
        let schema = json!({"type": "nonsense"});
        for (agent, want) in [
            (Agent::new("a", ""), "no skills"),
            (Agent::new("a", "").skill(skill("x")).skill(skill("x")), "defined twice"),
            (Agent::new("a", "").skill(Skill::new("x", "")), "no handler"),
            (Agent::new("a", "").skill(skill("x").input_schema(schema)), "input schema of skill \"x\""),
        ] {
            let err = skills(agent).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(err.contains(want), "{err}");
        }
    }
}
