//! Calls agents over A2A.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use a2a::{
    A2aClient, CallError, Endpoint, FaultKind, Json, Usage,
    client::{CallOptions, End, Mode, Notice, Outcome},
    keys,
    model::{Message, Part, Role, SendRequest, TaskState},
};
use async_trait::async_trait;
use base::{CallContext, FailureClass, Payload};
use catalog::AgentEntry;
use moka::sync::Cache;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{json, value::RawValue};
use tokio::sync::mpsc;

use crate::{
    call::{AgentCaller, CallKind, CallOutcome, CallRequest, CallSink, CancelRequest, Told},
    engine::crash,
};

/// How long a card is believed.
const CARD_AGE_MAX: Duration = Duration::from_secs(60);
/// Instances whose way of speaking and speed are remembered.
const INSTANCES_MAX: u64 = 20_000;
/// Calls whose agent's name for them is remembered, and how long: the bound only matters for calls that were aborted.
const NAMES_MAX: u64 = 100_000;
const NAME_AGE_MAX: Duration = Duration::from_secs(3600);
/// How long an agent may take to answer that it was told of a cut call.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an agent may take to confirm that it has cancelled an attempt that took too long. Of the attempt's limit this,
/// or a tenth if that is less, is kept for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// A call this old is bound: from here on recovery asks the agent instead of sending again.
const BIND_AFTER: Duration = Duration::from_secs(1);

/// Settings of the caller.
#[derive(Clone, Debug)]
pub struct A2aSettings {
    /// Calls that were measured (or are declared) below this are sent and waited for.
    pub short_call: Duration,
    /// Largest answer.
    pub response_bytes_max: usize,
}

/// [`AgentCaller`] over A2A.
pub struct A2aCaller {
    client: A2aClient,
    settings: A2aSettings,
    endpoints: Cache<String, Arc<Endpoint>>,
    /// What agents call the calls that run, by message id: a cancel may come before the name is on disk.
    names: Cache<String, (Arc<str>, Arc<str>)>,
    /// Moving mean of an instance's calls, in microseconds.
    speed: Cache<String, Arc<Mutex<f64>>>,
}

impl A2aCaller {
    /// A caller with its own connections.
    pub fn new(client: A2aClient, settings: A2aSettings) -> Self {
        Self {
            client,
            settings,
            endpoints: Cache::builder().max_capacity(INSTANCES_MAX).time_to_live(CARD_AGE_MAX).build(),
            names: Cache::builder().max_capacity(NAMES_MAX).time_to_live(NAME_AGE_MAX).build(),
            speed: Cache::new(INSTANCES_MAX),
        }
    }

    async fn endpoint(&self, agent: &AgentEntry, instance: usize) -> Result<Arc<Endpoint>, CallError> {
        let instance = &agent.instances[instance].instance;
        let key = format!("{}/{}@{}", agent.id(), instance.id, agent.revision);
        if let Some(known) = self.endpoints.get(&key) {
            return Ok(known);
        }
        let over = over(instance.interface.as_ref());
        let found = match instance.interface.as_ref().and_then(|i| direct(i, &instance.endpoint)) {
            Some(endpoint) => endpoint,
            None => {
                let options = CallOptions { idle_timeout: Duration::from_secs(10), ..CallOptions::default() };
                let base = instance.card_url.as_deref().unwrap_or(&instance.endpoint);
                // Nothing was sent to the agent's work: a card that cannot be had is "not sent".
                let card = self.client.fetch_card(base, &options).await.map_err(|e| CallError::NotSent {
                    to: base.into(),
                    cause: format!("its card cannot be read: {e}"),
                })?;
                Endpoint::choose(&card, &over)
                    .map_err(|e| CallError::NotSent { to: base.into(), cause: e.to_string() })?
            }
        };
        let found = Arc::new(found);
        self.endpoints.insert(key, found.clone());
        Ok(found)
    }

