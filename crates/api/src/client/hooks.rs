//! Hooks: what is done when something happens, and the log of it.

use proto::{
    common::v1::PageRequest,
    executor::v1::{self as wire, hook_service_client::HookServiceClient},
};
use serde::Serialize;
use serde_json::Value;
use tonic::transport::Channel;

use super::{Client, Page, model::some};
use crate::Fault;

/// What a hook is to be. `None` and empty texts mean the default.
#[derive(Clone, Debug, Default)]
pub struct HookDefinition {
    /// Unique within the tenant.
    pub name: String,
    /// `pre_task`, `post_task`, …
    pub trigger: String,
    /// The absolute path of an allowed executable, a URL, `agent:CAPABILITY` or `builtin:NAME`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Runs after a critical failure of an earlier hook too.
    pub always_run: bool,
    /// Longest run, milliseconds; default 30000.
    pub timeout_ms: Option<u32>,
    /// Whether it runs; default true.
    pub enabled: Option<bool>,
    /// Lower runs first; default 100.
    pub priority: Option<i32>,
    /// `abort` or `warn`; empty = abort before a call, warn otherwise.
    pub on_failure: String,
    /// A condition in CEL; empty = always.
    pub when: String,
}

impl HookDefinition {
    fn wire(&self) -> wire::HookSpec {
        wire::HookSpec {
            name: self.name.clone(),
            trigger: self.trigger.clone(),
            command: self.command.clone(),
            args: self.args.clone(),
            always_run: self.always_run,
            timeout_ms: self.timeout_ms,
            enabled: self.enabled,
            priority: self.priority,
            on_failure: self.on_failure.clone(),
            when: self.when.clone(),
        }
    }
}

/// A stored hook.
#[derive(Clone, Debug, Serialize)]
pub struct Hook {
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
    /// `abort` or `warn`; `None` = as the trigger has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// Its condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Rises with every change.
    pub revision: u64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl Hook {
    fn of(hook: wire::Hook) -> Result<Self, Fault> {
        let spec = hook.spec.unwrap_or_default();
        Ok(Self {
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
        })
    }

    /// What it is, to be changed and sent back.
    pub fn definition(&self) -> HookDefinition {
        HookDefinition {
            name: self.name.clone(),
            trigger: self.trigger.clone(),
            command: self.command.clone(),
            args: self.args.clone(),
            always_run: self.always_run,
            timeout_ms: Some(self.timeout_ms),
            enabled: Some(self.enabled),
            priority: Some(self.priority),
            on_failure: self.on_failure.clone().unwrap_or_default(),
            when: self.when.clone().unwrap_or_default(),
        }
    }
}

/// How one hook ended for one occasion.
#[derive(Clone, Debug, Serialize)]
pub struct HookRun {
    /// The same when the hook is run again for the same occasion.
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
    /// `completed`, `failed` or `skipped`.
    pub state: String,
    /// `allow`, `warn` or `abort`.
    pub decision: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What it wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What it set.
    pub set: Value,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
}

impl HookRun {
    fn of(run: wire::HookRun) -> Result<Self, Fault> {
        Ok(Self {
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
            set: serde_json::from_str(&run.set_json).unwrap_or_default(),
            started_at: run.started_at,
            finished_at: run.finished_at,
        })
    }
}

/// Which hooks a list shows; empty texts ask for all.
#[derive(Clone, Debug, Default)]
pub struct HookFilter {
    /// Only with this trigger.
    pub trigger: String,
    /// Only enabled, or only disabled ones.
    pub enabled: Option<bool>,
    /// Names that begin so.
    pub name_prefix: String,
    /// Rows of a page; 0 = 50.
    pub page_size: i32,
    /// `next_page_token` of the page before.
    pub page_token: String,
}

/// Which runs a list shows; empty texts ask for all.
#[derive(Clone, Debug, Default)]
pub struct HookRunFilter {
    /// Of this hook: UUID or name.
    pub hook: String,
    /// Of this execution.
    pub execution_id: String,
    /// With this trigger.
    pub trigger: String,
    /// `completed`, `failed` or `skipped`.
    pub state: String,
    /// Begun at or after, RFC 3339.
    pub since: String,
    /// Begun before, RFC 3339.
    pub until: String,
    /// Rows of a page; 0 = 50.
    pub page_size: i32,
    /// `next_page_token` of the page before.
    pub page_token: String,
}

impl Client {
    fn hook_service(&self) -> HookServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        HookServiceClient::new(self.channel()).max_decoding_message_size(max).max_encoding_message_size(max)
    }

