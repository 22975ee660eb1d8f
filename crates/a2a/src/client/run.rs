//! A whole call as the executor wants it: from the message to the end of the task, through broken streams.

use std::time::Duration;

use super::{
    A2aClient, CallError, CallOptions, EventStream, Outcome, operations::older, transport::Patience,
};
use crate::{
    Fault, FaultKind,
    card::{Endpoint, Version},
    keys,
    model::{Message, Reply, SendRequest, StreamEvent, Task, TaskStatus},
};

/// How to wait for the end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One request that the agent answers when it is done: for short calls.
    Wait,
    /// Follow events; polls when the agent does not stream.
    Stream,
    /// Return at once and poll.
    Poll,
}

/// What becomes known while a call runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The agent made a task: from here on the call can be taken up again by [`A2aClient::reattach`].
    /// Given once.
    Bound {
        /// The agent's id of the task.
        agent_task_id: String,
        /// Its context.
        context_id: Option<String>,
    },
    /// The agent says how far it is.
    Progress {
        /// 0 to 1, when it says so in numbers.
        fraction: Option<f32>,
        /// In words.
        text: Option<String>,
    },
}

/// Takes notices; called from within the call, so it must not block.
pub type Notify<'a> = &'a mut (dyn FnMut(Notice) + Send);

/// What is known of a task while its call runs.
struct Tracker<'a> {
    task: Option<Task>,
    bound: bool,
    /// The last progress that was given on: polls see the same one again and again.
    shown: Option<Notice>,
    notify: Notify<'a>,
}

impl Tracker<'_> {
    fn bind(&mut self, id: &str, context_id: Option<&str>) {
        if !id.is_empty() && !std::mem::replace(&mut self.bound, true) {
            let context_id = context_id.map(str::to_owned);
            (self.notify)(Notice::Bound { agent_task_id: id.to_owned(), context_id });
        }
    }

    /// Takes the task as it stands; the outcome when it is over.
    fn replace(&mut self, task: Task) -> Option<Outcome> {
        self.bind(&task.id, task.context_id.as_deref());
        match Outcome::of_task(task) {
            Ok(outcome) => Some(outcome),
            Err(task) => {
                self.progress(&task.status, task.metadata.as_ref());
                self.task = Some(*task);
                None
            }
        }
    }

    fn progress(&mut self, status: &TaskStatus, metadata: Option<&crate::Json>) {
        let number = metadata.and_then(|m| m.member(keys::PROGRESS)).and_then(|v| v.as_f64());
        let fraction = number.map(|n| n.clamp(0.0, 1.0) as f32);
        let text = status.message.as_ref().map(Message::text).filter(|t| !t.is_empty());
        let notice = Notice::Progress { fraction, text };
        let empty = matches!(notice, Notice::Progress { fraction: None, text: None });
        if !empty && self.shown.as_ref() != Some(&notice) {
            self.shown = Some(notice.clone());
            (self.notify)(notice);
        }
    }

    /// Takes one event; the outcome when it ends the call.
    fn absorb(&mut self, event: StreamEvent) -> Option<Outcome> {
        match event {
            StreamEvent::Message(message) => Some(Outcome::of_message(&message)),
            StreamEvent::Task(task) => self.replace(task),
            StreamEvent::Artifact(update) => {
                self.bind(&update.task_id, update.context_id.as_deref());
                self.known(&update.task_id, update.context_id.as_ref()).merge(update);
                None
            }
            StreamEvent::Status(update) => {
                self.bind(&update.task_id, update.context_id.as_deref());
                let task = self.known(&update.task_id, update.context_id.as_ref());
                task.status = update.status;
                if let Some(metadata) = update.metadata {
                    task.metadata = Some(metadata);
                }
                let task = self.task.take()?;
                self.replace(task)
            }
        }
    }

    /// The task, begun from an update when the stream did not open with it (0.3).
    fn known(&mut self, id: &str, context_id: Option<&String>) -> &mut Task {
        let begin = || Task { id: id.to_owned(), context_id: context_id.cloned(), ..Task::default() };
        self.task.get_or_insert_with(begin)
    }

    fn task_id(&self) -> Option<String> {
        self.task.as_ref().map(|t| t.id.clone())
    }
}