    fn mode(&self, request: &CallRequest, endpoint: &Endpoint) -> Mode {
        let follow = if endpoint.streaming { Mode::Stream } else { Mode::Poll };
        // What must not be repeated is better known by the agent's own name, as early as possible.
        if request.followed || request.bind_early {
            return follow;
        }
        let declared = request
            .agent
            .definition
            .capability(&request.capability)
            .and_then(|c| c.performance.response_ms_max);
        let limit = self.settings.short_call;
        let measured = self
            .speed
            .get(&speed_key(request))
            .map(|mean| *mean.lock().unwrap_or_else(PoisonError::into_inner));
        let short = match (measured, declared) {
            (Some(us), _) => us < limit.as_micros() as f64,
            (None, Some(ms)) => ms < limit.as_millis() as f64,
            (None, None) => request.short,
        };
        if short { Mode::Wait } else { follow }
    }

    fn remember(&self, request: &CallRequest, took: Duration) {
        let took = took.as_micros() as f64;
        let mean = self.speed.get_with(speed_key(request), || Arc::new(Mutex::new(took)));
        let mut mean = mean.lock().unwrap_or_else(PoisonError::into_inner);
        *mean += (took - *mean) / 8.0;
    }

    async fn run(&self, request: &CallRequest, sink: &dyn CallSink) -> Result<Outcome, CallError> {
        let endpoint = self.endpoint(&request.agent, request.instance).await?;
        let options = options(request, &self.settings);
        let mode = self.mode(request, &endpoint);
        let begun = Instant::now();
        let (notes_tx, mut notes) = mpsc::unbounded_channel();
        let mut notify = |notice: Notice| {
            if matches!(notice, Notice::Bound { .. }) && !matches!(mode, Mode::Wait) {
                crash::point("sent-not-answered");
            }
            drop(notes_tx.send(notice));
        };
        let work = async {
            match &request.kind {
                CallKind::Send(input) => {
                    self.client
                        .call(&endpoint, &first_message(request, input), mode, &options, &mut notify)
                        .await
                }
                CallKind::Answer(input) => {
                    self.client
                        .answer(&endpoint, &answer_message(request, input), mode, &options, &mut notify)
                        .await
                }
                CallKind::Reattach => {
                    let id = request.bound.as_ref().map_or("", |b| &*b.0);
                    self.client.reattach(&endpoint, id, &options, &mut notify).await
                }
            }
        };
        let outcome = relay(work, &mut notes, request, sink, begun, &self.names).await;
        // What is not over may have to be cancelled.
        match &outcome {
            Ok(Outcome { end: End::InputRequired { .. }, agent_task_id: Some(task), context_id, .. }) => {
                let context = context_id.as_deref().unwrap_or_default();
                self.names.insert(request.message_id.clone(), (task.as_str().into(), context.into()));
            }
            Ok(Outcome { end: End::InputRequired { .. }, .. }) | Err(_) => {}
            Ok(_) => self.names.invalidate(&request.message_id),
        }
        if outcome.is_ok() && matches!(request.kind, CallKind::Send(_)) {
            self.remember(request, begun.elapsed());
        }
        outcome
    }
}

