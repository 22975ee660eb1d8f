//! Keys that are typed and kept, and get their effect from later work. Each one is reported, none is ignored.

use serde_json::Value;

use crate::text::tree::{Data, Key, Node};

use super::{
    Reading,
    fields::{Path, Plain},
};

/// What was read of them, by their place in the canonical form.
pub(crate) type Later = std::collections::BTreeMap<String, Value>;

impl Reading<'_> {
    pub(crate) fn no_effect(&mut self, key: &Key, path: Path<'_>, what: &str) {
        let message = format!("`{path}` is kept and has no effect yet: {what}");
        self.report.warning("no-effect-yet", key.at, path, message);
    }

    /// `coordination: {type, event_driven, graph_based}`.
    pub(crate) fn coordination(&mut self, node: &Node, path: Path<'_>, later: &mut Later) {
        let mut kept = serde_json::Map::new();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            let (name, read) = match Plain::of(&key.text).as_str() {
                "type" => {
                    let known = [
                        ("hybrid", "hybrid"),
                        ("graph_based", "graph_based"),
                        ("event_driven", "event_driven"),
                    ];
                    ("type", self.choice(value, here, &known).map(Value::from))
                }
                "eventdriven" => ("event_driven", Some(self.texts(value, here).into())),
                "graphbased" => ("graph_based", Some(self.texts(value, here).into())),
                _ => {
                    self.unknown_key(key, path, &["type", "event_driven", "graph_based"]);
                    continue;
                }
            };
            self.no_effect(key, here, "tasks are coordinated by the graph");
            kept.extend(read.map(|read| (name.to_owned(), read)));
        }
        later.insert("coordination".into(), kept.into());
    }

    /// `fault_tolerance: {circuit_breaker, saga_pattern}`.
    pub(crate) fn fault_tolerance(&mut self, node: &Node, path: Path<'_>, later: &mut Later) {
        let mut kept = serde_json::Map::new();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "circuitbreaker" => {
                    self.no_effect(key, here, "the installation's breaker applies");
                    kept.insert("circuit_breaker".into(), self.breaker(value, here));
                }
                "sagapattern" => {
                    self.no_effect(key, here, "no compensation is run");
                    kept.insert("saga_pattern".into(), self.saga(value, here));
                }
                _ => self.unknown_key(key, path, &["circuit_breaker", "saga_pattern"]),
            }
        }
        later.insert("fault_tolerance".into(), kept.into());
    }

    fn breaker(&mut self, node: &Node, path: Path<'_>) -> Value {
        let mut kept = serde_json::Map::new();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "failurethreshold" => {
                    kept.extend(
                        self.count(value, here, 1).map(|n| ("failure_threshold".to_owned(), n.into())),
                    );
                }
                "timeoutseconds" => {
                    let unit = base::time::BareUnit::Seconds;
                    let seconds = self.duration_in(value, here, unit).map(|d| d.as_secs_f64());
                    kept.extend(seconds.map(|s| ("timeout_seconds".to_owned(), whole(s))));
                }
                _ => self.unknown_key(key, path, &["failure_threshold", "timeout_seconds"]),
            }
        }
        kept.into()
    }

    fn saga(&mut self, node: &Node, path: Path<'_>) -> Value {
        let mut kept = serde_json::Map::new();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            let name = match Plain::of(&key.text).as_str() {
                "compensationenabled" => "compensation_enabled",
                "rollbackonfailure" => "rollback_on_failure",
                _ => {
                    self.unknown_key(key, path, &["compensation_enabled", "rollback_on_failure"]);
                    continue;
                }
            };
            kept.insert(name.into(), self.bool(value, here).into());
        }
        kept.into()
    }

    /// `compliance: [{level, policies, validation}]`.
    pub(crate) fn compliance(&mut self, node: &Node, path: Path<'_>, later: &mut Later) {
        let mut kept = Vec::new();
        for (n, item) in self.items(node, path).iter().enumerate() {
            let at = Path::Index(&path, n);
            let mut level = serde_json::Map::new();
            for (key, value) in self.entries(item, at) {
                let here = Path::Key(&at, &key.text);
                match Plain::of(&key.text).as_str() {
                    "level" => {
                        let known = ["bronze", "silver", "gold", "platinum"].map(|word| (word, word));
                        let word = self.choice(value, here, &known);
                        level.extend(word.map(|word| ("level".to_owned(), word.into())));
                    }
                    "policies" => {
                        level.insert("policies".into(), self.texts(value, here).into());
                    }
                    "validation" => {
                        level.insert("validation".into(), self.validation(value, here));
                    }
                    _ => self.unknown_key(key, at, &["level", "policies", "validation"]),
                }
            }
            kept.push(Value::Object(level));
        }
        later.insert("compliance".into(), kept.into());
    }

    fn validation(&mut self, node: &Node, path: Path<'_>) -> Value {
        let mut kept = serde_json::Map::new();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            let name = match Plain::of(&key.text).as_str() {
                "preexecution" => "pre_execution",
                "postexecution" => "post_execution",
                "continuous" => "continuous",
                _ => {
                    self.unknown_key(key, path, &["pre_execution", "post_execution", "continuous"]);
                    continue;
                }
            };
            kept.insert(name.into(), self.texts(value, here).into());
        }
        kept.into()
    }

    /// `memory` of a chain: a name, or a mapping that its kind will read.
    pub(crate) fn memory(&mut self, node: &Node, path: Path<'_>, later: &mut Later) {
        match &node.data {
            Data::Text(..) | Data::Map(_) | Data::Bool(_) => {
                later.insert("memory".into(), node.value());
            }
            _ => self.wrong_type(node, path, "the name of a memory or a mapping"),
        }
    }
}

/// A whole number without fraction, where it is one.
fn whole(seconds: f64) -> Value {
    if seconds.fract() == 0.0 { (seconds as u64).into() } else { seconds.into() }
}