/// Whether following may go on after this error.
fn passes(err: &CallError) -> bool {
    match err {
        CallError::NotSent { .. } | CallError::Broken { .. } => true,
        CallError::Timeout { which, .. } => *which != "deadline",
        CallError::Fault(fault) => matches!(fault.kind, FaultKind::RateLimited | FaultKind::Internal),
        CallError::InvalidAnswer { .. } | CallError::TooBig { .. } => false,
    }
}

/// Times in a row that an agent may not know a task before it counts as lost: some answer a send before they have
/// stored the task.
const NOT_FOUND_MAX: u32 = 3;

/// After the send, an error of a question about the task says nothing about the task itself.
fn still_unknown(err: CallError, task_id: &str) -> CallError {
    match err {
        CallError::NotSent { to, cause } => CallError::broken(format!("{to} went away: {cause}")),
        CallError::Fault(Fault { kind: FaultKind::TaskNotFound, .. }) => {
            CallError::broken(format!("the agent no longer knows its task {task_id}"))
        }
        err => err,
    }
}

impl A2aClient {
    /// Sends a message and sees the task through to its end, or to the point where it waits for somebody.
    ///
    /// The message id is the caller's: a repeat after an unknown outcome carries the same one. When a stream breaks
    /// after the task is known, the call subscribes again or polls, up to the deadline.
    ///
    /// # Errors
    /// See [`CallError`]. `NotSent` is given only when the message itself did not leave.
    pub async fn call(
        &self,
        endpoint: &Endpoint,
        request: &SendRequest,
        mode: Mode,
        options: &CallOptions,
        notify: Notify<'_>,
    ) -> Result<Outcome, CallError> {
        let mut tracker = Tracker { task: None, bound: false, shown: None, notify };
        let first = self.begin(endpoint, request, mode, options, &mut tracker).await;
        let refused = |err: &CallError| {
            let kinds = [FaultKind::MethodNotFound, FaultKind::VersionNotSupported];
            matches!(err, CallError::Fault(f) if kinds.contains(&f.kind))
        };
        match first {
            Err(err) if endpoint.downgrade && endpoint.version == Version::V1_0 && refused(&err) => {
                let endpoint = older(endpoint);
                let first = self.begin(&endpoint, request, mode, options, &mut tracker).await?;
                self.finish(&endpoint, first, options, &mut tracker).await
            }
            first => self.finish(endpoint, first?, options, &mut tracker).await,
        }
    }

    /// Answers a task that asked for input; goes on as [`A2aClient::call`]. The message must carry the agent's task id,
    /// and its context id when it has one (some servers make up a new context otherwise). [`Mode::Poll`] is treated as
    /// [`Mode::Stream`] here, or as [`Mode::Wait`] when the agent does not stream: a send that returns at once may
    /// show the question that it answers.
    ///
    /// # Errors
    /// See [`CallError`]; `InvalidParams` when the message names no task.
    pub async fn answer(
        &self,
        endpoint: &Endpoint,
        request: &SendRequest,
        mode: Mode,
        options: &CallOptions,
        notify: Notify<'_>,
    ) -> Result<Outcome, CallError> {
        if request.message.task_id.is_none() {
            return Err(Fault::invalid("message.taskId", "an answer needs the task that it answers").into());
        }
        self.call(endpoint, request, mode, options, notify).await
    }

    /// Takes up a task again whose id is known: after a restart, or when another process made the call.
    ///
    /// # Errors
    /// See [`CallError`]; a task that the agent has forgotten is `Broken`: its outcome is unknown.
    pub async fn reattach(
        &self,
        endpoint: &Endpoint,
        agent_task_id: &str,
        options: &CallOptions,
        notify: Notify<'_>,
    ) -> Result<Outcome, CallError> {
        let mut tracker = Tracker { task: None, bound: true, shown: None, notify };
        self.follow(endpoint, agent_task_id, false, options, &mut tracker).await
    }