/// Runs the call and passes on what it reports; the agent's name for it once the call is old enough to be worth it. A
/// call that is over with the answer that names it leaves no name behind.
async fn relay(
    work: impl Future<Output = Result<Outcome, CallError>>,
    notes: &mut mpsc::UnboundedReceiver<Notice>,
    request: &CallRequest,
    sink: &dyn CallSink,
    begun: Instant,
    names: &Cache<String, (Arc<str>, Arc<str>)>,
) -> Result<Outcome, CallError> {
    tokio::pin!(work);
    let mut bound: Option<(Arc<str>, Arc<str>)> = None;
    let wait = if request.bind_early { Duration::ZERO } else { BIND_AFTER };
    let due = tokio::time::sleep(wait.saturating_sub(begun.elapsed()));
    tokio::pin!(due);
    let mut old = false;
    let named = |task: String, context: Option<String>| {
        let name: (Arc<str>, Arc<str>) = (task.into(), context.unwrap_or_default().into());
        names.insert(request.message_id.clone(), name.clone());
        name
    };
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                // What failed after it was named may still run there.
                while done.is_err() && let Ok(note) = notes.try_recv() {
                    if let Notice::Bound { agent_task_id, context_id } = note {
                        named(agent_task_id, context_id);
                    }
                }
                return done;
            }
            () = &mut due, if !old => old = true,
            Some(note) = notes.recv() => match note {
                Notice::Bound { agent_task_id, context_id } => {
                    bound = Some(named(agent_task_id, context_id));
                }
                Notice::Progress { fraction, text } => {
                    sink.progress(f64::from(fraction.unwrap_or_default()), text.as_deref().unwrap_or_default());
                }
            },
        }
        if old && let Some((task, context)) = bound.take() {
            sink.bound(task, context).await;
        }
    }
}

#[async_trait]
impl AgentCaller for A2aCaller {
    async fn call(&self, request: CallRequest, sink: Arc<dyn CallSink>) -> CallOutcome {
        match self.run(&request, sink.as_ref()).await {
            Ok(outcome) => {
                if let Some(usage) = outcome.usage {
                    sink.used(cost(usage));
                }
                ended(outcome)
            }
            Err(e) => {
                let timeout = matches!(e, CallError::Timeout { .. });
                let stopped = if timeout { self.stopped(&request).await } else { None };
                // Only of what is known to be over: an attempt that is asked for again tells its cost then.
                if let Some(usage) =
                    stopped.as_ref().and_then(|task| Usage::of(task.as_ref()?.metadata.as_ref()))
                {
                    sink.used(cost(usage));
                }
                let stopped = stopped.is_some();
                let and = if stopped { "; the agent confirmed that it stopped" } else { "" };
                CallOutcome::Failed {
                    class: e.class(),
                    message: format!("{e}{and}"),
                    outcome_known: stopped || !e.outcome_unknown(),
                    retry_after: e.retry_after(),
                }
            }
        }
    }

    async fn cancel(&self, request: CancelRequest) -> Told {
        let endpoint = match self.endpoint(&request.agent, request.instance).await {
            Ok(endpoint) => endpoint,
            Err(e) => return Told::Away(e.to_string()),
        };
        let mut options = CallOptions { idle_timeout: CANCEL_TIMEOUT, ..CallOptions::default() };
        trace(&request.trace, &mut options);
        let known = request.agent_task_id.clone();
        let known = known.or_else(|| self.names.get(&request.message_id).map(|(task, _)| task));
        let task = match known {
            Some(task) => task,
            None => match self.look_up(&endpoint, &request, &options).await {
                Ok(task) => task,
                Err(told) => return told,
            },
        };
        let usage = match self.client.cancel(&endpoint, &task, &options).await {
            Ok(task) => Usage::of(task.metadata.as_ref()),
            // It lost its memory: nothing runs there.
            Err(CallError::Fault(fault)) if fault.kind == FaultKind::TaskNotFound => None,
            Err(e) => return Told::Away(e.to_string()),
        };
        self.names.invalidate(&request.message_id);
        usage.map_or(Told::Yes, |usage| Told::Spent(cost(usage)))
    }
}

