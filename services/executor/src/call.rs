//! A call to an agent, as the engine sees it: one trait, A2A first.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{ExecutionId, FailureClass, Payload, Timestamp};
use catalog::AgentEntry;
use workflow::Usage;

/// How a call is made.
#[derive(Clone, Debug)]
pub enum CallKind {
    /// The first send, or a repeat with the same message id after an unknown outcome.
    Send(Payload),
    /// The agent has named the call: ask it.
    Reattach,
    /// The answer to its question.
    Answer(Payload),
}

/// The session of an execution, as it was when the execution started.
#[derive(Clone, Debug)]
pub struct SessionOfCall {
    /// Its id.
    pub id: Arc<str>,
    /// Its variables: an object.
    pub vars: Option<Payload>,
    /// Its newest turns, oldest first: a list.
    pub history: Option<Payload>,
}

/// Everything a caller needs to know.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// What to do.
    pub kind: CallKind,
    /// The agent.
    pub agent: Arc<AgentEntry>,
    /// Index of the instance in the agent's list.
    pub instance: usize,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The task's id.
    pub task_id: Arc<str>,
    /// For people.
    pub task_name: String,
    /// What to do, in words.
    pub instructions: String,
    /// Item and number of items, of a scattered task.
    pub item: Option<(u32, u32)>,
    /// The same for every send of unknown outcome.
    pub message_id: String,
    /// The same for all calls of the execution.
    pub context_id: String,
    /// The same over all retries: an agent may use it to do its effect once.
    pub effect_key: String,
    /// What another engine is to run; `None` = the agent is one.
    pub remote: Option<Box<workflow::plan::Remote>>,
    /// The skill; empty = the agent decides.
    pub capability: Arc<str>,
    /// The session that it belongs to.
    pub session: Option<SessionOfCall>,
    /// The agent's names, once known.
    pub bound: Option<(Arc<str>, Arc<str>)>,
    /// W3C `traceparent` of the start; empty = none.
    pub trace: Arc<str>,
    /// Longest silence.
    pub idle: Duration,
    /// Longest time in all; `None` = until aborted.
    pub total: Option<Duration>,
    /// Somebody follows: progress is wanted.
    pub followed: bool,
    /// The outcome must not stay unknown: learn the agent's name for the call as early as possible.
    pub bind_early: bool,
    /// Expected to be short: send and wait.
    pub short: bool,
}

/// What a call ends with.
#[derive(Clone, Debug)]
pub enum CallOutcome {
    /// The output.
    Completed(Payload),
    /// It failed.
    Failed {
        /// Class.
        class: FailureClass,
        /// Words.
        message: String,
        /// Whether it is known that the agent did not do (or will not do) the work.
        outcome_known: bool,
        /// The agent asks to wait this long.
        retry_after: Option<Duration>,
    },
    /// The agent asks for input.
    InputRequired {
        /// What it asks.
        prompt: Payload,
        /// Its task.
        agent_task_id: Arc<str>,
        /// Its context.
        context_id: Arc<str>,
    },
}

/// A call that nobody wants any more.
#[derive(Clone, Debug)]
pub struct CancelRequest {
    /// The agent.
    pub agent: Arc<AgentEntry>,
    /// Index of the instance in the agent's list.
    pub instance: usize,
    /// The execution.
    pub execution_id: ExecutionId,
    /// Id of the message that began the call.
    pub message_id: String,
    /// What the agent calls it, once known.
    pub agent_task_id: Option<Arc<str>>,
    /// The execution was terminated: nothing is to be cleaned up there, where the two are told apart.
    pub at_once: bool,
    /// W3C `traceparent` of the start; empty = none.
    pub trace: Arc<str>,
}

/// Whether an agent knows that a call was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It does, or the call had ended.
    Yes,
    /// As `Yes`; it said what the call has cost.
    Spent(Usage),
    /// Nobody knows what the agent calls it, yet.
    Unnamed(String),
    /// It could not be told now.
    Away(String),
}

/// Where a call reports to while it runs.
#[async_trait]
pub trait CallSink: Send + Sync {
    /// The agent has named the call. Awaited: it is on its way to disk when this returns.
    async fn bound(&self, agent_task_id: Arc<str>, context_id: Arc<str>);
    /// The agent made progress, 0 to 1. May be dropped under load.
    fn progress(&self, share: f64, text: &str);
    /// What the call has cost in all, as the agent says: told before the call returns, with its end, whatever that is.
    fn used(&self, _usage: Usage) {}
}

/// Another engine that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Since when.
    pub since: Timestamp,
    /// What came instead of an answer, newest.
    pub error: Arc<str>,
}

/// Calls agents.
#[async_trait]
pub trait AgentCaller: Send + Sync + 'static {
    /// Makes the call and waits for its end. Dropping the future abandons it without telling the agent.
    async fn call(&self, request: CallRequest, sink: Arc<dyn CallSink>) -> CallOutcome;
    /// Tells the agent that nobody wants the result any more. Never sends the call again to find out what the agent
    /// calls it.
    async fn cancel(&self, request: CancelRequest) -> Told;
    /// Engines that do not answer now, by name. Nothing of it outlives the process.
    fn away(&self) -> Vec<(String, Away)> {
        Vec::new()
    }
}
