//! `orchestra hooks`: what is done when something happens.

use std::process::ExitCode;

use api::client::{Hook, HookDefinition, HookFilter, HookRun, HookRunFilter};
use clap::Subcommand;

use super::{
    Context, Done,
    page::{PageArgs, more},
};
use crate::out::{Out, time};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra hooks create audit --trigger post_task --command /usr/local/bin/audit --arg --json
  orchestra hooks create guard --trigger pre_command --command builtin:security_check --arg allow=git,cargo
  orchestra hooks create chat --trigger notification --command builtin:notify --arg url=https://chat.example.com/hook \\
      --when \"event.data.status == 'failed'\"
  orchestra hooks list --trigger pre_task
  orchestra hooks disable audit
  orchestra hooks runs --hook audit --state failed";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists hooks by name.
    List {
        /// Only with this trigger: pre_task, post_task, ….
        #[arg(long, default_value = "", hide_default_value = true)]
        trigger: String,
        /// Only enabled ones.
        #[arg(long, conflicts_with = "disabled")]
        enabled: bool,
        /// Only disabled ones.
        #[arg(long)]
        disabled: bool,
        /// Beginning of the name.
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Shows one hook.
    Get {
        /// Its id or name.
        hook: String,
    },
    /// Stores a hook.
    Create {
        /// Its name, unique.
        name: String,
        /// When it runs: pre_task, post_task, pre_search, pre_edit, post_edit, pre_command, post_command, session_start,
        /// session_end, session_restore or notification.
        #[arg(long)]
        trigger: String,
        /// What it does: the absolute path of an allowed executable, a URL, agent:CAPABILITY or builtin:NAME.
        #[arg(long)]
        command: String,
        #[command(flatten)]
        rest: Rest,
    },
    /// Changes a hook; what is not named stays.
    Update {
        /// Its id or name.
        hook: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Another trigger.
        #[arg(long)]
        trigger: Option<String>,
        /// Another command.
        #[arg(long)]
        command: Option<String>,
        #[command(flatten)]
        rest: Rest,
        /// Only when it still has this revision.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        expected_revision: Option<u64>,
    },
    /// Lets a hook run again.
    Enable {
        /// Its id or name.
        hook: String,
    },
    /// Keeps a hook from running.
    Disable {
        /// Its id or name.
        hook: String,
    },
    /// Deletes a hook; its runs stay until their time is over.
    Delete {
        /// Its id or name.
        hook: String,
        /// Only when it still has this revision.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        expected_revision: Option<u64>,
    },
    /// The log of runs, the newest first.
    Runs(Runs),
    /// Shows one run with its output.
    Run {
        /// Its id.
        run: String,
    },
}

/// The fields that have defaults.
#[derive(Debug, clap::Args)]
pub(crate) struct Rest {
    /// An argument; repeat it for more.
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Runs even when an earlier hook failed critically: true or false.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    always_run: Option<bool>,
    /// Longest run, milliseconds; default 30000.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u32>,
    /// Whether it runs: true or false; default true.
    #[arg(long, value_name = "BOOL")]
    enabled: Option<bool>,
    /// Lower runs first; default 100.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
    /// What a failure means: abort or warn; default abort before a call, warn otherwise.
    #[arg(long, value_name = "WORD")]
    on_failure: Option<String>,
    /// A condition in CEL; it runs when that is true.
    #[arg(long, value_name = "CEL")]
    when: Option<String>,
}

impl Rest {
    fn put(self, into: &mut HookDefinition) {
        if !self.args.is_empty() {
            into.args = self.args;
        }
        into.always_run = self.always_run.unwrap_or(into.always_run);
        into.timeout_ms = self.timeout_ms.or(into.timeout_ms);
        into.enabled = self.enabled.or(into.enabled);
        into.priority = self.priority.or(into.priority);
        if let Some(word) = self.on_failure {
            into.on_failure = word;
        }
        if let Some(when) = self.when {
            into.when = when;
        }
    }
}