impl A2aCaller {
    /// Asks the agent to stop an attempt that took too long. Whether it is known then that nothing more comes of it: the
    /// next attempt may be a new message. Never so of a call that must not be repeated: what it does may be done. `Some`: it
    /// is, with the task as it ended, when the agent still knew it.
    async fn stopped(&self, request: &CallRequest) -> Option<Option<a2a::model::Task>> {
        if request.bind_early {
            return None;
        }
        let named = request.bound.clone().or_else(|| self.names.get(&request.message_id));
        let (task, _) = named?;
        let mut options = CallOptions { idle_timeout: STOP_TIMEOUT, ..CallOptions::default() };
        trace(&request.trace, &mut options);
        let cancel = async {
            let endpoint = self.endpoint(&request.agent, request.instance).await?;
            self.client.cancel(&endpoint, &task, &options).await
        };
        match tokio::time::timeout(STOP_TIMEOUT, cancel).await {
            Ok(Ok(task)) => (task.status.state == TaskState::Canceled).then_some(Some(task)),
            // It lost its memory: nothing runs there.
            Ok(Err(CallError::Fault(fault))) => (fault.kind == FaultKind::TaskNotFound).then_some(None),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Asks the agent for the task that the message began. `Err`: there is nothing to cancel, or nothing known.
    async fn look_up(
        &self,
        endpoint: &Endpoint,
        request: &CancelRequest,
        options: &CallOptions,
    ) -> Result<Arc<str>, Told> {
        let unnamed = |why: &str| Err(Told::Unnamed(why.into()));
        if endpoint.version != a2a::Version::V1_0 {
            return unnamed("its name for the call is not known, and its protocol has no list of tasks");
        }
        let context = request.execution_id.to_string();
        match self.client.find_by_message(endpoint, &context, &request.message_id, options).await {
            Ok(Some(task)) if task.status.state.is_terminal() => Err(Told::Yes),
            Ok(Some(task)) => Ok(task.id.into()),
            Ok(None) => unnamed("its name for the call is not known, and it lists no task of it"),
            Err(CallError::Fault(f))
                if matches!(f.kind, FaultKind::MethodNotFound | FaultKind::Unsupported) =>
            {
                unnamed("its name for the call is not known, and it lists no tasks")
            }
            Err(e) => Err(Told::Away(e.to_string())),
        }
    }
}

fn speed_key(request: &CallRequest) -> String {
    format!("{}/{}", request.agent.id(), request.capability)
}

fn over(interface: Option<&catalog::Interface>) -> a2a::card::Override {
    let mut over = a2a::card::Override::default();
    if let Some(i) = interface {
        over.url.clone_from(&i.url);
        over.binding = Some(binding(i.binding));
        over.version = a2a::Version::parse(&i.version);
    }
    over
}

fn binding(binding: catalog::Binding) -> a2a::Binding {
    match binding {
        catalog::Binding::JsonRpc => a2a::Binding::JsonRpc,
        catalog::Binding::HttpJson => a2a::Binding::HttpJson,
    }
}

/// An interface that says everything needs no card.
fn direct(i: &catalog::Interface, endpoint: &str) -> Option<Endpoint> {
    let version = a2a::Version::parse(&i.version)?;
    let url = i.url.as_deref().unwrap_or(endpoint);
    let mut found = Endpoint::new(url, binding(i.binding), version).ok()?;
    found.streaming = i.streaming?;
    found.tenant.clone_from(&i.tenant);
    Some(found)
}

fn options(request: &CallRequest, settings: &A2aSettings) -> CallOptions {
    let mut options = CallOptions {
        idle_timeout: request.idle,
        deadline: request.total.map(|t| tokio::time::Instant::now() + t - STOP_TIMEOUT.min(t / 10)),
        response_limit_bytes: settings.response_bytes_max,
        ..CallOptions::default()
    };
    trace(&request.trace, &mut options);
    options
}

fn trace(trace: &str, options: &mut CallOptions) {
    let context = CallContext { trace: trace.into(), ..CallContext::default() };
    runtime::trace::inject(&context, &mut options.headers);
}

fn data_part(payload: &Payload) -> Part {
    if payload.is_json() {
        Part::data(Json::trusted(payload.bytes().clone()))
    } else {
        Part::raw(payload.bytes().clone(), payload.media_type().to_string())
    }
}

fn first_message(request: &CallRequest, input: &Payload) -> SendRequest {
    let mut parts = Vec::with_capacity(2);
    if !request.instructions.is_empty() {
        parts.push(Part::text(request.instructions.clone()));
    }
    parts.push(data_part(input));
    let message = Message {
        message_id: request.message_id.clone(),
        role: Role::User,
        parts,
        context_id: Some(request.context_id.clone()),
        metadata: Some(metadata(request)),
        ..Message::default()
    };
    SendRequest { message, ..SendRequest::default() }
}

fn answer_message(request: &CallRequest, input: &Payload) -> SendRequest {
    let (task, context) = request.bound.clone().unwrap_or_default();
    let message = Message {
        // One question, one answer: a repeat of this send carries the same id.
        message_id: format!(
            "{}-answer-{}",
            request.message_id,
            blake3::Hash::from(input.hash()).to_hex().get(..16).unwrap_or_default()
        ),
        role: Role::User,
        parts: vec![data_part(input)],
        task_id: Some(task.to_string()),
        context_id: Some(context.to_string()).filter(|c| !c.is_empty()),
        metadata: Some(metadata(request)),
        ..Message::default()
    };
    SendRequest { message, ..SendRequest::default() }
}

fn metadata(request: &CallRequest) -> Json {
    // Its keys are strings and it goes into memory: writing it cannot fail.
    Json::trusted(serde_json::to_vec(&Metadata(request)).unwrap_or_default())
}

/// What every message says of its call. Written as text at once: a tree of it was a tenth of what a call costs.
struct Metadata<'a>(&'a CallRequest);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        let mut all = serializer.serialize_map(None)?;
        if !request.capability.is_empty() {
            all.serialize_entry(keys::CAPABILITY, &*request.capability)?;
        }
        all.serialize_entry(keys::EFFECT_KEY, &request.effect_key)?;
        all.serialize_entry(keys::EXECUTION_ID, &request.execution_id.to_string())?;
        if let Some(session) = &request.session {
            let (vars, history) = (raw(session.vars.as_ref()), raw(session.history.as_ref()));
            all.serialize_entry(keys::SESSION, &SessionOf { id: &session.id, vars, history })?;
        }
        let (index, count) = request.item.unzip();
        let task = TaskOf { id: &request.task_id, name: &request.task_name, index, count };
        all.serialize_entry(keys::TASK, &task)?;
        all.end()
    }
}

