//! Executions: start, wait, look, steer.

use std::time::Duration;

use base::{ExecutionId, Payload};
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as wire, command_execution_request::Command},
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Client, Event, Execution, ExecutionStatus, POLL, Page, model::some};
use crate::{Fault, payload};

/// Added to the deadline of a call that waits, for the way there and back.
const WAIT_SLACK: Duration = Duration::from_secs(5);

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct Start {
    message: wire::StartExecutionRequest,
}

impl Start {
    /// A stored workflow: UUID, name or `name@version`.
    pub fn workflow(reference: impl Into<String>) -> Self {
        Self::new(wire::StartExecutionRequest { workflow: reference.into(), ..Default::default() })
    }
    /// A definition as it stands, YAML or JSON; it is stored as a version first.
    pub fn inline(source: impl Into<String>) -> Self {
        Self::new(wire::StartExecutionRequest { inline_source: source.into(), ..Default::default() })
    }
    fn new(mut message: wire::StartExecutionRequest) -> Self {
        // Drawn here, so that every try of this start is the same start.
        message.execution_id = ExecutionId::new(Uuid::now_v7()).to_string();
        Self { message }
    }
    /// The id that the execution will have, unless a key was given.
    pub fn execution_id(&self) -> &str {
        &self.message.execution_id
    }
    /// What the execution works on.
    #[must_use]
    pub fn input(self, input: &Value) -> Self {
        self.payload(&Payload::from_value(input))
    }
    /// The same, of any media type.
    #[must_use]
    pub fn payload(mut self, input: &Payload) -> Self {
        self.message.input = Some(payload::to_wire(input));
        self
    }
    /// The caller's own key: a second start with the same key and input finds the first execution.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.message.key = key.into();
        self.message.execution_id = String::new();
        self
    }
    /// Higher runs first. Default 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.message.priority = priority;
        self
    }
    /// Timeout of the whole execution, in place of the workflow's.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options().timeout_ms = millis(timeout);
        self
    }
    /// `fixed`, `linear`, `exponential_backoff` or `none`, in place of the workflow's.
    #[must_use]
    pub fn retry_policy(mut self, policy: impl Into<String>) -> Self {
        self.options().retry_policy = policy.into();
        self
    }
    /// Kept with the execution: user, origin, context.
    #[must_use]
    pub fn metadata(mut self, metadata: &Value) -> Self {
        self.message.metadata_json = metadata.to_string();
        self
    }
    /// The session that it belongs to, made when it is not there; without one what the workflow says, else none.
    #[must_use]
    pub fn session(mut self, session_id: impl Into<String>) -> Self {
        self.message.session_id = session_id.into();
        self
    }
    /// Ties it to other work of the caller: kept with the execution, which [`Client::executions`] finds by it. At most
    /// 128 visible ASCII characters.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.message.correlation_id = id.into();
        self
    }
    fn options(&mut self) -> &mut wire::ExecutionOptions {
        self.message.options.get_or_insert_default()
    }
    /// The same start of another execution: for many inputs of one workflow.
    pub(super) fn again(&self, input: &Value) -> Self {
        // One key cannot name several executions.
        let message = wire::StartExecutionRequest { key: String::new(), ..self.message.clone() };
        Self::new(message).input(input)
    }
}

/// A committed start.
#[derive(Clone, Debug, Serialize)]
pub struct Started {
    /// UUID.
    pub execution_id: String,
    /// UUID of the workflow.
    pub workflow_id: String,
    /// `planning` unless it ran before.
    pub status: ExecutionStatus,
    /// Candidates of the pre-check.
    pub allocated_agents: Vec<String>,
    /// The start found an execution with the same key and request.
    pub existing: bool,
    /// Place in the start queue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
}

impl Started {
    pub(super) fn of(answer: wire::StartExecutionResponse) -> Self {
        Self {
            execution_id: answer.execution_id,
            workflow_id: answer.workflow_id,
            status: ExecutionStatus::of(&answer.status),
            allocated_agents: answer.allocated_agents,
            existing: answer.existing,
            queue_position: (answer.queue_position > 0).then_some(answer.queue_position),
        }
    }
}

/// Which executions a list shows.
#[derive(Clone, Debug, Default)]
pub struct ExecutionFilter {
    /// Empty = active ones, with a correlation id every status; `all` = every status.
    pub statuses: Vec<String>,
    /// UUID, name or `name@version`; empty = all.
    pub workflow: String,
    /// Given with the start; empty = any.
    pub correlation_id: String,
    /// Only those in which nothing goes on.
    pub stuck: bool,
    /// Only those in which nothing goes on for one of these reasons; implies `stuck`.
    pub stuck_reasons: Vec<String>,
    /// Rows of a page, 1 to 1000; 0 = 50.
    pub page_size: i32,
    /// `next_page_token` of the page before.
    pub page_token: String,
}

/// What a command did.
#[derive(Clone, Debug, Serialize)]
pub struct CommandAnswer {
    /// UUID.
    pub execution_id: String,
    /// The status after it.
    pub status: ExecutionStatus,
    /// Of a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<String>,
}

