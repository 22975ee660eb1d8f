//! The settings of hooks as their parts take them.

use std::{collections::BTreeMap, path::PathBuf};

use runtime::Settings;

use super::{
    HookOptions,
    act::{ActionOptions, CommandLimits, WebhookOptions},
};

impl HookOptions {
    /// What the settings say.
    pub fn of(settings: &Settings) -> Self {
        let (h, bus) = (&settings.hooks, &settings.bus);
        Self {
            actions: actions(settings),
            timeout_max: h.timeout_max,
            hooks_max: h.hooks_max.into(),
            refresh_every: h.refresh_interval,
            concurrency: h.concurrency as usize,
            retention: h.log_retention,
            payload_bytes_max: h.input_max.len(),
            partitions: bus.partitions,
            deliveries_max: bus.deliveries_max,
            claim_after: bus.claim_after,
            cluster: settings.node.cluster.clone(),
            ..Self::default()
        }
    }
}

fn actions(settings: &Settings) -> ActionOptions {
    let h = &settings.hooks;
    ActionOptions {
        commands: h.commands.clone(),
        formatters: formatters(&h.formatters),
        working_dir: h.working_dir.as_ref().map_or_else(std::env::temp_dir, PathBuf::from),
        files_root: h.files_root.as_ref().map(PathBuf::from),
        limits: CommandLimits {
            cpu_seconds: h.command_cpu.as_secs().max(1),
            memory_bytes: h.command_memory.0,
            files: h.command_files.into(),
            file_bytes: h.command_file_size.0,
            output_bytes: h.output_max.len(),
        },
        webhooks: WebhookOptions {
            secret: h.webhook_secret.as_ref().map(|s| s.expose().to_owned()).unwrap_or_default(),
            attempts: h.webhook_attempts,
            base_delay: h.webhook_base_delay,
            allow_private: h.webhook_private,
            answer_bytes: h.output_max.len(),
        },
        search_cache_bytes: h.search_cache_max.0,
        search_cache_ttl: h.search_cache_ttl,
    }
}

/// `rs=/usr/bin/rustfmt --edition 2024` by extension; words are separated by blanks.
fn formatters(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let read = |line: &String| {
        let (extension, run) = line.split_once('=')?;
        let words = run.split_whitespace().map(str::to_owned).collect();
        Some((extension.trim().to_ascii_lowercase(), words))
    };
    lines.iter().filter_map(read).collect()
}
