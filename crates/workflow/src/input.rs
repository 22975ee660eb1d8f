//! What a task is given and what an execution gives back: texts spliced as they came, trees only where an expression
//! reads them.

use std::sync::Arc;

use base::Payload;
use bytes::Bytes;
use expr::{Node, Path, Scope};
use serde_json::{Map, Value, json};

use crate::{
    event::CallKey,
    plan::{ITEMS_MAX, InputSpec, Spread},
    state::{State, TaskPhase, TaskState},
};

/// An expression of the definition that failed at run time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct EvalError {
    /// `when`, `input`, `for_each` or `output`.
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
    /// The variables that expressions see, limited to what `paths` name. A task's own expressions see the others as they
    /// stood when it was scheduled: whenever they are evaluated again, they give the same.
    fn scope(&self, task: Option<u32>, paths: Paths<'_>, item: Option<(Value, u32, u32)>) -> Scope {
        let named = |root: &str| paths.iter().any(|p| p.first().is_some_and(|r| r == root));
        let mut scope = Scope::new();
        if named("input") {
            scope.set("input", shared_value(&self.created.input));
        }
        if named("tasks") {
            let scheduled = task.map_or(0, |t| self.tasks[t as usize].scheduled_seq);
            let until = if scheduled == 0 { u64::MAX } else { scheduled };
            scope.set("tasks", self.tasks_node(paths, until));
        }
        if named("execution") {
            scope.set(
                "execution",
                Arc::new(json!({"id": self.id.to_string(), "priority": self.created.priority})),
            );
        }
        if named("workflow") {
            let (name, version) = (&*self.created.workflow_name, &*self.created.workflow_version);
            scope.set("workflow", Arc::new(json!({"name": name, "version": version})));
        }
        if named("metadata") {
            let given = serde_json::from_str(&self.created.metadata_json).unwrap_or_else(|_| json!({}));
            scope.set("metadata", Arc::new(given));
        }
        if let Some((item, index, count)) = item {
            scope.set("item", Arc::new(item));
            scope.set("index", Arc::new(json!(index)));
            scope.set("count", Arc::new(json!(count)));
        }
        scope
    }

    /// `tasks.<id>.{output, status}` for the tasks that are named, or all of them when one is reached dynamically.
    /// What happened from event `until` on is not seen.
    fn tasks_node(&self, paths: Paths<'_>, until: u64) -> Node {
        let mut ids: Vec<u32> = Vec::new();
        for path in paths.iter().filter(|p| p.first().is_some_and(|r| r == "tasks")) {
            match path.get(1).map(|id| self.plan.task_index(id)) {
                Some(Some(id)) => ids.push(id),
                Some(None) => {}
                None => ids = (0..self.tasks.len() as u32).collect(),
            }
        }
        let member = |id: u32| {
            let task = &self.tasks[id as usize];
            let seen = |seq: u64| seq != 0 && seq < until;
            let phase = match task.phase {
                phase if seen(task.ended_seq) => phase,
                _ if seen(task.scheduled_seq) => TaskPhase::Scheduled,
                _ => TaskPhase::Pending,
            };
            let output = task.output.as_ref().filter(|_| seen(task.ended_seq));
            let output = output.map_or_else(Default::default, shared_value);
            let fields = [
                ("output".to_owned(), Node::Value(output)),
                ("status".to_owned(), Node::from(Value::from(phase_text(phase)))),
            ];
            (self.plan.plan().tasks[id as usize].id.clone(), Node::Map(fields.into_iter().collect()))
        };
        Node::Map(ids.into_iter().map(member).collect())
    }

    pub(crate) fn condition(&self, task: u32) -> Result<bool, EvalError> {
        match self.plan.when(task) {
            None => Ok(true),
            Some(expr) => expr
                .eval_bool(&self.scope(Some(task), expr.references(), None))
                .map_err(|e| EvalError { place: "when", message: e.to_string() }),
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
        Ok(match (&self.plan.plan().tasks[task as usize].spread, len) {
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

    /// The list that `task` scatters over, when there is one. Evaluated once.
    fn list(&self, task: u32) -> Result<Option<Arc<Vec<Value>>>, EvalError> {
        let state = &self.tasks[task as usize];
        if let Some(known) = state.list.get() {
            return Ok(known.clone());
        }
        let found = match &self.plan.plan().tasks[task as usize].spread {
            Spread::One => None,
            Spread::ForEach { .. } => match self.plan.list(task) {
                Some(expr) => match expr.eval(&self.scope(Some(task), expr.references(), None)) {
                    Ok(Value::Array(items)) => Some(items),
                    Ok(_) => None,
                    Err(e) => return Err(EvalError { place: "for_each", message: e.to_string() }),
                },
                None => None,
            },
            Spread::Parallel { .. } => self.parallel_list(task)?,
        };
        Ok(state.list.get_or_init(|| found.map(Arc::new)).clone())
    }

    /// Where `parallel: true` finds its list: in the task's own input (unless that is written for one item), else in the
    /// only dependency's output; without dependencies in the execution's input.
    fn parallel_list(&self, task: u32) -> Result<Option<Vec<Value>>, EvalError> {
        let plan = &self.plan.plan().tasks[task as usize];
        let own = match self.plan.input(task) {
            Some((_, paths)) if names_item(paths) => None,
            Some((template, paths)) => {
                let rendered = template.render(&self.scope(Some(task), paths, Some((Value::Null, 0, 0))));
                Some(rendered.map_err(|e| EvalError { place: "input", message: e.to_string() })?)
            }
            None if plan.input == InputSpec::Execution => Some(to_value(&self.created.input)),
            None => None,
        };
        if let Some(list) = own.and_then(|mut value| take_list(&mut value)) {
            return Ok(Some(list));
        }
        let given = match plan.after.as_slice() {
            [] => Some(to_value(&self.created.input)),
            [only] => self.tasks[*only as usize].output.as_ref().map(to_value),
            _ => None,
        };
        Ok(given.and_then(|mut value| take_list(&mut value)))
    }

    /// What the agent is given for this call. The same whenever it is asked, so that a call that is sent again carries
    /// what it carried before.
    pub fn call_input(&self, key: CallKey) -> Result<Payload, EvalError> {
        let Some(plan) = self.plan.plan().tasks.get(key.task as usize) else {
            return Err(EvalError { place: "input", message: format!("there is no task {}", key.task) });
        };
        let state = &self.tasks[key.task as usize];
        let list = if state.scattered { self.list(key.task)? } else { None };
        let item = list.as_ref().and_then(|l| l.get(key.item as usize));
        let count = state.calls.len() as u32;
        if let Some((template, paths)) = self.plan.input(key.task) {
            let place = state.scattered.then(|| (item.cloned().unwrap_or_default(), key.item, count));
            let by_hand = names_item(paths) || !matches!(plan.spread, Spread::Parallel { .. });
            return template
                .render(&self.scope(Some(key.task), paths, place))
                .map(|v| if by_hand { v } else { with_item(v, item, key.item, count) })
                .map(|v| Payload::from_value(&v))
                .map_err(|e| EvalError { place: "input", message: e.to_string() });
        }
        let place = state.scattered.then_some((item, key.item, count));
        let plain = match plan.input {
            InputSpec::Execution => self.created.input.clone(),
            InputSpec::Previous => self.previous(&plan.after),
            InputSpec::Context | InputSpec::Template(_) if plan.after.is_empty() && place.is_none() => {
                self.created.input.clone()
            }
            InputSpec::Context | InputSpec::Template(_) => return Ok(self.context(&plan.after, place)),
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

    fn previous(&self, after: &[u32]) -> Payload {
        match after {
            [] => self.created.input.clone(),
            [only] => self.tasks[*only as usize].output.clone().unwrap_or_else(Payload::null),
            several => self.by_id(several),
        }
    }

    fn by_id(&self, tasks: &[u32]) -> Payload {
        let mut text = Splice::object();
        for &t in tasks {
            if let Some(output) = &self.tasks[t as usize].output {
                text.field(&self.plan.plan().tasks[t as usize].id, output);
            }
        }
        text.end()
    }

    fn context(&self, after: &[u32], place: Option<(Option<&Value>, u32, u32)>) -> Payload {
        let mut text = Splice::object();
        text.field("input", &self.created.input);
        if !after.is_empty() {
            text.field("dependencies", &self.by_id(after));
        }
        if let Some((item, index, count)) = place {
            if let Some(item) = item {
                text.field("item", &Payload::from_value(item));
            }
            text.number("index", index);
            text.number("count", count);
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

    /// The execution's output from its finish points.
    pub(crate) fn final_output(&self) -> Result<Payload, EvalError> {
        if let Some((template, paths)) = self.plan.output() {
            return template
                .render(&self.scope(None, paths, None))
                .map(|v| Payload::from_value(&v))
                .map_err(|e| EvalError { place: "output", message: e.to_string() });
        }
        Ok(match self.plan.sinks() {
            [] => Payload::null(),
            [only] => self.tasks[*only as usize].output.clone().unwrap_or_else(Payload::null),
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

fn shared_value(payload: &Payload) -> Arc<Value> {
    payload.json().unwrap_or_else(|| Arc::new(to_value(payload)))
}

fn to_value(payload: &Payload) -> Value {
    match payload.json() {
        None if payload.is_empty() => Value::Null,
        Some(value) => (*value).clone(),
        None => Value::String(String::from_utf8_lossy(payload.bytes()).into_owned()),
    }
}

/// JSON text of a payload: as it came, or a JSON string of what is not JSON.
fn json_bytes(payload: &Payload) -> Bytes {
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
        use crate::state::CallPhase as P;
        if self.phase != TaskPhase::Scheduled {
            return phase_text(self.phase);
        }
        let any = |f: fn(&crate::state::CallState) -> bool| self.calls.iter().any(f);
        if any(|c| c.phase == P::Decision) {
            "needs_decision"
        } else if any(|c| c.phase == P::Input) {
            "input_required"
        } else if any(|c| c.phase == P::Running) {
            "running"
        } else if any(|c| c.attempt > 0 && matches!(c.phase, P::Ready(_))) {
            "retrying"
        } else if any(|c| c.waiting.is_some()) {
            "waiting"
        } else {
            "ready"
        }
    }
}
