//! S4: chains of steps, graphs of nodes and edges.

use serde_json::{Value, json};
use workflow::plan::OutputSpec;

use crate::{
    definition::{Definition, Dialect},
    text::tree::{Data, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain},
};

impl Reading<'_> {
    /// Nodes of a graph: a list, or a mapping from name to what it is.
    pub(crate) fn nodes(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        match &node.data {
            Data::Map(entries) => {
                for (key, value) in entries {
                    let here = Path::Key(&path, &key.text);
                    let task = self.task(value, here, Some(key), Dialect::Graph);
                    def.tasks.push(task);
                }
            }
            Data::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    let task = self.task(item, Path::Index(&path, n), None, Dialect::Graph);
                    def.tasks.push(task);
                }
            }
            _ => self.wrong_type(node, path, "a list or a mapping of nodes"),
        }
    }

    /// Edges of a graph: `[source, target]` or `{from, to}`.
    pub(crate) fn edges(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        for (n, item) in self.items(node, path).iter().enumerate() {
            let here = Path::Index(&path, n);
            let ends = match &item.data {
                Data::List(ends) => match ends.as_slice() {
                    [source, target] => Some((self.word(source, here), self.word(target, here), target.at)),
                    _ => None,
                },
                Data::Map(_) => self.edge_map(item, here),
                _ => None,
            };
            match ends {
                Some((source, target, at)) => def.places.edges.push((source, target, at)),
                None => self.wrong_type(item, here, "an edge: [source, target] or {from: …, to: …}"),
            }
        }
    }

    fn edge_map(&mut self, node: &Node, path: Path<'_>) -> Option<(String, String, Pos)> {
        let (mut source, mut target) = (None, None);
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "from" | "source" | "sourcenode" => source = Some(self.word(value, here)),
                "to" | "target" | "targetnode" => target = Some((self.word(value, here), value.at)),
                _ => self.unknown_key(key, path, &["from", "to"]),
            }
        }
        let (target, at) = target?;
        Some((source?, target, at))
    }

    /// Names of entry or finish points.
    pub(crate) fn points(&mut self, node: &Node, path: Path<'_>) -> Vec<(String, Pos)> {
        self.texts_at(node, path)
    }

    /// `input_keys` of a chain: keys that the execution's input has.
    pub(crate) fn input_keys(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let keys = self.texts(node, path);
        def.places.input_schema = node.at;
        def.input_schema = Some(json!({"type": "object", "required": keys}));
    }

    /// `output_keys` of a chain: what is taken of the last step's output, and what that has to have.
    pub(crate) fn output_keys(&mut self, def: &mut Definition, keys: &[String], at: Pos) {
        let Some(last) = def.tasks.last_mut() else { return };
        def.places.output = at;
        let id = &last.plan.id;
        let of = |key: &String| format!("${{ tasks[{}].output[{}] }}", json!(id), json!(key));
        def.output =
            OutputSpec::Template(keys.iter().map(|key| (key.clone(), Value::from(of(key)))).collect());
        if last.plan.output_schema.is_none() {
            last.plan.output_schema = Some(json!({"type": "object", "required": keys}));
        }
    }
}
