//! S4: chains of steps, graphs of nodes and edges.

use serde_json::{Value, json};
use workflow::plan::{Edge, OutputSpec};

use crate::{
    definition::{Definition, Dialect, Link, Task},
    text::tree::{Data, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain},
    flow::Label,
};

impl Reading<'_> {
    /// Nodes of a graph: a list, or a mapping from name to what it is.
    pub(crate) fn nodes(&mut self, node: &Node, path: Path<'_>) -> Vec<Task> {
        match &node.data {
            Data::Map(entries) => entries
                .iter()
                .take(self.limits.tasks_max)
                .map(|(key, value)| {
                    let here = Path::Key(&path, &key.text);
                    self.task(value, here, Some(key), Dialect::Graph)
                })
                .collect(),
            Data::List(_) => self.task_list(node, path, Dialect::Graph),
            _ => {
                self.wrong_type(node, path, "a list or a mapping of nodes");
                Vec::new()
            }
        }
    }

    /// Edges of a graph: `[source, target]` or `{from, to}`, with `case` or `on` and `classes`.
    pub(crate) fn edges(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        for (n, item) in self.items(node, path).iter().enumerate() {
            let here = Path::Index(&path, n);
            let links = match &item.data {
                Data::List(ends) => match ends.as_slice() {
                    [source, target] => {
                        let (from, to) = (self.word(source, here), self.word(target, here));
                        vec![Link { from, to, edge: Edge::Done, at: target.at }]
                    }
                    _ => Vec::new(),
                },
                Data::Map(_) => self.edge_map(item, here),
                _ => Vec::new(),
            };
            if links.is_empty() {
                self.wrong_type(item, here, "an edge: [source, target] or {from: …, to: …}");
            }
            def.body.places.edges.extend(links);
        }
    }

    fn edge_map(&mut self, node: &Node, path: Path<'_>) -> Vec<Link> {
        let (mut source, mut target) = (None, None);
        let mut label = Label::default();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "from" | "source" | "sourcenode" => source = Some(self.word(value, here)),
                "to" | "target" | "targetnode" => target = Some((self.word(value, here), value.at)),
                _ if self.label_key(&mut label, &key.text, value, here) => {}
                _ => self.unknown_key(key, path, &["from", "to", "case", "on", "classes"]),
            }
        }
        let edges = self.edges_of(label, node, path);
        let (Some(from), Some((to, at))) = (source, target) else { return Vec::new() };
        edges.into_iter().map(|edge| Link { from: from.clone(), to: to.clone(), edge, at }).collect()
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
        let Some(last) = def.body.tasks.last_mut() else { return };
        def.body.places.output = at;
        let id = &last.plan.id;
        let of = |key: &String| format!("${{ tasks[{}].output[{}] }}", json!(id), json!(key));
        def.body.output =
            OutputSpec::Template(keys.iter().map(|key| (key.clone(), Value::from(of(key)))).collect());
        if last.plan.output_schema.is_none() {
            last.plan.output_schema = Some(json!({"type": "object", "required": keys}));
        }
    }
}
