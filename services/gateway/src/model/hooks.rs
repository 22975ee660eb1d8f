//! Hooks and their runs.

use proto::executor::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::some;
use crate::payload::{Raw, raw_text};

/// What a hook is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookDefinition {
    /// UUID drawn by the caller, so that a retry of the same request is the same hook; only when it is made.
    pub hook_id: Option<String>,
    /// 1 to 255 characters, unique within the tenant.
    pub name: String,
    /// `pre_task`, `post_task`, `pre_search`, `pre_edit`, `post_edit`, `pre_command`, `post_command`, `session_start`,
    /// `session_end`, `session_restore` or `notification`.
    pub trigger: String,
    /// The absolute path of an allowed executable, an http(s) URL, `agent:CAPABILITY` or `builtin:NAME`.
    pub command: String,
    /// Arguments of an executable, or `name=value` of a built-in function.
    #[serde(default)]
    pub args: Vec<String>,
    /// Runs even when an earlier hook of the same occasion failed critically; default false.
    #[serde(default)]
    pub always_run: bool,
    /// Longest run, milliseconds; default 30000.
    #[schema(minimum = 1)]
    pub timeout_ms: Option<u32>,
    /// Default true.
    pub enabled: Option<bool>,
    /// Lower runs first; default 100.
    pub priority: Option<i32>,
    /// `abort` or `warn`; default abort before a call (`pre_*`), warn otherwise.
    pub on_failure: Option<String>,
    /// CEL over the document that the hook is given; it runs when this is true.
    pub when: Option<String>,
    /// The revision that was read, for an update; `If-Match` says the same.
    #[schema(minimum = 1)]
    pub revision: Option<u64>,
}

impl HookDefinition {
    /// As the contract has it.
    pub(crate) fn spec(self) -> wire::HookSpec {
        wire::HookSpec {
            name: self.name,
            trigger: self.trigger,
            command: self.command,
            args: self.args,
            always_run: self.always_run,
            timeout_ms: self.timeout_ms,
            enabled: self.enabled,
            priority: self.priority,
            on_failure: self.on_failure.unwrap_or_default(),
            when: self.when.unwrap_or_default(),
        }
    }
}

/// A hook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hook {
    /// UUID.
    pub hook_id: String,
    /// Unique within the tenant.
    pub name: String,
    /// When it runs.
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
    /// `abort` or `warn`; absent = as the trigger has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// Its condition; absent = always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Rises with every change.
    pub revision: u64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl From<wire::Hook> for Hook {
    fn from(hook: wire::Hook) -> Self {
        let spec = hook.spec.unwrap_or_default();
        Self {
            hook_id: hook.hook_id,
            name: spec.name,
            trigger: spec.trigger,
            command: spec.command,
            args: spec.args,
            always_run: spec.always_run,
            timeout_ms: spec.timeout_ms.unwrap_or_default(),
            enabled: spec.enabled.unwrap_or_default(),
            priority: spec.priority.unwrap_or_default(),
            on_failure: some(spec.on_failure),
            when: some(spec.when),
            revision: hook.revision,
            created_at: hook.created_at,
            updated_at: hook.updated_at,
        }
    }
}

/// A page of hooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HookPage {
    /// By name.
    pub hooks: Vec<Hook>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// How one hook ended for one occasion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HookRun {
    /// The same when the hook is run again for the same occasion after a crash.
    pub run_id: String,
    /// Runs of one occasion share it.
    pub request_id: String,
    /// The hook.
    pub hook_id: String,
    /// Its name when it ran.
    pub hook_name: String,
    /// When it ran.
    pub trigger: String,
    /// `command`, `webhook`, `agent` or `builtin`.
    pub action: String,
    /// The execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The item of a scattered task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `completed`, `failed`, or `skipped` after a critical failure of an earlier hook.
    pub state: String,
    /// `allow`, `warn` or `abort`.
    pub decision: String,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What it wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What it set: agent, output, variables.
    #[schema(value_type = Value)]
    pub set: Raw,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
}

impl From<wire::HookRun> for HookRun {
    fn from(run: wire::HookRun) -> Self {
        Self {
            run_id: run.run_id,
            request_id: run.request_id,
            hook_id: run.hook_id,
            hook_name: run.hook_name,
            trigger: run.trigger,
            action: run.action,
            execution_id: some(run.execution_id),
            task_id: some(run.task_id),
            item: run.item,
            state: run.state,
            decision: run.decision,
            message: some(run.message),
            output: some(run.output),
            set: raw_text(run.set_json),
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

/// A page of runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HookRunPage {
    /// The newest first.
    pub runs: Vec<HookRun>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}
