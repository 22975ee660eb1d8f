//! What a task is given and what an execution gives back: texts spliced as they came, trees only where an expression
//! reads them.

use std::sync::Arc;

use base::Payload;
use bytes::Bytes;
use expr::Path;
use serde_json::{Map, Value};

use crate::{
    event::CallKey,
    plan::{ITEMS_MAX, InputSpec, Join, NodeKind, ScopeMode, Spread},
    scope::View,
    state::State,
    task::{TaskPhase, TaskState},
};

/// An expression of the definition that failed at run time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct EvalError {
    /// `when`, `input`, `for_each`, `output`, `until`, …
    pub place: &'static str,
    /// The evaluator's words.
    pub message: String,
}

/// What a task scatters over.
pub(crate) struct Scatter {
    pub items: u32,
    pub width: u32,
    pub scattered: bool,
}

type Paths<'a> = &'a [Path];

impl State {
    pub(crate) fn condition(&self, task: u32) -> Result<bool, EvalError> {
        match &self.plan.at(self.tasks[task as usize].node).when {
            None => Ok(true),
            Some(expr) => self.eval_bool("when", expr, &View::of(self, task)),
        }
    }

    /// How many calls the task makes, and how many at once.
    pub(crate) fn scatter(&self, task: u32) -> Result<Scatter, EvalError> {
        let list = self.list(task)?;
        let len = match list.as_ref().map(|l| l.len()) {
            Some(n) if n > ITEMS_MAX as usize => {
                let message = format!("the list has {n} items, the limit is {ITEMS_MAX}");
                return Err(EvalError { place: "for_each", message });
            }
            len => len.map(|n| n as u32),
        };
        Ok(match (&self.spread(task), len) {
            (Spread::One, _) => Scatter { items: 1, width: 1, scattered: false },
            (Spread::ForEach { width, .. }, Some(n)) => {
                Scatter { items: n, width: width.unwrap_or(n).clamp(1, n.max(1)), scattered: true }
            }
            (Spread::ForEach { .. }, None) => {
                return Err(EvalError {
                    place: "for_each",
                    message: "the expression does not give a list".into(),
                });
            }
            (Spread::Parallel { count }, Some(n)) => {
                Scatter { items: n, width: count.unwrap_or(n).clamp(1, n.max(1)), scattered: true }
            }
            (Spread::Parallel { count }, None) => {
                let n = count.unwrap_or(1).max(1);
                Scatter { items: n, width: n, scattered: true }
            }
        })
    }

    /// How a task is spread; the turns of a scope are spread over a list as calls are.
    fn spread(&self, task: u32) -> Spread {
        let plan = self.task_plan(task);
        match &plan.kind {
            NodeKind::Scope(scope) => match &scope.mode {
                ScopeMode::ForEach { list, width, .. } => {
                    Spread::ForEach { list: list.clone(), width: *width }
                }
                ScopeMode::Once | ScopeMode::Loop { .. } => Spread::One,
            },
            _ => plan.spread.clone(),
        }
    }

    /// The list that `task` scatters over, when there is one. Evaluated once.
    pub(crate) fn list(&self, task: u32) -> Result<Option<Arc<Vec<Value>>>, EvalError> {
        let state = &self.tasks[task as usize];
        if let Some(known) = state.list.get() {
            return Ok(known.clone());
        }
        let found = match (&self.plan.at(state.node).list, &self.task_plan(task).spread) {
            (Some(expr), _) => match self.eval("for_each", expr, &View::of(self, task))? {
                Value::Array(items) => Some(items),
                _ => None,
            },
            (None, Spread::Parallel { .. }) => self.parallel_list(task)?,
            (None, Spread::One | Spread::ForEach { .. }) => None,
        };
        Ok(state.list.get_or_init(|| found.map(Arc::new)).clone())
    }

    /// Where `parallel: true` finds its list: in the task's own input (unless that is written for one item), else in the
    /// only dependency's output; without dependencies in the execution's input.
    fn parallel_list(&self, task: u32) -> Result<Option<Vec<Value>>, EvalError> {
        let plan = self.task_plan(task);
        let own = match &self.plan.at(self.tasks[task as usize].node).input {
            Some((_, paths)) if names_item(paths) => None,
            Some(input) => {
                let view = View::of(self, task).item(Value::Null, 0, 0);
                Some(self.render("input", input, &view)?)
            }
            None if plan.input == InputSpec::Execution => Some(to_value(self.input_of(task))),
            None => None,
        };
        if let Some(list) = own.and_then(|mut value| take_list(&mut value)) {
            return Ok(Some(list));
        }
        let given = match self.before(task).as_slice() {
            [] => Some(to_value(&self.around(task))),
            [only] => self.tasks[*only as usize].output.as_ref().map(to_value),
            _ => None,
        };
        Ok(given.and_then(|mut value| take_list(&mut value)))
    }

