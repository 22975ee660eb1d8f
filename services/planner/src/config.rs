//! The planner's settings, taken from the tree that all services share.

use std::sync::Arc;

use language::{Defaults, Kinds, Limits, Provider};
use runtime::Settings;

/// What the planner reads of the settings.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How large a definition may be.
    pub(crate) limits: Limits,
    /// What definitions that do not say get.
    pub(crate) defaults: Defaults,
    /// Which kinds of definitions are taken.
    pub(crate) kinds: Kinds,
    /// Other engines, and what they can do.
    pub(crate) providers: Arc<[Provider]>,
}

impl Options {
    /// `engines`: those of the program beside those of the release.
    pub(crate) fn of(settings: &Settings, engines: Vec<Provider>) -> Self {
        let own = &settings.planner;
        let limits = Limits {
            source_bytes_max: own.definition_max.len(),
            depth_max: own.depth_max as usize,
            aliases_max: own.aliases_max as usize,
            ..Limits::for_tasks(own.nodes_max as usize)
        };
        let defaults = Defaults {
            chain_timeout: own.chain_timeout,
            chain_retries: own.chain_retries,
            graph_max_workers: own.graph_max_workers,
            graph_parallel: own.graph_parallel,
            task_queue: Some(own.task_queue.clone()).filter(|queue| !queue.is_empty()),
        };
        let kinds = Kinds { chains: own.chains, graphs: own.graphs, workflows: own.workflows };
        Self { limits, defaults, kinds, providers: [providers(settings), engines].concat().into() }
    }
}

/// The engines of this release, and which setting those lack that are not set up.
fn providers(settings: &Settings) -> Vec<Provider> {
    let own = &settings.providers;
    let mut known = Provider::shipped();
    for provider in &mut known {
        let (address, setting) = match provider.name.as_str() {
            "temporal" => (&own.temporal_address, "providers.temporal_address"),
            "orchestra" => (&own.orchestra_address, "providers.orchestra_address"),
            _ => continue,
        };
        provider.lacks = address.is_none().then(|| setting.to_owned());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_defaults_follow_the_settings() {
        let mut settings = Settings::default();
        settings.planner.nodes_max = 10;
        settings.planner.chain_retries = Some(2);
        settings.planner.graph_parallel = false;
        let options = Options::of(&settings, Vec::new());
        assert_eq!((options.limits.tasks_max, options.limits.depth_max), (10, 64));
        assert_eq!(options.limits.source_bytes_max, 32 << 20);
        assert_eq!(options.defaults.chain_retries, Some(2));
        assert!(!options.defaults.graph_parallel);
        assert_eq!(options.defaults.task_queue.as_deref(), Some("default"));
    }
}