impl CommandAnswer {
    pub(super) fn of(a: wire::CommandExecutionResponse) -> Self {
        Self {
            execution_id: a.execution_id,
            status: ExecutionStatus::of(&a.status),
            checkpoint_id: some(a.checkpoint_id),
        }
    }
}

/// How a call of unknown outcome ended.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It did its work; this is its output.
    Completed(Payload),
    /// It did not; the task fails with this message.
    Failed(String),
    /// Call again.
    Retry,
}

/// A part of an execution's history, oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    /// The events.
    pub events: Vec<Event>,
    /// There are more, after the last one's `seq`.
    pub more: bool,
}

/// How much room there is.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    /// Executions that run.
    pub active: u32,
    /// How many may.
    pub max_concurrent: u32,
    /// Executions that wait to run.
    pub queued: u32,
    /// How many may.
    pub queue_max: u32,
    /// New ones are taken.
    pub accepting: bool,
    /// Calls to agents that run.
    pub calls_in_flight: u32,
    /// Calls that wait for an agent.
    pub calls_waiting: u32,
}

/// A message that a consumer gave up on.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    /// Its id.
    pub id: String,
    /// Where it came from.
    pub stream: String,
    /// Whose consumer gave up.
    pub group: String,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub deliveries: u32,
    /// RFC 3339.
    pub created_at: String,
    /// `dead` or `redriven`.
    pub state: String,
    /// Size of its body.
    pub body_bytes: usize,
}

impl DeadLetter {
    fn of(d: wire::DeadLetter) -> Result<Self, Fault> {
        Ok(Self {
            id: d.id,
            stream: d.stream,
            group: d.group,
            reason: d.reason,
            deliveries: d.deliveries,
            created_at: d.created_at,
            state: d.state,
            body_bytes: d.body.len(),
        })
    }
}

impl Client {
    /// Starts an execution; answered once it is committed. Repeated while the server is away: it starts once.
    ///
    /// # Errors
    /// `not_found`, `already_exists` (key used for another input), `already_executing`, `resource_exhausted` with a
    /// retry time, `insufficient_resources`, `invalid_argument` (input breaks the schema).
    pub async fn start(&self, start: &Start) -> Result<Started, Fault> {
        let call = || async { self.executor().start_execution(self.request(start.message.clone())).await };
        Ok(Started::of(self.safely(call).await?))
    }

    /// Starts an execution and waits for its end, however it ends: look at [`Execution::status`].
    ///
    /// # Errors
    /// Those of [`Client::start`] and [`Client::wait`].
    pub async fn run(&self, start: &Start) -> Result<Execution, Fault> {
        let started = self.start(start).await?;
        self.wait(&started.execution_id, None).await
    }