    /// What the agent is given for this call. The same whenever it is asked, so that a call that is sent again carries
    /// what it carried before.
    ///
    /// # Errors
    /// The input mapping cannot be evaluated, or there is no such task.
    pub fn call_input(&self, key: CallKey) -> Result<Payload, EvalError> {
        let Some(state) = self.tasks.get(key.task as usize) else {
            return Err(EvalError { place: "input", message: format!("there is no task {}", key.task) });
        };
        let plan = self.task_plan(key.task);
        let list = if state.scattered { self.list(key.task)? } else { None };
        let item = list.as_ref().and_then(|l| l.get(key.item as usize));
        let count = state.calls.len() as u32;
        if let Some(input) = &self.plan.at(state.node).input {
            let mut view = View::of(self, key.task);
            if state.scattered {
                view = view.item(item.cloned().unwrap_or_default(), key.item, count);
            }
            let by_hand = names_item(&input.1) || !matches!(plan.spread, Spread::Parallel { .. });
            let mapped = self.render("input", input, &view)?;
            let whole = if by_hand { mapped } else { with_item(mapped, item, key.item, count) };
            return Ok(Payload::from_value(&whole));
        }
        let place = state.scattered.then_some((item, key.item, count));
        let plain = match plan.input {
            InputSpec::Execution => self.input_of(key.task).clone(),
            InputSpec::Previous => self.previous(key.task),
            InputSpec::Context | InputSpec::Template(_) if plan.after.is_empty() && place.is_none() => {
                self.around(key.task)
            }
            InputSpec::Context | InputSpec::Template(_) => return Ok(self.context(key.task, place)),
        };
        Ok(match place {
            None => plain,
            Some((Some(item), ..)) => Payload::from_value(item),
            Some((None, index, count)) => {
                let mut text = Splice::object();
                text.field("input", &plain);
                text.number("index", index);
                text.number("count", count);
                text.end()
            }
        })
    }

    /// What a task without anything before it is given: the execution's input; in a turn the scope's input with the
    /// turn's item or what the loop carries; in a compensation what is undone.
    fn around(&self, task: u32) -> Payload {
        let Some(turn) = self.turn_of(task) else { return self.input_of(task).clone() };
        let Some(owner) = turn.scope else { return self.input_of(task).clone() };
        let mut text = Splice::object();
        if turn.undo {
            text.field("input", &self.scope_input(owner));
            text.field("output", &self.tasks[owner as usize].output.clone().unwrap_or_else(Payload::null));
            return text.end();
        }
        match self.scope_mode(owner) {
            Some(ScopeMode::ForEach { .. }) => {
                text.field("input", &self.scope_input(owner));
                self.place_of(task, &mut text);
                text.end()
            }
            Some(ScopeMode::Loop { .. }) => {
                text.field("input", &self.scope_input(owner));
                text.field("loop", &Payload::from_value(&self.loop_value(owner, turn.number, false)));
                text.end()
            }
            Some(ScopeMode::Once) | None => self.scope_input(owner),
        }
    }

    /// Item, index and count of the turn over a list that the task stands in.
    fn place_of(&self, task: u32, text: &mut Splice) {
        let Some(turn) = self.turn_of(task) else { return };
        if let (Some(item), Some(owner)) = (&turn.item, turn.scope) {
            text.field("item", item);
            text.number("index", turn.number);
            text.number("count", self.tasks[owner as usize].turns().map_or(0, |s| s.items));
        }
    }

    /// The input of a scope's task (of what is undone: of the task itself); null when its mapping fails.
    pub(crate) fn scope_input(&self, owner: u32) -> Payload {
        self.call_input(CallKey::new(owner, 0)).unwrap_or_else(|_| Payload::null())
    }

    /// Outputs before `task` that were there when it was scheduled.
    fn given(&self, task: u32) -> Vec<u32> {
        let until = match self.tasks[task as usize].scheduled_seq {
            0 => u64::MAX,
            seq => seq,
        };
        let there = |t: &u32| {
            let before = &self.tasks[*t as usize];
            before.output.is_some() && before.ended_seq < until
        };
        self.before(task).into_iter().filter(there).collect()
    }

