//! Plans in a few words, and an execution under test that keeps its log.

use std::{sync::Arc, time::Duration};

use base::{
    AgentId, CheckpointId, Effect as Class, ExecutionId, FailureClass, Payload, Timestamp, WorkflowId,
};
use serde_json::{Value, json};
use uuid::Uuid;
use workflow::{
    Assignment, CallKey, CallPhase, CallState, Caller, Compiled, Created, Effect, Event, Input, Kind,
    Refusal, State, Status, TaskPhase, create, fold,
    plan::{
        Backoff, Edge, Exhausted, Join, NodeKind, OutputSpec, Plan, Rest, RetryPolicy, Scope, ScopeMode,
        TaskPlan,
    },
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A task called `id` that waits for the tasks at these indices.
pub(crate) fn task(id: &str, after: &[u32]) -> TaskPlan {
    TaskPlan { id: id.into(), after: after.to_vec(), retry: Some(RetryPolicy::none()), ..TaskPlan::default() }
}

/// The same task, changed.
pub(crate) fn with(mut task: TaskPlan, change: impl FnOnce(&mut TaskPlan)) -> TaskPlan {
    change(&mut task);
    task
}

pub(crate) fn plan(tasks: Vec<TaskPlan>) -> Plan {
    Plan {
        schema: workflow::plan::PLAN_SCHEMA,
        name: "w".into(),
        version: "1".into(),
        tasks,
        ..Plan::default()
    }
}

/// `max` attempts, one second apart.
pub(crate) fn retry(max: u32) -> Option<RetryPolicy> {
    Some(RetryPolicy {
        max_attempts: max,
        backoff: Backoff::Fixed,
        base_delay: SECOND,
        max_delay: secs(60),
        ..RetryPolicy::default()
    })
}

pub(crate) fn created(input: Value) -> Created {
    Created {
        workflow_id: WorkflowId::new(Uuid::from_u128(7)),
        workflow_name: "w".into(),
        workflow_version: "1".into(),
        input: Payload::from_value(&input),
        priority: 0,
        timeout: Duration::ZERO,
        retry_policy: "".into(),
        max_agents: 0,
        max_cpu_millis: 0,
        max_memory_bytes: 0,
        metadata_json: "".into(),
        checkpoint_every: Duration::ZERO,
        allocation_timeout: secs(30),
        trace: "".into(),
        correlation_id: "".into(),
        principal: "ann".into(),
        candidates: vec![],
        estimated: Duration::ZERO,
        default_retry: RetryPolicy::none(),
        settings: workflow::Settings::default(),
    }
}

pub(crate) fn caller(member: &str) -> Caller {
    Caller { member: member.into(), incarnation: 1 }
}

pub(crate) fn checkpoint(n: u128) -> CheckpointId {
    CheckpointId::new(Uuid::from_u128(n))
}

pub(crate) fn output(value: Value) -> Payload {
    Payload::from_value(&value)
}

/// An execution under test.
pub(crate) struct Run {
    pub(crate) state: State,
    pub(crate) log: Vec<Event>,
    pub(crate) now: Timestamp,
    /// The plan it began with.
    pub(crate) plan: Arc<Compiled>,
}

impl Run {
    /// Created and admitted, with input `{"q": 1}`.
    pub(crate) fn of(tasks: Vec<TaskPlan>) -> Self {
        Self::start(plan(tasks), created(json!({"q": 1})))
    }
    pub(crate) fn plan(plan: Plan) -> Self {
        Self::start(plan, created(json!({"q": 1})))
    }
    pub(crate) fn given(input: Value, tasks: Vec<TaskPlan>) -> Self {
        Self::start(plan(tasks), created(input))
    }
    pub(crate) fn start(plan: Plan, created: Created) -> Self {
        let mut run = Self::queued(plan, created);
        run.step(Input::Admit);
        run
    }
    /// Created, not admitted.
    pub(crate) fn queued(plan: Plan, created: Created) -> Self {
        let plan = Arc::new(Compiled::new(plan).unwrap());
        let now = Timestamp::from_millis(1_000_000);
        let (state, step) = create(ExecutionId::new(Uuid::from_u128(1)), plan.clone(), created, now);
        Self { state, log: step.events, now, plan }
    }

    /// Takes a step, keeps its facts and checks that a replay gives the same state.
    pub(crate) fn try_step(&mut self, input: Input) -> Result<Vec<Effect>, Refusal> {
        let step = self.state.step(&input, self.now)?;
        self.log.extend(step.events);
        let replayed = fold(self.state.id(), self.plan.clone(), &self.log).unwrap();
        assert_eq!(replayed, self.state, "the log gives another state after {input:?}");
        assert_eq!(self.state.seq(), self.log.len() as u64);
        Ok(step.effects)
    }
    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        self.try_step(input).unwrap()
    }
    /// Kinds of the facts that `act` added.
    pub(crate) fn facts(&mut self, act: impl FnOnce(&mut Self)) -> Vec<Kind> {
        let before = self.log.len();
        act(self);
        self.log[before..].iter().map(|e| e.kind.clone()).collect()
    }
    /// Lets time pass.
    pub(crate) fn wait(&mut self, d: Duration) -> Vec<Effect> {
        self.now = self.now.plus(d);
        self.step(Input::Tick { checkpoint: checkpoint(99) })
    }

    pub(crate) fn key(&self, name: &str) -> CallKey {
        let (task, item) = name.split_once('#').unwrap_or((name, "0"));
        CallKey::new(
            self.state.find_task(task).unwrap_or_else(|| panic!("no task {task}")),
            item.parse().unwrap(),
        )
    }
    pub(crate) fn call(&self, name: &str) -> &CallState {
        self.state.call(self.key(name)).unwrap()
    }
    pub(crate) fn phase(&self, task: &str) -> TaskPhase {
        self.state.tasks()[self.key(task).task as usize].phase
    }
    pub(crate) fn status(&self) -> Status {
        self.state.status()
    }
    /// Calls that may leave, as `task` or `task#item`.
    pub(crate) fn ready(&self) -> Vec<String> {
        let dispatched = self.state.outstanding().into_iter().filter_map(|e| match e {
            Effect::Dispatch { call, at } if at <= self.now => Some(call),
            _ => None,
        });
        dispatched.map(|call| self.name(call)).collect()
    }
    pub(crate) fn name(&self, call: CallKey) -> String {
        let task = self.state.task_path(call.task);
        if self.state.tasks()[call.task as usize].scattered { format!("{task}#{}", call.item) } else { task }
    }
    /// JSON input of a call.
    pub(crate) fn input(&self, name: &str) -> Value {
        (*self.state.call_input(self.key(name)).unwrap().json().unwrap()).clone()
    }
    pub(crate) fn result(&self) -> Value {
        (*self.state.output().unwrap().json().unwrap()).clone()
    }

    pub(crate) fn assign(&mut self, name: &str, instance: &str, effect: Class) -> Vec<Effect> {
        let to = Arc::new(Assignment {
            agent: AgentId::new("helper").unwrap(),
            instance: instance.into(),
            caller: caller("m1"),
            input_hash: [0; 32],
            capability: "".into(),
            capability_version: "".into(),
            effect,
            reason: "least loaded".into(),
        });
        self.step(Input::Assign { call: self.key(name), to })
    }
    /// Assigns and expects it to leave.
    pub(crate) fn send(&mut self, name: &str) {
        self.send_as(name, Class::Idempotent);
    }
    pub(crate) fn send_as(&mut self, name: &str, effect: Class) {
        let effects = self.assign(name, "i1", effect);
        assert!(effects.contains(&Effect::Send(self.key(name))), "{name} does not leave: {effects:?}");
    }
    pub(crate) fn answer(&mut self, name: &str, value: Value) -> Vec<Effect> {
        let attempt = self.call(name).attempt;
        self.answer_of(name, attempt, value)
    }
    pub(crate) fn answer_of(&mut self, name: &str, attempt: u32, value: Value) -> Vec<Effect> {
        self.step(Input::Answered { call: self.key(name), attempt, output: output(value), call_us: 1000 })
    }
    /// Sends and answers.
    pub(crate) fn done(&mut self, name: &str, value: Value) {
        self.send(name);
        self.answer(name, value);
    }
    pub(crate) fn fail(&mut self, name: &str, class: FailureClass, known: bool) -> Vec<Effect> {
        self.step(self.failure(name, class, known, "it broke"))
    }
    pub(crate) fn failure(&self, name: &str, class: FailureClass, known: bool, message: &str) -> Input {
        Input::AttemptFailed {
            call: self.key(name),
            attempt: self.call(name).attempt,
            class,
            message: message.into(),
            outcome_known: known,
            retry_after: None,
            call_us: 1000,
        }
    }
    pub(crate) fn ask(&mut self, name: &str, question: &str) -> Vec<Effect> {
        self.step(Input::InputRequired {
            call: self.key(name),
            attempt: self.call(name).attempt,
            prompt: output(json!(question)),
            agent_task_id: "t1".into(),
            context_id: "c1".into(),
            call_us: 1000,
        })
    }
    pub(crate) fn reply(&mut self, name: &str, value: Value) -> Result<Vec<Effect>, Refusal> {
        self.try_step(Input::Answer { call: self.key(name), input: output(value), by: "ann".into() })
    }
    pub(crate) fn no_agent(&mut self, name: &str, reason: &str) -> Vec<Effect> {
        self.step(Input::NoAgent { call: self.key(name), reason: reason.into() })
    }
    pub(crate) fn pause(&mut self) -> Vec<Effect> {
        self.step(Input::Pause { by: "ann".into(), reason: "lunch".into(), checkpoint: checkpoint(5) })
    }
    pub(crate) fn resume(&mut self) -> Vec<Effect> {
        self.step(Input::Resume { by: "ann".into() })
    }
    pub(crate) fn cancel(&mut self) -> Result<Vec<Effect>, Refusal> {
        self.try_step(Input::Cancel { by: "ann".into(), reason: "enough".into() })
    }
    pub(crate) fn terminate(&mut self) -> Result<Vec<Effect>, Refusal> {
        self.try_step(Input::Terminate { by: "ann".into(), reason: "enough".into() })
    }
    pub(crate) fn words_of_causes(&self) -> Vec<String> {
        self.state.causes().iter().map(|c| c.message.to_string()).collect()
    }
    pub(crate) fn task(&self, path: &str) -> u32 {
        self.key(path).task
    }
    /// JSON output of a task.
    pub(crate) fn out(&self, path: &str) -> Value {
        let task = &self.state.tasks()[self.task(path) as usize];
        (*task
            .output
            .as_ref()
            .unwrap_or_else(|| panic!("{path} has no output: {:?}", task.phase))
            .json()
            .unwrap())
        .clone()
    }
    pub(crate) fn event(&mut self, id: &str, topic: &str, key: &str, payload: Value) -> Vec<Effect> {
        self.try_event(id, topic, key, payload, 0).unwrap()
    }
    pub(crate) fn try_event(
        &mut self,
        id: &str,
        topic: &str,
        key: &str,
        payload: Value,
        priority: i32,
    ) -> Result<Vec<Effect>, Refusal> {
        let event = Arc::new(workflow::UserEvent {
            id: id.into(),
            topic: topic.into(),
            event_type: "".into(),
            source: "test".into(),
            key: key.into(),
            payload: output(payload),
            at: self.now,
            priority,
        });
        self.try_step(Input::Event { event })
    }
    pub(crate) fn signal(&mut self, name: &str, payload: Value) -> Vec<Effect> {
        self.step(Input::Signal {
            name: name.into(),
            payload: output(payload),
            id: "".into(),
            by: "ann".into(),
        })
    }
    /// Folds the log anew, as a crash does.
    pub(crate) fn crash(&mut self) -> Vec<Effect> {
        let plan = self.plan.clone();
        self.state = fold(self.state.id(), plan, &self.log).unwrap();
        self.state.outstanding()
    }
    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.call(name).phase == CallPhase::Running
    }
}

