//! What an execution may take: time, calls, retries, resources.

use base::units;

use crate::{
    definition::Definition,
    text::tree::{Data, Key, Node},
};

use super::{
    Reading,
    fields::{Path, Plain},
};

/// Keys of `limits` and `constraints`.
pub(crate) const KEYS: &[&str] = &[
    "timeout",
    "max_retries",
    "allowed_failures",
    "max_calls",
    "queue_size",
    "concurrency",
    "resources",
    "budget",
    "max_execution_time",
    "resource_limits",
    "compliance_required",
];

impl Reading<'_> {
    /// `limits` of the canonical form and `constraints` of S0.
    pub(super) fn limits(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            let limits = &mut def.limits;
            match Plain::of(&key.text).as_str() {
                "budget" => self.budget(def, value, here),
                "timeout" | "maxexecutiontime" => limits.timeout = self.duration(value, here),
                "maxretries" => limits.max_retries = self.count(value, here, 0),
                "allowedfailures" => limits.allowed_failures = self.count(value, here, 0).unwrap_or(0),
                "maxcalls" => lower(&mut limits.max_calls, self.count(value, here, 1)),
                "queuesize" => limits.queue_size = self.count(value, here, 1),
                "concurrency" => limits.concurrency = self.count(value, here, 1),
                "resources" | "resourcelimits" => {
                    let (resources, calls) = self.resources_and_calls(value, here);
                    limits.resources = Some(resources);
                    lower(&mut limits.max_calls, calls);
                }
                "compliancerequired" => {
                    let required = self.bool(value, here);
                    if required {
                        self.no_effect(key, here, "no policy is checked");
                    }
                    def.later.insert("compliance_required".into(), required.into());
                }
                _ => self.unknown_key(key, path, KEYS),
            }
        }
    }

    pub(super) fn workflow_resources(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let (resources, calls) = self.resources_and_calls(node, path);
        def.resources = resources;
        def.places.resources = node.at;
        lower(&mut def.limits.max_calls, calls);
    }

    /// `{cpu, memory, network, maxConcurrency}` of S0.
    fn resources_and_calls(&mut self, node: &Node, path: Path<'_>) -> (units::Resources, Option<u32>) {
        let mut calls = None;
        let Data::Map(entries) = &node.data else { return (self.resources(node, path), None) };
        let is_calls = |key: &Key| Plain::of(&key.text).as_str() == "maxconcurrency";
        for (key, value) in entries.iter().filter(|(key, _)| is_calls(key)) {
            calls = self.count(value, Path::Key(&path, &key.text), 1);
        }
        let rest = entries.iter().filter(|(key, _)| !is_calls(key)).cloned().collect();
        (self.resources(&Node { at: node.at, data: Data::Map(rest) }, path), calls)
    }
}

/// The smaller of two limits.
pub(super) fn lower(limit: &mut Option<u32>, other: Option<u32>) {
    *limit = match (*limit, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}