    /// Waits for the end of an execution, for ever without a limit.
    ///
    /// # Errors
    /// `timeout` when the limit passes, `not_found`, `unavailable` when the server stays away.
    pub async fn wait(&self, execution_id: &str, limit: Option<Duration>) -> Result<Execution, Fault> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = until.map_or(POLL, |until| until.saturating_duration_since(Instant::now()));
            let execution = self.look(execution_id, left.min(POLL), false).await?;
            if execution.status.is_final() {
                return Ok(execution);
            }
            if left.is_zero() {
                let said = format!("execution {execution_id} is still {}", execution.status);
                return Err(Fault::new(base::ErrorCode::Timeout, said));
            }
        }
    }

    /// An execution with its tasks, as it stands.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn execution(&self, execution_id: &str) -> Result<Execution, Fault> {
        self.look(execution_id, Duration::ZERO, false).await
    }

    /// An execution without tasks and outputs of tasks.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn status(&self, execution_id: &str) -> Result<Execution, Fault> {
        self.look(execution_id, Duration::ZERO, true).await
    }

    async fn look(&self, execution_id: &str, wait: Duration, summary_only: bool) -> Result<Execution, Fault> {
        let execution_id = execution_id.to_owned();
        let message = wire::GetExecutionRequest { execution_id, wait_ms: millis(wait), summary_only };
        let deadline = self.options.timeout.max(wait + WAIT_SLACK);
        let call =
            || async { self.executor().get_execution(self.request_within(message.clone(), deadline)).await };
        Execution::of(self.safely(call).await?)
    }

    /// A page of executions, newest first, without tasks.
    ///
    /// # Errors
    /// `invalid_argument` when a status or the page token is none.
    pub async fn executions(&self, filter: &ExecutionFilter) -> Result<Page<Execution>, Fault> {
        let message = wire::ListExecutionsRequest {
            page: Some(PageRequest { page_size: filter.page_size, page_token: filter.page_token.clone() }),
            statuses: filter.statuses.clone(),
            workflow: filter.workflow.clone(),
            correlation_id: filter.correlation_id.clone(),
            stuck: filter.stuck,
            stuck_reasons: filter.stuck_reasons.clone(),
        };
        let call = || async { self.executor().list_executions(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.executions, answer.next_page_token, Execution::of)
    }

    /// Lets no new call leave; running ones finish and are recorded.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`.
    pub async fn pause(&self, execution_id: &str, reason: &str) -> Result<CommandAnswer, Fault> {
        self.command(execution_id, Command::Pause, reason).await
    }

    /// Goes on after a pause.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`.
    pub async fn resume(&self, execution_id: &str, reason: &str) -> Result<CommandAnswer, Fault> {
        self.command(execution_id, Command::Resume, reason).await
    }

    /// Ends an execution; its agents are told.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`.
    pub async fn cancel(&self, execution_id: &str, reason: &str) -> Result<CommandAnswer, Fault> {
        self.command(execution_id, Command::Cancel, reason).await
    }

    /// Ends an execution at once; nobody waits for its agents.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`.
    pub async fn terminate(&self, execution_id: &str, reason: &str) -> Result<CommandAnswer, Fault> {
        self.command(execution_id, Command::Terminate, reason).await
    }

    async fn command(
        &self,
        execution_id: &str,
        command: Command,
        reason: &str,
    ) -> Result<CommandAnswer, Fault> {
        let message = wire::CommandExecutionRequest {
            execution_id: execution_id.to_owned(),
            command: command.into(),
            reason: reason.to_owned(),
        };
        let call = || async { self.executor().command_execution(self.request(message.clone())).await };
        Ok(CommandAnswer::of(self.safely(call).await?))
    }

    /// Ends a task that waits for a decision. `item` is the item of a scattered task.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`.
    pub async fn resolve(
        &self,
        execution_id: &str,
        task_id: &str,
        item: Option<u32>,
        decision: &Decision,
    ) -> Result<CommandAnswer, Fault> {
        use wire::resolve_task_request::Decision as Wire;
        let decision = match decision {
            Decision::Completed(output) => Wire::Completed(payload::to_wire(output)),
            Decision::Failed(message) => Wire::Failed(message.clone()),
            Decision::Retry => Wire::Retry(true),
        };
        let message = wire::ResolveTaskRequest {
            execution_id: execution_id.to_owned(),
            task_id: task_id.to_owned(),
            item: item_number(item),
            decision: Some(decision),
        };
        Ok(CommandAnswer::of(self.once(self.executor().resolve_task(self.request(message))).await?))
    }

    /// Answers a task whose agent asked for input.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`.
    pub async fn answer(
        &self,
        execution_id: &str,
        task_id: &str,
        item: Option<u32>,
        input: &Payload,
    ) -> Result<CommandAnswer, Fault> {
        let message = wire::AnswerTaskRequest {
            execution_id: execution_id.to_owned(),
            task_id: task_id.to_owned(),
            item: item_number(item),
            input: Some(payload::to_wire(input)),
        };
        Ok(CommandAnswer::of(self.once(self.executor().answer_task(self.request(message))).await?))
    }

    /// Events after `after_seq`, at most `limit` (1 to 1000; 0 = 100), oldest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn history(&self, execution_id: &str, after_seq: u64, limit: u32) -> Result<History, Fault> {
        let execution_id = execution_id.to_owned();
        let message = wire::GetHistoryRequest { execution_id, after_seq, limit };
        let call = || async { self.executor().get_history(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Ok(History { events: answer.events.into_iter().map(Event::of).collect(), more: answer.more })
    }

    /// How much room there is.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn capacity(&self) -> Result<Capacity, Fault> {
        let call = || async { self.executor().get_capacity(self.request(wire::GetCapacityRequest {})).await };
        let c = self.safely(call).await?;
        Ok(Capacity {
            active: c.active,
            max_concurrent: c.max_concurrent,
            queued: c.queued,
            queue_max: c.queue_max,
            accepting: c.accepting,
            calls_in_flight: c.calls_in_flight,
            calls_waiting: c.calls_waiting,
        })
    }

    /// A page of messages that consumers gave up on.
    ///
    /// # Errors
    /// `invalid_argument` when the page token is none of this list.
    pub async fn dead_letters(&self, page_size: i32, page_token: &str) -> Result<Page<DeadLetter>, Fault> {
        let page = Some(PageRequest { page_size, page_token: page_token.to_owned() });
        let message = wire::ListDeadLettersRequest { page };
        let call = || async { self.executor().list_dead_letters(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.dead_letters, answer.next_page_token, DeadLetter::of)
    }

    /// One dead letter, and its message.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn dead_letter(&self, id: &str) -> Result<(DeadLetter, Vec<u8>), Fault> {
        let message = wire::GetDeadLetterRequest { id: id.to_owned() };
        let call = || async { self.executor().get_dead_letter(self.request(message.clone())).await };
        let letter = self.safely(call).await?;
        let body = letter.body.clone();
        Ok((DeadLetter::of(letter)?, body))
    }

    /// Puts a dead letter back on its stream; one of a trigger: makes the start it tells of.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn redrive(&self, id: &str) -> Result<DeadLetter, Fault> {
        let message = wire::RedriveDeadLetterRequest { id: id.to_owned() };
        let answer = self.once(self.executor().redrive_dead_letter(self.request(message))).await?;
        DeadLetter::of(answer.dead_letter.unwrap_or_default())
    }
}

fn item_number(item: Option<u32>) -> i32 {
    item.and_then(|item| i32::try_from(item).ok()).unwrap_or(-1)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
