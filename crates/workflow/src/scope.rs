//! What expressions see.
//!
//! A task's own expressions see the others as they stood when it was scheduled: whenever they are evaluated again, they
//! give the same. In a turn `tasks` finds the body's own tasks first, then those around it.

use std::sync::Arc;

use base::Payload;
use expr::{Expr, Node, Path, Scope};
use serde_json::{Value, json};

use crate::{
    compiled::Paths,
    input::{EvalError, phase_text, shared_value, to_value},
    plan::{NodeKind, ScopeMode},
    state::State,
    task::{TaskPhase, TaskState},
};

/// Who asks, and what is there for this question alone.
pub(crate) struct View {
    task: Option<u32>,
    turn: u32,
    /// What happened from this event on is not seen.
    until: u64,
    item: Option<(Value, u32, u32)>,
    own: Vec<(&'static str, Value)>,
}

impl View {
    /// The task's own expressions.
    pub(crate) fn of(state: &State, task: u32) -> Self {
        let own = &state.tasks[task as usize];
        let until = if own.scheduled_seq == 0 { u64::MAX } else { own.scheduled_seq };
        Self { task: Some(task), turn: own.turn, until, item: None, own: Vec::new() }
    }
    /// Of a turn as a whole, now.
    pub(crate) fn in_turn(turn: u32) -> Self {
        Self { task: None, turn, until: u64::MAX, item: None, own: Vec::new() }
    }
    /// For one item.
    pub(crate) fn item(mut self, item: Value, index: u32, count: u32) -> Self {
        self.item = Some((item, index, count));
        self
    }
    /// With a variable of this question's own.
    pub(crate) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.own.push((name, value));
        self
    }
}

impl State {
    pub(crate) fn eval(&self, place: &'static str, expr: &Expr, view: &View) -> Result<Value, EvalError> {
        expr.eval(&self.variables(view, expr.references()))
            .map_err(|e| EvalError { place, message: e.to_string() })
    }

    pub(crate) fn eval_bool(&self, place: &'static str, expr: &Expr, view: &View) -> Result<bool, EvalError> {
        expr.eval_bool(&self.variables(view, expr.references()))
            .map_err(|e| EvalError { place, message: e.to_string() })
    }

    pub(crate) fn render(
        &self,
        place: &'static str,
        template: &Paths,
        view: &View,
    ) -> Result<Value, EvalError> {
        template
            .0
            .render(&self.variables(view, &template.1))
            .map_err(|e| EvalError { place, message: e.to_string() })
    }

