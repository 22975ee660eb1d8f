//! The executor's tables of hooks: definitions, the durable queue of occasions, and the log of runs.
//!
//! They lie in the executor's schema beside the journal, and are written over its connections
//! ([`Journal::tables`](crate::Journal::tables)).

mod definitions;
mod requests;
mod runs;

pub use requests::{Due, NO_PARTITION};

use base::{ExecutionId, Tenant, Timestamp};
use uuid::Uuid;

use crate::{
    error::StoreError,
    journal::Result,
    tables::{Cells, Statement, Tables},
};

/// The store of hooks. Cheap to clone; usable until the journal is closed.
#[derive(Clone, Debug)]
pub struct HookStore {
    tables: Tables,
}

impl HookStore {
    /// Over the journal's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// The database's clock, microseconds since 1970, as SQL.
    fn now(&self) -> &'static str {
        match self.tables.pool() {
            Some(_) => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
            None => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
        }
    }
}

/// A row of `workflow_hooks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRow {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its id.
    pub hook_id: Uuid,
    /// Unique within the tenant.
    pub name: String,
    /// The trigger's text form.
    pub trigger: String,
    /// What it does.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Runs after a critical failure too.
    pub always_run: bool,
    /// Longest run, milliseconds.
    pub timeout_ms: u32,
    /// Whether it runs.
    pub enabled: bool,
    /// Lower runs first.
    pub priority: i32,
    /// `abort` or `warn`; `None` = as the trigger has it.
    pub on_failure: Option<String>,
    /// CEL; empty = always.
    pub condition: String,
    /// Rises with every change, from 1.
    pub revision: u64,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// Why a hook was not written.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Another hook of the tenant has the name.
    #[error("another hook is called {0:?}")]
    NameTaken(String),
    /// The tenant has as many as it may have.
    #[error("there are {0} hooks already")]
    Full(u64),
    /// There is no such hook.
    #[error("there is no such hook")]
    NotFound,
    /// It changed since the caller read it.
    #[error("the hook is at revision {0}")]
    Changed(u64),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which hooks to list. Fields combine with AND.
#[derive(Clone, Debug, Default)]
pub struct HookFilter {
    /// Of this tenant.
    pub tenant: Tenant,
    /// With this trigger.
    pub trigger: Option<String>,
    /// Only enabled, or only disabled ones.
    pub enabled: Option<bool>,
    /// Names that begin like this.
    pub name_prefix: Option<String>,
}

/// An occasion whose hooks are to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// Whose it is.
    pub tenant: Tenant,
    /// The same however often the occasion is found.
    pub request_id: Uuid,
    /// Partition of the stream of wake-ups; [`NO_PARTITION`] when its asker runs it.
    pub partition: u32,
    /// The trigger's text form.
    pub trigger: String,
    /// The execution.
    pub execution_id: Option<ExecutionId>,
    /// The task.
    pub task_id: Option<String>,
    /// The item of a scattered task.
    pub item: Option<u32>,
    /// Ids of the hooks in the order in which they run.
    pub hooks: Vec<Uuid>,
    /// What they are told, JSON.
    pub document: String,
    /// When it was found.
    pub requested_at: Timestamp,
}

/// Who wants to run a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Name of the replica; the same after a restart.
    pub member: String,
    /// Rises with every start.
    pub incarnation: u64,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's, with the runs that have ended already.
    Yours(Box<RequestRow>, Vec<RunRow>),
    /// Another replica runs it.
    Busy,
    /// All its hooks have ended; what they came to, JSON.
    Done(String),
    /// It is not there (any more).
    Gone,
}

/// How one hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Whose it is.
    pub tenant: Tenant,
    /// The same however often the hook runs for its request.
    pub run_id: Uuid,
    /// The request.
    pub request_id: Uuid,
    /// The hook.
    pub hook_id: Uuid,
    /// Its name then.
    pub hook_name: String,
    /// The trigger's text form.
    pub trigger: String,
    /// `command`, `webhook`, `agent` or `builtin`.
    pub action: String,
    /// The execution.
    pub execution_id: Option<ExecutionId>,
    /// The task.
    pub task_id: Option<String>,
    /// The item of a scattered task.
    pub item: Option<u32>,
    /// `completed`, `failed` or `skipped`.
    pub state: String,
    /// `allow`, `warn` or `abort`.
    pub decision: String,
    /// Why.
    pub message: String,
    /// What it wants set, JSON.
    pub settings: String,
    /// What it wrote, cut.
    pub output: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Which runs to list. Fields combine with AND.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this tenant.
    pub tenant: Tenant,
    /// Of this hook.
    pub hook: Option<Uuid>,
    /// Of this execution.
    pub execution: Option<ExecutionId>,
    /// With this trigger.
    pub trigger: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Begun at or after.
    pub since: Option<Timestamp>,
    /// Begun before.
    pub until: Option<Timestamp>,
}

/// Reads a JSON list of texts.
fn list(text: &str) -> Result<Vec<String>> {
    let unreadable = |e: serde_json::Error| StoreError::Unreadable { table: "hooks", why: e.to_string() };
    serde_json::from_str(text).map_err(unreadable)
}

/// Reads a JSON list of ids.
fn ids(text: &str) -> Result<Vec<Uuid>> {
    let unreadable = |e: uuid::Error| StoreError::Unreadable { table: "hook_requests", why: e.to_string() };
    list(text)?.iter().map(|id| Uuid::try_parse(id).map_err(unreadable)).collect()
}

/// Reads an id that may be missing.
fn opt_id(row: &Cells, column: usize) -> Result<Option<Uuid>> {
    // An id that is missing is a null; `Cells` reads nulls of every type as such.
    if row.is_null(column) { Ok(None) } else { row.id(column).map(Some) }
}

/// Reads a small number that may be missing.
fn opt_small(row: &Cells, column: usize) -> Result<Option<u32>> {
    if row.is_null(column) { Ok(None) } else { row.small(column).map(Some) }
}