#[derive(Serialize)]
struct TaskOf<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

#[derive(Serialize)]
struct SessionOf<'a> {
    id: &'a str,
    vars: Option<&'a RawValue>,
    history: Option<&'a RawValue>,
}

fn raw(payload: Option<&Payload>) -> Option<&RawValue> {
    payload.and_then(|payload| serde_json::from_slice(payload.bytes()).ok())
}

fn cost(usage: Usage) -> workflow::Usage {
    workflow::Usage { tokens: usage.tokens, money_micros: usage.money_micros }
}

fn ended(outcome: Outcome) -> CallOutcome {
    let failed = |class: FailureClass, message: String| CallOutcome::Failed {
        class,
        message,
        outcome_known: true,
        retry_after: None,
    };
    let class = outcome.end.failure_class();
    match outcome.end {
        End::Completed { output } => CallOutcome::Completed(output),
        End::InputRequired { prompt, data } => CallOutcome::InputRequired {
            prompt: match data {
                Some(data) => Payload::json_text(data.bytes().clone()),
                None => Payload::from_value(&json!(prompt)),
            },
            agent_task_id: outcome.agent_task_id.unwrap_or_default().into(),
            context_id: outcome.context_id.unwrap_or_default().into(),
        },
        End::Failed { message }
        | End::Rejected { message }
        | End::Canceled { message }
        | End::AuthRequired { prompt: message } => failed(class.unwrap_or(FailureClass::Error), message),
    }
}
