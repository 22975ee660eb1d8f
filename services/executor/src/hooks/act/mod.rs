//! What a hook does: a command, a webhook, an agent, a built-in function.

mod agent;
mod builtins;
mod command;
mod search;
mod webhook;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use base::{Clock, ExecutionId, Tenant};
use hooks::{Action, Answer, Hook, Rules, Trigger};
use serde_json::Value;
use uuid::Uuid;

use super::{HookOptions, SessionMemory};
use crate::engine::Engine;
use agent::Agents;
use search::SearchCache;
use webhook::Webhooks;

pub use command::Limits as CommandLimits;
pub use webhook::WebhookOptions;

/// What hooks may do.
#[derive(Clone, Debug)]
pub struct ActionOptions {
    /// Executables by absolute path that hooks may run.
    pub commands: Vec<String>,
    /// Formatters by extension: `rs` → program and arguments; the path is appended.
    pub formatters: BTreeMap<String, Vec<String>>,
    /// Working directory of commands.
    pub working_dir: PathBuf,
    /// Files that built-in functions read or format lie in here; `None` = they touch no files.
    pub files_root: Option<PathBuf>,
    /// Bounds of a command.
    pub limits: CommandLimits,
    /// Webhooks; without a secret there are none.
    pub webhooks: WebhookOptions,
    /// Bytes of the search cache.
    pub search_cache_bytes: u64,
    /// How long a search is remembered.
    pub search_cache_ttl: Duration,
}

impl Default for ActionOptions {
    fn default() -> Self {
        Self {
            commands: Vec::new(),
            formatters: BTreeMap::new(),
            working_dir: std::env::temp_dir(),
            files_root: None,
            limits: CommandLimits::default(),
            webhooks: WebhookOptions::default(),
            search_cache_bytes: 16 << 20,
            search_cache_ttl: Duration::from_secs(300),
        }
    }
}

impl ActionOptions {
    /// What a hook is checked against.
    pub(crate) fn rules(&self, options: &HookOptions, memory: bool) -> Rules {
        Rules {
            commands: self.commands.iter().cloned().collect(),
            timeout_max_ms: u32::try_from(options.timeout_max.as_millis()).unwrap_or(u32::MAX),
            webhooks: !self.webhooks.secret.is_empty(),
            memory,
        }
    }
}

/// One run of one hook.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) tenant: Tenant,
    pub(crate) execution: Option<ExecutionId>,
    pub(crate) run_id: Uuid,
    pub(crate) trigger: Trigger,
    pub(crate) hook: Arc<Hook>,
    pub(crate) document: Value,
    pub(crate) timeout: Duration,
}

/// A hook that answered.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) answer: Answer,
    /// What it wrote.
    pub(crate) output: String,
}

/// A hook that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: String,
    /// What it wrote.
    pub(crate) output: String,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, output: String::new() }
    }
}

/// Takes actions.
pub(crate) struct Actions {
    options: ActionOptions,
    webhooks: Webhooks,
    agents: Agents,
    memory: Option<Arc<dyn SessionMemory>>,
    searches: SearchCache,
}

impl Actions {
    pub(crate) fn new(
        options: ActionOptions,
        engine: &Engine,
        clock: Arc<dyn Clock>,
        memory: Option<Arc<dyn SessionMemory>>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            webhooks: Webhooks::new(options.webhooks.clone(), clock)?,
            agents: Agents::new(engine),
            searches: SearchCache::new(options.search_cache_bytes, options.search_cache_ttl),
            memory,
            options,
        })
    }

    /// Does it. Dropping the future ends what it began.
    pub(crate) async fn take(&self, task: &Task) -> Result<Done, Failed> {
        match &task.hook.action {
            Action::Command(path) => self.run_command(task, path).await,
            Action::Webhook(url) => self.webhooks.post(task, url, &task.document).await,
            Action::Agent(capability) => self.agents.call(task, capability).await,
            Action::Builtin(function) => self.builtin(task, *function).await,
        }
    }

    async fn run_command(&self, task: &Task, path: &str) -> Result<Done, Failed> {
        let job = command::Job {
            program: path,
            args: &task.hook.spec.args,
            input: task.document.to_string().into_bytes(),
            dir: &self.options.working_dir,
            env: vec![
                ("ORCHESTRA_TRIGGER", task.trigger.as_str().to_owned()),
                ("ORCHESTRA_RUN_ID", task.run_id.to_string()),
                ("ORCHESTRA_EXECUTION_ID", task.execution.map(|id| id.to_string()).unwrap_or_default()),
            ],
        };
        let ended = command::run(job, &self.options.limits).await?;
        let output = String::from_utf8_lossy(&ended.stdout).into_owned();
        if let Some(why) = ended.failure() {
            return Err(Failed { why, output });
        }
        match Answer::read(&ended.stdout) {
            Ok(answer) => Ok(Done { answer, output }),
            Err(why) => Err(Failed { why: format!("its output is no answer: {why}"), output }),
        }
    }
}