    /// Stores a hook. Its id is drawn before the first try, so it is stored once.
    ///
    /// # Errors
    /// `invalid_argument` naming the field, `already_exists` when the name is taken, `resource_exhausted`.
    pub async fn create_hook(&self, hook: &HookDefinition) -> Result<Hook, Fault> {
        let hook_id = uuid::Uuid::now_v7().to_string();
        let message = wire::CreateHookRequest { hook_id, spec: Some(hook.wire()) };
        let call = || async { self.hook_service().create_hook(self.request(message.clone())).await };
        Hook::of(self.safely(call).await?)
    }

    /// Replaces a hook. `expected_revision` refuses the change when somebody else was faster; 0 takes whatever is there.
    ///
    /// # Errors
    /// `not_found`, `conflict`, and those of [`Client::create_hook`].
    pub async fn update_hook(
        &self,
        id: &str,
        hook: &HookDefinition,
        expected_revision: u64,
    ) -> Result<Hook, Fault> {
        let message =
            wire::UpdateHookRequest { hook: id.to_owned(), spec: Some(hook.wire()), expected_revision };
        // Not repeated: a second try of a change that happened would be refused by its own revision.
        Hook::of(self.once(self.hook_service().update_hook(self.request(message))).await?)
    }

    /// One hook, by UUID or name.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn hook(&self, id: &str) -> Result<Hook, Fault> {
        let message = wire::GetHookRequest { hook: id.to_owned() };
        let call = || async { self.hook_service().get_hook(self.request(message.clone())).await };
        Hook::of(self.safely(call).await?)
    }

    /// A page of hooks by name.
    ///
    /// # Errors
    /// `invalid_argument` for a trigger that is none.
    pub async fn hooks(&self, filter: &HookFilter) -> Result<Page<Hook>, Fault> {
        let message = wire::ListHooksRequest {
            page: Some(PageRequest { page_size: filter.page_size, page_token: filter.page_token.clone() }),
            trigger: filter.trigger.clone(),
            enabled: filter.enabled,
            name_prefix: filter.name_prefix.clone(),
        };
        let call = || async { self.hook_service().list_hooks(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.hooks, answer.next_page_token, Hook::of)
    }

    /// Deletes a hook. Its runs stay until their time is over.
    ///
    /// # Errors
    /// `not_found`, `conflict`.
    pub async fn delete_hook(&self, id: &str, expected_revision: u64) -> Result<(), Fault> {
        let message = wire::DeleteHookRequest { hook: id.to_owned(), expected_revision };
        self.once(self.hook_service().delete_hook(self.request(message))).await.map(drop)
    }

    /// A page of runs, the newest first.
    ///
    /// # Errors
    /// `not_found` for a hook's name, `invalid_argument` for a filter that is none.
    pub async fn hook_runs(&self, filter: &HookRunFilter) -> Result<Page<HookRun>, Fault> {
        let message = wire::ListHookRunsRequest {
            page: Some(PageRequest { page_size: filter.page_size, page_token: filter.page_token.clone() }),
            hook: filter.hook.clone(),
            execution_id: filter.execution_id.clone(),
            trigger: filter.trigger.clone(),
            state: filter.state.clone(),
            since: filter.since.clone(),
            until: filter.until.clone(),
        };
        let call = || async { self.hook_service().list_hook_runs(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.runs, answer.next_page_token, HookRun::of)
    }

    /// One run.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn hook_run(&self, run_id: &str) -> Result<HookRun, Fault> {
        let message = wire::GetHookRunRequest { run_id: run_id.to_owned() };
        let call = || async { self.hook_service().get_hook_run(self.request(message.clone())).await };
        HookRun::of(self.safely(call).await?)
    }
}