    /// Sends. `Ok(None)`: the task is made and not over.
    async fn begin(
        &self,
        endpoint: &Endpoint,
        request: &SendRequest,
        mode: Mode,
        options: &CallOptions,
        tracker: &mut Tracker<'_>,
    ) -> Result<Option<Outcome>, CallError> {
        let follows = mode == Mode::Stream || mode == Mode::Poll && request.message.task_id.is_some();
        if follows && endpoint.streaming {
            let stream = self.send_streaming(endpoint, request, options).await?;
            return match self.drain(stream, tracker).await {
                // The task is known, so the break can be mended.
                Err(err) if passes(&err) && tracker.task.is_some() => Ok(None),
                done => done,
            };
        }
        // An answer that returns at once may show the task as it stood before, still asking.
        let reply = if mode == Mode::Wait || request.message.task_id.is_some() {
            self.send(endpoint, request, options).await?
        } else {
            self.send(endpoint, &SendRequest { return_immediately: true, ..request.clone() }, options).await?
        };
        Ok(match reply {
            Reply::Message(message) => Some(Outcome::of_message(&message)),
            Reply::Task(task) => tracker.replace(task),
        })
    }

    async fn finish(
        &self,
        endpoint: &Endpoint,
        first: Option<Outcome>,
        options: &CallOptions,
        tracker: &mut Tracker<'_>,
    ) -> Result<Outcome, CallError> {
        if let Some(outcome) = first {
            return Ok(outcome);
        }
        match tracker.task_id() {
            Some(id) => self.follow(endpoint, &id, true, options, tracker).await,
            None => Err(CallError::broken("the stream ended before it named a task")),
        }
    }

    /// Reads a stream to its end. `Ok(None)`: it ended and the task did not.
    async fn drain(
        &self,
        mut stream: EventStream,
        tracker: &mut Tracker<'_>,
    ) -> Result<Option<Outcome>, CallError> {
        while let Some(event) = stream.next().await? {
            if let Some(outcome) = tracker.absorb(event) {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Asks and listens until the task is over. `subscribed`: a stream was read just now.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        task_id: &str,
        subscribed: bool,
        options: &CallOptions,
        tracker: &mut Tracker<'_>,
    ) -> Result<Outcome, CallError> {
        let config = self.transport.config();
        let patience = Patience::of(options);
        let mut streams = endpoint.streaming;
        let (mut failures, mut pause) = (0, config.poll_first);
        // A first question without a pause: whoever comes here may be late.
        let mut listen = false;
        loop {
            let turn = if listen && streams {
                self.listen(endpoint, task_id, options, tracker, &mut streams).await
            } else {
                self.get(endpoint, task_id, options).await.map(|task| tracker.replace(task))
            };
            let asked_pause = turn.as_ref().err().and_then(CallError::retry_after);
            match turn {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => failures = 0,
                Err(err) if passes(&err) && failures < config.follow_failures_max => failures += 1,
                Err(CallError::Fault(fault))
                    if fault.kind == FaultKind::TaskNotFound && failures < NOT_FOUND_MAX =>
                {
                    failures += 1;
                }
                Err(err) => return Err(still_unknown(err, task_id)),
            }
            // Listening and asking alternate: the end of a stream is no answer.
            listen = !listen;
            if !(listen && streams && failures == 0 && !subscribed) {
                patience.pause(asked_pause.unwrap_or(pause).max(pause)).await?;
                pause = pause.mul_f64(1.5).min(config.poll_max.max(Duration::from_millis(1)));
            }
        }
    }

    async fn listen(
        &self,
        endpoint: &Endpoint,
        task_id: &str,
        options: &CallOptions,
        tracker: &mut Tracker<'_>,
        streams: &mut bool,
    ) -> Result<Option<Outcome>, CallError> {
        let heard = match self.subscribe(endpoint, task_id, options).await {
            Ok(stream) => self.drain(stream, tracker).await,
            Err(err) => Err(err),
        };
        match heard {
            // Over already, or not offered: asking will tell.
            Err(CallError::Fault(fault))
                if !matches!(fault.kind, FaultKind::RateLimited | FaultKind::TaskNotFound) =>
            {
                *streams = false;
                Ok(None)
            }
            heard => heard,
        }
    }
}