    fn previous(&self, task: u32) -> Payload {
        let plan = self.task_plan(task);
        let given = self.given(task);
        match (plan.after.as_slice(), given.as_slice()) {
            ([], _) => self.previous_turn(task),
            ([_], []) => Payload::null(),
            // Of a race there is one answer.
            ([_], [only]) => self.output_of(*only),
            (_, [only]) if plan.join == Join::Any => self.output_of(*only),
            (_, several) => self.by_id(several),
        }
    }

    /// In a turn without anything before it: the item, or what the turn before gave.
    fn previous_turn(&self, task: u32) -> Payload {
        let Some(turn) = self.turn_of(task) else { return self.input_of(task).clone() };
        let Some(owner) = turn.scope.filter(|_| !turn.undo) else { return self.around(task) };
        match self.scope_mode(owner) {
            Some(ScopeMode::ForEach { .. }) => turn.item.clone().unwrap_or_else(Payload::null),
            Some(ScopeMode::Loop { .. }) if turn.number > 0 => self.turn_output(owner, turn.number - 1),
            _ => self.scope_input(owner),
        }
    }

    fn output_of(&self, task: u32) -> Payload {
        self.tasks[task as usize].output.clone().unwrap_or_else(Payload::null)
    }

    fn by_id(&self, tasks: &[u32]) -> Payload {
        let mut text = Splice::object();
        for &t in tasks {
            if let Some(output) = &self.tasks[t as usize].output {
                text.field(&self.task_plan(t).id, output);
            }
        }
        text.end()
    }

    /// Failures before a join that starts all the same, typed: never in the place of an output.
    fn failures(&self, task: u32) -> Option<Payload> {
        let until = match self.tasks[task as usize].scheduled_seq {
            0 => u64::MAX,
            seq => seq,
        };
        let mut text = Splice::object();
        let mut any = false;
        for t in self.before(task) {
            let before = &self.tasks[t as usize];
            if let (TaskPhase::Failed, Some((class, message))) = (before.phase, before.error())
                && before.ended_seq < until
            {
                any = true;
                let error = serde_json::json!({"class": class.as_str(), "message": &**message});
                text.field(&self.task_plan(t).id, &Payload::from_value(&error));
            }
        }
        any.then(|| text.end())
    }

    fn context(&self, task: u32, place: Option<(Option<&Value>, u32, u32)>) -> Payload {
        let plan = self.task_plan(task);
        let mut text = Splice::object();
        match self.turn_of(task).and_then(|t| t.scope) {
            Some(owner) => text.field("input", &self.scope_input(owner)),
            None => text.field("input", self.input_of(task)),
        }
        if !plan.after.is_empty() {
            text.field("dependencies", &self.by_id(&self.given(task)));
        }
        if (plan.join != Join::All || !plan.edges.is_empty())
            && let Some(failures) = self.failures(task)
        {
            text.field("failures", &failures);
        }
        match place {
            Some((item, index, count)) => {
                if let Some(item) = item {
                    text.field("item", &Payload::from_value(item));
                }
                text.number("index", index);
                text.number("count", count);
            }
            None => self.place_of(task, &mut text),
        }
        text.end()
    }

    /// Outputs of a scattered task's items, as one list in their order.
    pub(crate) fn gather(&self, task: u32) -> Payload {
        let mut text = Vec::from(*b"[");
        for (i, call) in self.tasks[task as usize].calls.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&call.output.as_ref().map_or(Bytes::from_static(b"null"), json_bytes));
        }
        text.push(b']');
        Payload::json_text(text)
    }

    /// What a turn gives from its finish points; of turn 0 the execution's output.
    pub(crate) fn turn_result(&self, turn: u32) -> Result<Payload, EvalError> {
        let state = &self.turns[turn as usize];
        let block = self.plan.block(state.block);
        if let Some(output) = &block.output {
            return self.render("output", output, &View::in_turn(turn)).map(|v| Payload::from_value(&v));
        }
        let sinks: Vec<u32> = block.sinks.iter().map(|&offset| state.task(offset)).collect();
        Ok(match sinks.as_slice() {
            [] => Payload::null(),
            [only] => self.output_of(*only),
            several => self.by_id(several),
        })
    }
}