    /// A template that gives a text.
    pub(crate) fn render_text(
        &self,
        place: &'static str,
        template: &Paths,
        view: &View,
    ) -> Result<String, EvalError> {
        Ok(match self.render(place, template, view)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    /// The variables that expressions see, limited to what `paths` name.
    fn variables(&self, view: &View, paths: &[Path]) -> Scope {
        let named = |root: &str| paths.iter().any(|p| p.first().is_some_and(|r| r == root));
        let mut scope = Scope::new();
        if named("input") {
            scope.set("input", shared_value(self.input_until(view.until)));
        }
        if named("tasks") {
            scope.set("tasks", self.tasks_node(view, paths));
        }
        if named("execution") {
            let about = json!({"id": self.id.to_string(), "priority": self.created.priority});
            scope.set("execution", Arc::new(about));
        }
        if named("workflow") {
            let (name, version) = (&*self.created.workflow_name, &*self.created.workflow_version);
            scope.set("workflow", Arc::new(json!({"name": name, "version": version})));
        }
        if named("metadata") {
            let given = serde_json::from_str(&self.created.metadata_json).unwrap_or_else(|_| json!({}));
            scope.set("metadata", Arc::new(given));
        }
        if named("vars") {
            scope.set("vars", self.vars_of(view));
        }
        if named("session") {
            scope.set("session", Arc::new(self.session_value()));
        }
        if named("event") {
            let trigger = view.task.and_then(|t| self.tasks[t as usize].more.as_ref()?.trigger.as_ref());
            scope.set("event", Arc::new(trigger.map_or(Value::Null, |e| e.to_value())));
        }
        self.turn_variables(view, &named, &mut scope);
        for (name, value) in &view.own {
            scope.set(*name, Arc::new(value.clone()));
        }
        scope
    }

    /// `item`, `index`, `count`, `loop`, `scope` and `output` of the nearest turn that has them.
    fn turn_variables(&self, view: &View, named: &dyn Fn(&str) -> bool, scope: &mut Scope) {
        let mut item = view.item.clone();
        let (mut seen_loop, mut seen_scope) = (false, false);
        let mut at = &self.turns[view.turn as usize];
        while let Some(owner) = at.scope {
            if at.undo {
                if named("output") {
                    let output = self.tasks[owner as usize].output.as_ref();
                    scope.set("output", output.map_or_else(Default::default, shared_value));
                }
            } else {
                match self.scope_mode(owner) {
                    Some(ScopeMode::ForEach { .. }) if item.is_none() => {
                        let count = self.tasks[owner as usize].turns().map_or(0, |s| s.items);
                        item = at.item.as_ref().map(|i| (to_value(i), at.number, count));
                    }
                    Some(ScopeMode::Loop { .. }) if !seen_loop && named("loop") => {
                        seen_loop = true;
                        scope.set("loop", Arc::new(self.loop_value(owner, at.number, false)));
                    }
                    _ => {}
                }
                if !seen_scope && named("scope") {
                    seen_scope = true;
                    let input = self.scope_input(owner);
                    scope.set("scope", Arc::new(json!({"input": to_value(&input)})));
                }
            }
            at = &self.turns[self.tasks[owner as usize].turn as usize];
        }
        if let Some((item, index, count)) = item {
            scope.set("item", Arc::new(item));
            scope.set("index", Arc::new(json!(index)));
            scope.set("count", Arc::new(json!(count)));
        }
    }

    /// `loop` in turn `number` of a loop. `after`: as its end sees it, when the turn itself is the last.
    pub(crate) fn loop_value(&self, owner: u32, number: u32, after: bool) -> Value {
        let turns = self.tasks[owner as usize].turns().map_or(&[][..], |s| &s.turns);
        let before = if after { number + 1 } else { number };
        let output = |turn: &u32| self.turns[*turn as usize].output.as_ref().map_or(Value::Null, to_value);
        let last = before.checked_sub(1).and_then(|n| turns.get(n as usize)).map_or(Value::Null, output);
        let own = turns.get(number as usize).map(|t| &self.turns[*t as usize]);
        let carry = own.and_then(|t| t.carry.as_ref()).map_or(Value::Null, to_value);
        let mut value = json!({"index": number, "last": last, "carry": carry});
        if let Some(ScopeMode::Loop { history: true, .. }) = self.scope_mode(owner) {
            value["history"] = turns.iter().take(before as usize).map(output).collect();
        }
        value
    }

    /// How often a scope's task runs; `None` for other tasks.
    pub(crate) fn scope_mode(&self, task: u32) -> Option<&ScopeMode> {
        match &self.task_plan(task).kind {
            NodeKind::Scope(scope) => Some(&scope.mode),
            _ => None,
        }
    }

    /// Output of turn `number` of a scope's task.
    pub(crate) fn turn_output(&self, owner: u32, number: u32) -> Payload {
        let turn = self.tasks[owner as usize].turns().and_then(|s| s.turns.get(number as usize));
        turn.and_then(|t| self.turns[*t as usize].output.clone()).unwrap_or_else(Payload::null)
    }

    fn input_until(&self, until: u64) -> &Payload {
        let later = self.inputs.iter().rev().find(|(seq, _)| *seq < until);
        later.map_or(&self.created.input, |(_, input)| input)
    }

    /// The execution's input as the task sees it.
    pub(crate) fn input_of(&self, task: u32) -> &Payload {
        let seq = self.tasks[task as usize].scheduled_seq;
        self.input_until(if seq == 0 { u64::MAX } else { seq })
    }

    fn vars_of(&self, view: &View) -> Arc<Value> {
        let own = view.task.map(|t| &self.tasks[t as usize]).filter(|t| t.scheduled_seq != 0);
        let vars = match own {
            Some(task) => task.more.as_ref().and_then(|m| m.vars.as_ref()),
            None => self.vars.as_ref(),
        };
        vars.cloned().unwrap_or_else(|| Arc::new(json!({})))
    }

    fn session_value(&self) -> Value {
        let settings = &self.created.settings;
        let history = settings.history.as_ref().map_or_else(|| json!([]), to_value);
        let vars = settings.vars.as_ref().map_or_else(|| json!({}), to_value);
        json!({"id": &*settings.session, "vars": vars, "history": history})
    }

    /// `tasks.<id>.{output, status, error}` for the tasks that are named, or all of them when one is reached dynamically.
    fn tasks_node(&self, view: &View, paths: &[Path]) -> Node {
        let mut ids: Vec<u32> = Vec::new();
        for path in paths.iter().filter(|p| p.first().is_some_and(|r| r == "tasks")) {
            match path.get(1) {
                Some(id) => ids.extend(self.seen_from(view.turn, id)),
                None => {
                    let all = self.all_from(view.turn, view.until).into_iter();
                    return Node::Map(all.map(|t| self.member(t, view.until)).collect());
                }
            }
        }
        Node::Map(ids.into_iter().map(|t| self.member(t, view.until)).collect())
    }

    /// The task called `id` in this turn, or the nearest around it.
    fn seen_from(&self, turn: u32, id: &str) -> Option<u32> {
        let mut at = &self.turns[turn as usize];
        loop {
            let found = self.plan.block(at.block).index.get(id).filter(|_| !at.undo);
            if let Some(&offset) = found {
                return Some(at.task(offset)).filter(|t| (*t as usize) < self.tasks.len());
            }
            let Some(owner) = at.scope else { return self.removed(id) };
            at = &self.turns[self.tasks[owner as usize].turn as usize];
        }
    }

    /// A task that a change of the plan removed: what began before still sees it.
    fn removed(&self, id: &str) -> Option<u32> {
        let gone =
            |t: &TaskState| t.more.as_ref().and_then(|m| m.removed.as_deref()).is_some_and(|r| r == id);
        (self.revision > 0).then(|| self.tasks.iter().position(gone).map(|t| t as u32))?
    }

    /// All tasks in this turn and around it, the nearest last: of two that share an id it counts. Those of the plan that
    /// joined after event `until`, or were removed before it, are not among them.
    fn all_from(&self, turn: u32, until: u64) -> Vec<u32> {
        let mut rings = Vec::new();
        let mut at = &self.turns[turn as usize];
        while let Some(owner) = at.scope {
            let len = if at.undo { 0 } else { self.plan.block(at.block).len };
            rings.push((0..len).map(|offset| at.task(offset)).collect::<Vec<_>>());
            at = &self.turns[self.tasks[owner as usize].turn as usize];
        }
        let there = |t: &u32| {
            let own = &self.tasks[*t as usize];
            let removed = own.more.as_ref().is_some_and(|m| m.removed.is_some());
            own.turn == 0 && own.born < until && !(removed && own.ended_seq < until)
        };
        rings.push((0..self.tasks.len() as u32).filter(there).collect());
        rings.into_iter().rev().flatten().collect()
    }

    /// The task as it stood before event `until`: a reset since then does not count.
    fn as_of(&self, task: u32, until: u64) -> &TaskState {
        let before = self.past.iter().find(|(reset, t, _)| *t == task && *reset >= until);
        before.map_or(&self.tasks[task as usize], |(_, _, state)| state)
    }

    fn member(&self, id: u32, until: u64) -> (String, Node) {
        let task = self.as_of(id, until);
        let seen = |seq: u64| seq != 0 && seq < until;
        let phase = match task.phase {
            phase if seen(task.ended_seq) => phase,
            _ if seen(task.scheduled_seq) => TaskPhase::Scheduled,
            _ => TaskPhase::Pending,
        };
        let output = task.output.as_ref().filter(|_| seen(task.ended_seq));
        let output = output.map_or_else(Default::default, shared_value);
        let mut fields = std::collections::BTreeMap::from([
            ("output".to_owned(), Node::Value(output)),
            ("status".to_owned(), Node::from(Value::from(phase_text(phase)))),
        ]);
        if let Some((class, message)) = task.error().filter(|_| seen(task.ended_seq)) {
            let error = json!({"class": class.as_str(), "message": &**message});
            fields.insert("error".to_owned(), Node::from(error));
        }
        let removed = task.more.as_ref().and_then(|m| m.removed.as_deref());
        (removed.unwrap_or(&self.task_plan(id).id).to_owned(), Node::Map(fields))
    }

    /// What a session saves when the execution ended: the plan's templates, or the variables as they stand.
    ///
    /// # Errors
    /// A template fails.
    pub fn session_vars(&self) -> Result<Value, EvalError> {
        match self.plan.save() {
            Some(save) => self.render("session.save", save, &View::in_turn(0)),
            None => Ok(self.vars.as_ref().map_or_else(|| json!({}), |v| (**v).clone())),
        }
    }
}

impl crate::facts::UserEvent {
    /// As expressions and outputs see it.
    pub fn to_value(&self) -> Value {
        let kind = if self.event_type.is_empty() { &self.topic } else { &self.event_type };
        json!({
            "id": &*self.id, "topic": &*self.topic, "type": &**kind, "source": &*self.source,
            "key": &*self.key, "payload": to_value(&self.payload), "at": self.at.rfc3339(),
        })
    }
}