/// Calls that the effects abort, by number of the attempt.
pub(crate) fn aborted(effects: &[Effect]) -> Vec<(CallKey, u32)> {
    let each = effects.iter().filter_map(|e| match e {
        Effect::Abort { call, number, .. } => Some((*call, *number)),
        _ => None,
    });
    each.collect()
}

/// Calls that the effects dispatch.
pub(crate) fn dispatched(effects: &[Effect]) -> Vec<CallKey> {
    let each = effects.iter().filter_map(|e| match e {
        Effect::Dispatch { call, .. } => Some(*call),
        _ => None,
    });
    each.collect()
}

/// A task that is no call.
pub(crate) fn node(id: &str, after: &[u32], kind: NodeKind) -> TaskPlan {
    with(task(id, after), |t| t.kind = kind)
}

pub(crate) fn transform(id: &str, after: &[u32], value: Value) -> TaskPlan {
    node(id, after, NodeKind::Transform { value })
}

pub(crate) fn fail(id: &str, after: &[u32], class: FailureClass) -> TaskPlan {
    node(id, after, NodeKind::Fail { message: "no ${ input.q }".into(), class })
}

pub(crate) fn scope(id: &str, after: &[u32], mode: ScopeMode, tasks: Vec<TaskPlan>) -> TaskPlan {
    node(id, after, NodeKind::Scope(Box::new(Scope { tasks, output: OutputSpec::Sinks, mode })))
}

pub(crate) fn edges(task: TaskPlan, edges: Vec<Edge>) -> TaskPlan {
    with(task, |t| t.edges = edges)
}

pub(crate) fn join(task: TaskPlan, join: Join, rest: Rest) -> TaskPlan {
    with(task, |t| (t.join, t.rest) = (join, rest))
}

/// An endless loop, to be changed.
pub(crate) fn looped(max: u32) -> ScopeMode {
    ScopeMode::Loop {
        while_: None,
        until: None,
        max,
        exhausted: Exhausted::Fail,
        delay: None,
        start: None,
        carry: None,
        history: false,
        gather: false,
    }
}

pub(crate) fn each(list: &str, width: Option<u32>) -> ScopeMode {
    ScopeMode::ForEach {
        list: list.into(),
        width,
        ordered: false,
        join: Join::All,
        rest: Rest::Cancel,
        partial: false,
    }
}