/// Whether an input mapping is written for one item.
fn names_item(paths: Paths<'_>) -> bool {
    paths.iter().any(|p| p.first().is_some_and(|root| root == "item"))
}

/// Takes the list out of a value: the value itself, its field `items`, or its only field that is a list.
fn take_list(value: &mut Value) -> Option<Vec<Value>> {
    let field = match value {
        Value::Array(items) => return Some(std::mem::take(items)),
        Value::Object(fields) if fields.get("items").is_some_and(Value::is_array) => "items".to_owned(),
        Value::Object(fields) => {
            let mut lists = fields.iter().filter(|(_, v)| v.is_array()).map(|(name, _)| name);
            match (lists.next(), lists.next()) {
                (Some(only), None) => only.clone(),
                _ => return None,
            }
        }
        _ => return None,
    };
    match value.as_object_mut()?.remove(&field)? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// A mapped input for one of many calls: its item stands in the place of the list, beside index and count.
fn with_item(mut mapped: Value, item: Option<&Value>, index: u32, count: u32) -> Value {
    let listed = take_list(&mut mapped).is_some();
    let mut fields = match (mapped, item) {
        (Value::Array(_), Some(item)) if listed => return item.clone(),
        (Value::Object(fields), _) => fields,
        (other, _) => Map::from_iter([("input".to_owned(), other)]),
    };
    let places = [("item", item.cloned()), ("index", Some(index.into())), ("count", Some(count.into()))];
    for (name, value) in places {
        if let (Some(value), None) = (value, fields.get(name)) {
            fields.insert(name.into(), value);
        }
    }
    Value::Object(fields)
}

pub(crate) fn shared_value(payload: &Payload) -> Arc<Value> {
    payload.json().unwrap_or_else(|| Arc::new(to_value(payload)))
}

pub(crate) fn to_value(payload: &Payload) -> Value {
    match payload.json() {
        None if payload.is_empty() => Value::Null,
        Some(value) => (*value).clone(),
        None => Value::String(String::from_utf8_lossy(payload.bytes()).into_owned()),
    }
}

/// JSON text of a payload: as it came, or a JSON string of what is not JSON.
pub(crate) fn json_bytes(payload: &Payload) -> Bytes {
    if payload.is_json() && !payload.is_empty() {
        payload.bytes().clone()
    } else {
        Bytes::from(to_value(payload).to_string())
    }
}

pub(crate) fn phase_text(phase: TaskPhase) -> &'static str {
    match phase {
        TaskPhase::Pending => "pending",
        TaskPhase::Scheduled => "running",
        TaskPhase::Completed => "completed",
        TaskPhase::Failed => "failed",
        TaskPhase::Skipped(_) => "skipped",
        TaskPhase::Cancelled => "cancelled",
    }
}

/// A JSON object written by splicing texts.
struct Splice(Vec<u8>);

impl Splice {
    fn object() -> Self {
        Self(Vec::from(*b"{"))
    }
    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.extend_from_slice(Value::from(key).to_string().as_bytes());
        self.0.push(b':');
    }
    fn field(&mut self, key: &str, value: &Payload) {
        self.key(key);
        self.0.extend_from_slice(&json_bytes(value));
    }
    fn number(&mut self, key: &str, value: u32) {
        self.key(key);
        self.0.extend_from_slice(value.to_string().as_bytes());
    }
    fn end(mut self) -> Payload {
        self.0.push(b'}');
        Payload::json_text(self.0)
    }
}

impl TaskState {
    /// Text form of where the task stands, with what its only or busiest call is doing.
    pub fn state_text(&self) -> &'static str {
        use crate::task::CallPhase as P;
        if self.phase != TaskPhase::Scheduled {
            return phase_text(self.phase);
        }
        let any = |f: fn(&crate::task::CallState) -> bool| self.calls.iter().any(f);
        if self.calls.is_empty() && self.waiting().is_some() {
            "waiting"
        } else if any(|c| c.phase == P::Decision) {
            "needs_decision"
        } else if any(|c| c.phase == P::Input) {
            "input_required"
        } else if any(|c| c.phase == P::Running) {
            "running"
        } else if any(|c| c.attempt > 0 && matches!(c.phase, P::Ready(_))) {
            "retrying"
        } else if any(|c| c.waiting.is_some()) {
            "waiting"
        } else if self.turns().is_some() {
            "running"
        } else {
            "ready"
        }
    }
}
