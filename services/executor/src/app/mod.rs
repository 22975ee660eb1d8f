//! Use cases: what callers ask of the executor, before it is encoded for any door.

mod approvals;
mod change;
mod child;
mod letters;
mod query;
mod session;
mod start;
mod watch;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::Fault;
use base::{CallContext, Clock, ExecutionId};
use store::Journal;
use workflow::plan::RetryPolicy;

use crate::{
    engine::{Command, Commanded, Engine},
    topics::Topics,
};

pub use change::{ForkRequest, NewPlan, PlanDiff, PlanPreview, Revision};
pub use query::{HistoryPage, ListQuery};
pub use start::{StartOutcome, StartRequest};
pub use watch::{Watched, WorkflowCursor};

/// Defaults for what a start does not say.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Wall time of an execution.
    pub timeout: Duration,
    /// How long a ready call waits while no agent offers what it needs.
    pub allocation_timeout: Duration,
    /// A checkpoint is recorded this often.
    pub checkpoint_every: Duration,
    /// An event that comes before its wait is kept for this long.
    pub event_ttl: Duration,
    /// How long all compensation may take; 0 = as long as it takes.
    pub compensation_timeout: Duration,
    /// Retry policy of tasks that have none.
    pub retry: RetryPolicy,
    /// Largest input.
    pub payload_bytes_max: usize,
}

/// The executor's use cases.
#[derive(Clone)]
pub struct App {
    pub(crate) engine: Engine,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Arc<dyn bus::Bus>,
    pub(crate) defaults: Arc<Defaults>,
    pub(crate) sessions: Option<crate::sessions::Sessions>,
    pub(crate) budgets: Option<crate::budgets::Budgets>,
    /// Makes the starts that dead letters of triggers tell of.
    pub(crate) topics: Arc<OnceLock<Topics>>,
    /// What may be started.
    pub(crate) kinds: language::Kinds,
    /// Other engines, for signals and queries.
    pub(crate) providers: provider::Providers,
}

impl App {
    /// Joins the parts.
    pub fn new(
        engine: Engine,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        bus: Arc<dyn bus::Bus>,
        defaults: Defaults,
    ) -> Self {
        let topics = Arc::default();
        Self {
            engine,
            journal,
            clock,
            bus,
            defaults: Arc::new(defaults),
            sessions: None,
            budgets: None,
            topics,
            kinds: language::Kinds::default(),
            providers: provider::Providers::default(),
        }
    }

    /// Passes signals and queries of tasks on to these engines.
    #[must_use]
    pub fn with_providers(mut self, providers: provider::Providers) -> Self {
        self.providers = providers;
        self
    }

    /// Refuses starts of the kinds that are switched off. What runs already goes on.
    #[must_use]
    pub fn with_kinds(mut self, kinds: language::Kinds) -> Self {
        self.kinds = kinds;
        self
    }

    /// Dead letters of triggers are re-driven by `topics`; only the first time counts.
    pub fn use_topics(&self, topics: Topics) {
        let _ = self.topics.set(topics);
    }

    /// Steers an execution. Answered after the commit.
    pub async fn command(
        &self,
        context: &CallContext,
        id: ExecutionId,
        command: Command,
    ) -> Result<Commanded, Fault> {
        let by = if context.principal.is_empty() { "anonymous" } else { &context.principal };
        self.check_size(&command)?;
        self.engine.command(&context.tenant, id, command, by).await
    }

    /// Refuses what is larger than the log may hold.
    fn check_size(&self, command: &Command) -> Result<(), Fault> {
        let (field, payload) = match command {
            Command::Signal { payload, .. } => ("payload", Some(payload)),
            Command::SetVars { vars } => ("vars", Some(vars)),
            Command::Approve { form, .. } => ("form", form.as_ref()),
            Command::Reset { input, .. } => ("input", input.as_ref()),
            Command::ChangePlan { plan, .. } => ("plan_json", Some(plan)),
            Command::Answer { input, .. } => ("input", Some(input)),
            _ => return Ok(()),
        };
        let (len, max) = (payload.map_or(0, base::Payload::len), self.defaults.payload_bytes_max);
        if len <= max {
            return Ok(());
        }
        let text = format!("{field} has {len} bytes, the limit is {max} (executor.payload_max)");
        Err(Fault::new(base::ErrorCode::PayloadTooLarge, text).field(field))
    }
}
