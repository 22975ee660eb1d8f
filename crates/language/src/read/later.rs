//! Keys that are typed and kept, and get their effect from later work. Each one is reported, none is ignored.

use serde_json::Value;

use crate::{
    definition::Definition,
    text::tree::{Key, Node},
};

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

    /// `fault_tolerance: {circuit_breaker, saga_pattern}`.
    pub(crate) fn fault_tolerance(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let mut kept = serde_json::Map::new();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "circuitbreaker" => {
                    self.no_effect(key, here, "the installation's breaker applies");
                    kept.insert("circuit_breaker".into(), self.breaker(value, here));
                }
                "sagapattern" => {
                    self.saga_pattern(def, value, here);
                }
                _ => self.unknown_key(key, path, &["circuit_breaker", "saga_pattern"]),
            }
        }
        if !kept.is_empty() {
            def.later.insert("fault_tolerance".into(), kept.into());
        }
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
}

/// A whole number without fraction, where it is one.
fn whole(seconds: f64) -> Value {
    if seconds.fract() == 0.0 { (seconds as u64).into() } else { seconds.into() }
}
