//! Agents that do as they are told and remember who called.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base::{FailureClass, Payload};
use executor::call::{AgentCaller, Away, CallKind, CallOutcome, CallRequest, CallSink, CancelRequest, Told};
use serde_json::{Value, json};
use tokio::sync::watch;
use workflow::Usage;

/// What an agent does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers at once.
    Answer(Value),
    /// Answers once the gate is open.
    Wait(Value),
    /// Never answers.
    Hang,
    /// Names the call, then never answers.
    Bind,
    Fail {
        class: FailureClass,
        known: bool,
        after: Option<Duration>,
    },
    /// Asks a question.
    Ask,
    /// The caller itself breaks.
    Panic,
}

/// A call that reached an agent.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) task: String,
    /// `send`, `reattach` or `answer`.
    pub(crate) kind: &'static str,
    pub(crate) message_id: String,
    pub(crate) input: Value,
    pub(crate) instance: String,
    /// The `traceparent` that it came with.
    pub(crate) trace: String,
    /// Id and variables of its session.
    pub(crate) session: Option<(String, Value)>,
}

type Script = Box<dyn Fn(&Seen, u32) -> Act + Send + Sync>;
type CancelScript = Box<dyn Fn(&CancelRequest, usize) -> Told + Send + Sync>;

pub(crate) struct Agents {
    script: Mutex<Script>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Calls whose agent was told that they were cut.
    pub(crate) cancelled: AtomicU32,
    /// What they answered to each cancel.
    pub(crate) cancels: Mutex<Vec<(CancelRequest, Told)>>,
    cancel_script: Mutex<CancelScript>,
    /// Engines that do not answer.
    pub(crate) away: Mutex<Vec<(String, Away)>>,
    open: watch::Sender<bool>,
    now: Mutex<BTreeMap<String, u32>>,
    /// What every call costs.
    pub(crate) cost: Mutex<Usage>,
    pub(crate) at_once_max: AtomicU32,
}

impl Agents {
    /// They answer `{"task": id}` once the gate is open; it is.
    pub(crate) fn new() -> Arc<Self> {
        let script: Script = Box::new(|seen, _| Act::Wait(json!({"task": seen.task})));
        Arc::new(Self {
            script: Mutex::new(script),
            seen: Mutex::default(),
            cancelled: AtomicU32::new(0),
            cancels: Mutex::default(),
            cancel_script: Mutex::new(Box::new(|_, _| Told::Yes)),
            away: Mutex::default(),
            open: watch::channel(true).0,
            now: Mutex::default(),
            cost: Mutex::default(),
            at_once_max: AtomicU32::new(0),
        })
    }

    /// What they do; the number counts calls of the task, from 1.
    pub(crate) fn script(&self, script: impl Fn(&Seen, u32) -> Act + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// What they answer to cancels; the number counts all of them, from 1.
    pub(crate) fn on_cancel(&self, script: impl Fn(&CancelRequest, usize) -> Told + Send + Sync + 'static) {
        *self.cancel_script.lock().unwrap() = Box::new(script);
    }

    /// How often they were asked to cancel.
    pub(crate) fn asked_to_cancel(&self) -> usize {
        self.cancels.lock().unwrap().len()
    }

    pub(crate) fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Calls that have not been answered.
    pub(crate) fn waiting(&self) -> u32 {
        self.now.lock().unwrap().values().sum()
    }

    fn record(&self, request: &CallRequest) -> (Seen, u32) {
        let (kind, input) = match &request.kind {
            CallKind::Send(input) => ("send", input.json().map(|v| v.as_ref().clone())),
            CallKind::Reattach => ("reattach", None),
            CallKind::Answer(input) => ("answer", input.json().map(|v| v.as_ref().clone())),
        };
        let seen = Seen {
            task: request.task_id.to_string(),
            kind,
            message_id: request.message_id.clone(),
            input: input.unwrap_or_default(),
            instance: request.agent.instances[request.instance].instance.id.clone(),
            trace: request.trace.to_string(),
            session: request.session.as_ref().map(|s| {
                let vars = s.vars.as_ref().and_then(|vars| vars.json()).unwrap_or_default();
                (s.id.to_string(), (*vars).clone())
            }),
        };
        let mut all = self.seen.lock().unwrap();
        all.push(seen.clone());
        let nth = all.iter().filter(|s| s.task == seen.task).count() as u32;
        (seen, nth)
    }
}

struct Count<'a>(&'a Agents, String);

impl<'a> Count<'a> {
    fn up(agents: &'a Agents, instance: &str) -> Self {
        let mut now = agents.now.lock().unwrap();
        let n = now.entry(instance.to_owned()).or_default();
        *n += 1;
        agents.at_once_max.fetch_max(*n, Ordering::SeqCst);
        Self(agents, instance.to_owned())
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        *self.0.now.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

#[async_trait]
impl AgentCaller for Agents {
    async fn call(&self, request: CallRequest, sink: Arc<dyn CallSink>) -> CallOutcome {
        let (seen, nth) = self.record(&request);
        let _count = Count::up(self, &seen.instance);
        let act = (self.script.lock().unwrap())(&seen, nth);
        let cost = *self.cost.lock().unwrap();
        if cost != Usage::default() {
            sink.used(cost);
        }
        match act {
            Act::Answer(value) => CallOutcome::Completed(Payload::from_value(&value)),
            Act::Wait(value) => {
                let _ = self.open.subscribe().wait_for(|open| *open).await;
                CallOutcome::Completed(Payload::from_value(&value))
            }
            Act::Hang => std::future::pending().await,
            Act::Bind => {
                sink.bound(format!("agent-task-{}", seen.task).into(), "context".into()).await;
                std::future::pending().await
            }
            Act::Fail { class, known, after } => CallOutcome::Failed {
                class,
                message: format!("{} of call {nth}", class.as_str()),
                outcome_known: known,
                retry_after: after,
            },
            Act::Panic => panic!("a bug in the caller"),
            Act::Ask => CallOutcome::InputRequired {
                prompt: Payload::from_value(&json!("which one?")),
                agent_task_id: "agent-task".into(),
                context_id: "context".into(),
            },
        }
    }

    async fn cancel(&self, request: CancelRequest) -> Told {
        let nth = self.asked_to_cancel() + 1;
        let told = (self.cancel_script.lock().unwrap())(&request, nth);
        if matches!(told, Told::Yes | Told::Spent(_)) {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
        self.cancels.lock().unwrap().push((request, told.clone()));
        told
    }

    fn away(&self) -> Vec<(String, Away)> {
        self.away.lock().unwrap().clone()
    }
}