/// Filters of `runs`; they combine with AND.
#[derive(Debug, clap::Args)]
pub(crate) struct Runs {
    /// Of this hook: id or name.
    #[arg(long, default_value = "", hide_default_value = true)]
    hook: String,
    /// Of this execution.
    #[arg(long, default_value = "", hide_default_value = true)]
    execution: String,
    /// With this trigger.
    #[arg(long, default_value = "", hide_default_value = true)]
    trigger: String,
    /// completed, failed or skipped.
    #[arg(long, default_value = "", hide_default_value = true)]
    state: String,
    /// Begun at or after, RFC 3339.
    #[arg(long, default_value = "", hide_default_value = true)]
    since: String,
    /// Begun before, RFC 3339.
    #[arg(long, default_value = "", hide_default_value = true)]
    until: String,
    #[command(flatten)]
    page: PageArgs,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    let client = context.globals.server.connect().await?;
    match command {
        Command::List { trigger, enabled, disabled, prefix, page } => {
            let enabled = (enabled || disabled).then_some(enabled);
            let fetch = |page_size, page_token| {
                let (client, trigger, name_prefix) = (client.clone(), trigger.clone(), prefix.clone());
                let filter = HookFilter { trigger, enabled, name_prefix, page_size, page_token };
                async move { client.hooks(&filter).await }
            };
            let page = page.take(fetch).await?;
            out.result(&page, |out| {
                let headers = ["name", "trigger", "priority", "enabled", "command", "updated"];
                out.table(&headers, page.items.iter().map(row).collect(), "no hooks");
                more(out, &page);
            });
        }
        Command::Get { hook } => {
            let hook = client.hook(&hook).await?;
            out.result(&hook, |out| show(out, &hook));
        }
        Command::Create { name, trigger, command, rest } => {
            let mut definition = HookDefinition { name, trigger, command, ..HookDefinition::default() };
            rest.put(&mut definition);
            let hook = client.create_hook(&definition).await?;
            out.result(&hook, |out| out.line(format_args!("{} is {}", hook.name, hook.hook_id)));
        }
        Command::Update { hook, name, trigger, command, rest, expected_revision } => {
            let found = client.hook(&hook).await?;
            let mut definition = found.definition();
            definition.name = name.unwrap_or(definition.name);
            definition.trigger = trigger.unwrap_or(definition.trigger);
            definition.command = command.unwrap_or(definition.command);
            rest.put(&mut definition);
            let revision = expected_revision.unwrap_or(found.revision);
            let hook = client.update_hook(&found.hook_id, &definition, revision).await?;
            out.result(&hook, |out| out.line(format_args!("{} has revision {}", hook.name, hook.revision)));
        }
        Command::Enable { hook } => switch(out, &client, &hook, true).await?,
        Command::Disable { hook } => switch(out, &client, &hook, false).await?,
        Command::Delete { hook, expected_revision } => {
            client.delete_hook(&hook, expected_revision.unwrap_or_default()).await?;
            out.result(&serde_json::json!({"deleted": hook}), |out| {
                out.line(format_args!("{hook} is deleted"));
            });
        }
        Command::Runs(runs) => {
            let fetch = |page_size, page_token| {
                let client = client.clone();
                let filter = HookRunFilter {
                    hook: runs.hook.clone(),
                    execution_id: runs.execution.clone(),
                    trigger: runs.trigger.clone(),
                    state: runs.state.clone(),
                    since: runs.since.clone(),
                    until: runs.until.clone(),
                    page_size,
                    page_token,
                };
                async move { client.hook_runs(&filter).await }
            };
            let page = runs.page.take(fetch).await?;
            out.result(&page, |out| {
                let headers = ["run", "hook", "trigger", "execution", "task", "state", "decision", "started"];
                out.table(&headers, page.items.iter().map(run_row).collect(), "no runs");
                more(out, &page);
            });
        }
        Command::Run { run } => {
            let run = client.hook_run(&run).await?;
            out.result(&run, |out| {
                let headers = ["run", "hook", "trigger", "execution", "task", "state", "decision", "started"];
                out.table(&headers, vec![run_row(&run)], "");
                for text in [&run.message, &run.output].into_iter().flatten() {
                    out.line(text);
                }
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn switch(
    out: &Out,
    client: &api::client::Client,
    hook: &str,
    enabled: bool,
) -> Result<(), crate::exit::Failure> {
    let found = client.hook(hook).await?;
    let definition = HookDefinition { enabled: Some(enabled), ..found.definition() };
    let hook = client.update_hook(&found.hook_id, &definition, found.revision).await?;
    let word = if enabled { "enabled" } else { "disabled" };
    out.result(&hook, |out| out.line(format_args!("{} is {word}", hook.name)));
    Ok(())
}

fn row(hook: &Hook) -> Vec<String> {
    vec![
        hook.name.clone(),
        hook.trigger.clone(),
        hook.priority.to_string(),
        hook.enabled.to_string(),
        hook.command.clone(),
        time(&hook.updated_at),
    ]
}

fn run_row(run: &HookRun) -> Vec<String> {
    vec![
        run.run_id.clone(),
        run.hook_name.clone(),
        run.trigger.clone(),
        run.execution_id.clone().unwrap_or_default(),
        run.task_id.clone().unwrap_or_default(),
        run.state.clone(),
        run.decision.clone(),
        time(&run.started_at),
    ]
}

fn show(out: &Out, hook: &Hook) {
    let text = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    let rows = [
        ("id", hook.hook_id.clone()),
        ("name", hook.name.clone()),
        ("trigger", hook.trigger.clone()),
        ("command", hook.command.clone()),
        ("args", hook.args.join(" ")),
        ("priority", hook.priority.to_string()),
        ("enabled", hook.enabled.to_string()),
        ("always run", hook.always_run.to_string()),
        ("timeout", format!("{} ms", hook.timeout_ms)),
        ("on failure", text(&hook.on_failure, "as its trigger has it")),
        ("when", text(&hook.when, "always")),
        ("revision", hook.revision.to_string()),
        ("updated", time(&hook.updated_at)),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out.table(&["field", "value"], rows, "");
}
