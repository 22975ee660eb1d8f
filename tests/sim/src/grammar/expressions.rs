//! Expressions and templates over what is there.

use serde_json::{Value, json};

use super::{Grammar, Place};

impl Grammar {
    /// A condition that mostly holds. `before` = tasks that this one waits for.
    pub(super) fn condition(&mut self, before: &[String], place: Place) -> String {
        let task = before.first();
        match (self.rng.below(10), task) {
            (0, _) => "false".into(),
            (1, _) => "input.missing.field".into(),
            (2 | 3, Some(id)) => format!("tasks.{id}.status != 'failed'"),
            (4, Some(id)) => format!("tasks.{id}.output != null"),
            (5, _) if place.in_items => "index != 1".into(),
            (6, _) if place.in_loop => "loop.index < 3".into(),
            (7, _) => "size(input.list) >= 0 && !has(vars.never)".into(),
            _ => "input.flag".into(),
        }
    }

    /// Something to give an agent, or to make of what is there.
    pub(super) fn template(&mut self, before: &[String], place: Place) -> Value {
        let task = before.last();
        match (self.rng.below(9), task) {
            (0, _) => json!("plain"),
            (1 | 2, Some(id)) => {
                json!({"from": format!("${{ tasks.{id}.output }}"), "was": format!("${{ tasks.{id}.status }}")})
            }
            (3, Some(id)) => json!(format!("${{ tasks.{id}.output }}")),
            (4, _) if place.in_items => json!({"it": "${ item }", "at": "${ index }", "of": "${ count }"}),
            (5, _) if place.in_loop => {
                json!(["${ loop.index }", "${ loop.last }", "${ loop.carry }", "${ loop.history }"])
            }
            (6, _) if place.in_scope => json!({"scope": "${ scope.input }"}),
            (7, _) => json!("list of ${ size(input.list) } for ${ execution.id }"),
            _ => json!({"flag": "${ input.flag }", "list": "${ input.list.map(i, i) }"}),
        }
    }

    /// A list to go over.
    pub(super) fn list(&mut self, before: &[String]) -> Value {
        match (self.rng.below(6), before.last()) {
            (0, Some(id)) => json!(format!("tasks.{id}.output.items")),
            (1 | 2, _) => json!([1, 2, 3]),
            _ => json!("input.list"),
        }
    }
}
