//! Uses of patterns: the built-in ones, and two of users.

use serde_json::{Value, json};

use super::Grammar;

/// The texts of the patterns of users that random definitions name: one of plain tasks, one that is built from others.
pub const PATTERNS: &[&str] = &[
    "pattern: second-opinion
version: 1.2.0
parameters:
  worker: {type: role}
  readers: {type: roles, minItems: 1}
  needed: {type: integer, default: 1, minimum: 1}
body:
  loop: {until: \"size(tasks.votes.output.filter(v, has(v.agree) && v.agree)) >= $(needed)\", max: 3, exhausted: stop}
  tasks:
    - {id: work, agent: $(worker), input: {goal: \"${ scope.input }\", before: \"${ loop.last }\"}}
    - {$each: $(readers), $as: reader, $do: {id: read-$(reader_key), agent: $(reader), depends_on: [work]}}
    - id: votes
      depends_on: [{$each: $(readers), $as: r, $do: read-$(r_key)}]
      transform: [{$each: $(readers), $as: r, $do: \"${ tasks['read-$(r_key)'].output }\"}]
  output: ${ tasks.work.output }
",
    "pattern: checked-race
version: 1.0.0
parameters:
  who: {type: roles, minItems: 2}
  judge: {type: role}
uses: [race@^1, second-opinion@^1]
body:
  tasks:
    - {id: first, pattern: {name: race, version: ^1, with: {contestants: $(who)}}}
    - {id: checked, depends_on: [first], pattern: {name: second-opinion, version: ^1, with: {worker: $(judge), readers: $(who)}}}
  output: ${ tasks.checked.output }
",
];

impl Grammar {
    /// A pattern and what it is given.
    pub(super) fn pattern(&mut self) -> (&'static str, Value) {
        let few = 1 + self.rng.below(3);
        match self.rng.below(16) {
            0 => ("supervisor", json!({"supervisor": "lead", "workers": ["ann", "bob"], "max_steps": few})),
            1 => (
                "hierarchical",
                json!({"supervisor": "lead", "max_steps": few, "team_max_steps": 2, "teams": {
                    "front": {"supervisor": "ann", "workers": ["bob"]}, "done": {"supervisor": "bob", "workers": ["carol"]},
                }}),
            ),
            2 => ("handoff", json!({"start": "ann", "agents": ["ann", "bob", "carol"], "max_steps": few})),
            3 => ("swarm", json!({"agents": "ann", "items": "[1, 2]", "width": few, "max_rounds": 2})),
            4 => ("network", json!({"peers": ["ann", "bob", "carol"], "max_rounds": 2})),
            5 => ("router", json!({"router": "lead", "agents": ["ann", "bob"]})),
            6 => (
                "round-robin",
                json!({"participants": ["ann", "bob"], "moderator": "lead", "max_turns": few}),
            ),
            7 => ("plan-execute-replan", json!({"planner": "lead", "executor": "ann", "max_steps": few})),
            8 => (
                "evaluator-optimizer",
                json!({"optimizer": "ann", "evaluator": "bob", "max_rounds": few, "at_limit": self.one_of(&["stop", "fail"])}),
            ),
            9 => ("debate", json!({"debaters": ["ann", "bob"], "judge": "lead", "rounds": few})),
            10 => ("pair", json!({"author": "ann", "reviewer": "bob", "max_rounds": few})),
            11 => (
                "race",
                json!({"contestants": ["ann", "bob"], "accept": "has(tasks.answer.output.n) && tasks.answer.output.n > 3"}),
            ),
            12 => (
                "map-reduce",
                json!({"mapper": "ann", "reducer": "lead", "items": "input.list", "width": few}),
            ),
            13 => ("manual", json!({"agents": ["ann", "bob"], "max_steps": few})),
            14 => ("second-opinion", json!({"worker": "ann", "readers": ["bob", "carol"], "needed": 1})),
            _ => ("checked-race", json!({"who": ["ann", "bob"], "judge": "carol"})),
        }
    }
}
