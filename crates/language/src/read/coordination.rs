//! `coordination`: which parts the graph drives, which parts events drive, and which topics the workflow knows.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::{
    definition::Definition,
    text::tree::{Data, Node},
};

use super::{
    Reading,
    fields::{Path, Plain},
};

/// Keys of `coordination`.
pub(crate) const KEYS: &[&str] = &["type", "event_driven", "graph_based"];
/// Topics that the installation feeds: changes of agents, results of tasks.
pub(crate) const BUILT_IN_TOPICS: &[&str] = &["agent_status", "data_updates"];
/// Names for the edges of the graph.
const EDGES: &[&str] = &["task_flow", "dependencies"];

impl Reading<'_> {
    /// `coordination: {type, event_driven, graph_based}`. Kept in the metadata, where it is shown.
    pub(super) fn coordination(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let mut kept = Map::new();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "type" => {
                    let known = [
                        ("hybrid", "hybrid"),
                        ("graph_based", "graph_based"),
                        ("event_driven", "event_driven"),
                    ];
                    kept.extend(
                        self.choice(value, here, &known).map(|word| ("type".to_owned(), Value::from(word))),
                    );
                }
                "eventdriven" => {
                    self.event_driven(def, value, here);
                    kept.insert("event_driven".into(), value.value());
                }
                "graphbased" => {
                    for (name, at) in self.texts_at(value, here) {
                        def.places.graph_based.push((name, at));
                    }
                    kept.insert("graph_based".into(), value.value());
                }
                _ => self.unknown_key(key, path, KEYS),
            }
        }
        def.metadata.insert("coordination".into(), kept.into());
    }

    /// Topics, and tasks that events of a topic start: `[topic]`, `{task: topic}`, or both in a list.
    fn event_driven(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        match &node.data {
            Data::Map(entries) => {
                for (key, value) in entries {
                    let topic = self.text(value, Path::Key(&path, &key.text));
                    def.places.topics.insert(topic.clone(), value.at);
                    def.places.on_events.push((key.text.clone(), topic, key.at));
                }
            }
            Data::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    let here = Path::Index(&path, n);
                    match &item.data {
                        Data::Map(_) => self.event_driven(def, item, here),
                        _ => {
                            let topic = self.text(item, here);
                            def.places.topics.insert(topic, item.at);
                        }
                    }
                }
            }
            _ => {
                for (topic, at) in self.texts_at(node, path) {
                    def.places.topics.insert(topic, at);
                }
            }
        }
    }

    /// Gives the tasks that are named their topics, and finds names that are nothing.
    pub(super) fn coordinate(&mut self, def: &mut Definition) {
        if def.places.on_events.is_empty() && def.places.graph_based.is_empty() {
            return;
        }
        let ids: HashMap<String, usize> =
            def.body.tasks.iter().enumerate().map(|(n, task)| (task.plan.id.clone(), n)).collect();
        for (name, topic, at) in std::mem::take(&mut def.places.on_events) {
            match ids.get(&name) {
                Some(&n) => def.body.tasks[n].on_event = Some(topic),
                None => {
                    let message = format!("there is no task `{name}`");
                    self.report
                        .error("unknown-task", at, "coordination.event_driven", message)
                        .remedy("name a task of this definition");
                }
            }
        }
        for (name, at) in std::mem::take(&mut def.places.graph_based) {
            if !EDGES.contains(&name.as_str()) && !ids.contains_key(&name) {
                let message = format!("`{name}` is no part of the graph");
                self.report
                    .error("unknown-task", at, "coordination.graph_based", message)
                    .remedy("write `task_flow`, `dependencies` or the id of a task");
            }
        }
    }
}
