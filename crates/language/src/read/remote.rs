//! Work that another engine does: `provider` and what goes with it, on a task or on the whole definition.

use workflow::plan::{BUILT_IN, Child, InputSpec, NodeKind, Remote, Work};

use crate::{
    definition::{Body, BodyPlaces, Definition, Dialect, Elsewhere, Shape, Task},
    text::tree::{Data, Key, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain},
    tasks::empty,
};

/// The task of a definition that is done elsewhere as a whole.
const WHOLE: &str = "run";

/// Keys of a task that say something about an agent, in their plain form.
const OF_AGENTS: &[&str] = &[
    "agent",
    "agentid",
    "role",
    "capability",
    "capabilityid",
    "requirements",
    "tags",
    "pick",
    "route",
    "resources",
    "cache",
];

impl Reading<'_> {
    /// Reads a key of work that is done elsewhere; `false` = it is another key.
    pub(super) fn elsewhere_key(
        &mut self,
        said: &mut Option<Box<Elsewhere>>,
        key: &Key,
        value: &Node,
        path: Path<'_>,
    ) -> bool {
        let plain = Plain::of(&key.text);
        if !matches!(plain.as_str(), "provider" | "workflowtype" | "taskqueue" | "chain" | "graph") {
            return false;
        }
        let said = said.get_or_insert_default();
        let work = |work: Work| Some((work, key.at, key.text.clone()));
        let second = said.work.as_ref().map(|(_, _, first)| first.clone());
        match plain.as_str() {
            "provider" => said.provider = Some((self.word(value, path), key.at)),
            "taskqueue" => said.task_queue = Some((self.text(value, path), key.at)),
            _ if second.is_some() => {
                let first = second.unwrap_or_default();
                let message = format!("`{first}` and `{}` both say what is run", key.text);
                self.bad_value(key.at, path, message, "keep one of them");
            }
            "workflowtype" => said.work = work(Work::Workflow(self.word(value, path))),
            of => {
                if !matches!(value.data, Data::Map(_)) {
                    self.wrong_type(value, path, "a mapping");
                }
                let value = value.value();
                said.work = work(if of == "chain" { Work::Chain(value) } else { Work::Graph(value) });
            }
        }
        true
    }

    /// Makes a task of what was said about who does it.
    pub(super) fn done_elsewhere(&mut self, task: &mut Task, entries: &[(Key, Node)], path: Path<'_>) {
        let Some(said) = task.extra.as_mut().and_then(|extra| extra.elsewhere.take()) else { return };
        let Some((provider, at)) = said.provider else {
            let (key, at) = match (&said.work, &said.task_queue) {
                (Some((_, at, key)), _) => (key.as_str(), *at),
                (None, queue) => ("task_queue", queue.as_ref().map_or(Pos::default(), |(_, at)| *at)),
            };
            let message = format!("`{key}` is for work of another engine, and the task names none");
            self.report.error("missing-key", at, path, message).remedy("add `provider: …`");
            return;
        };
        for (key, _) in entries {
            if OF_AGENTS.contains(&Plain::of(&key.text).as_str()) {
                let message = format!("`{}` is for calls to agents, and this task has `provider`", key.text);
                let here = Path::Key(&path, &key.text);
                self.report.error("not-for-node", key.at, here, message).remedy("remove it");
            }
        }
        let Some((work, work_at, _)) = said.work else {
            let message = format!("the task does not say what `{provider}` runs");
            self.report.error("missing-key", at, path, message).remedy("add `workflow_type: …`");
            return;
        };
        task.places.node = at;
        if provider == BUILT_IN {
            match work {
                Work::Workflow(workflow) => {
                    self.check_key("workflow name", &workflow, work_at, path);
                    task.plan.kind =
                        NodeKind::Child(Child { workflow, version: String::new(), detached: false });
                }
                Work::Chain(_) | Work::Graph(_) => {
                    let message = format!("a {} inside of a task is for another engine", work.kind());
                    self.bad_value(work_at, path, message, "write its steps under `tasks`");
                }
            }
            return;
        }
        let task_queue = said.task_queue.map(|(queue, _)| queue).filter(|queue| !queue.is_empty());
        task.plan.remote = Some(Box::new(Remote { provider, work, task_queue }));
    }

    /// Makes one task of a definition that another engine runs as a whole. `false` = none does.
    pub(super) fn whole_elsewhere(
        &mut self,
        def: &mut Definition,
        said: Option<Box<Elsewhere>>,
        node: &Node,
        has_tasks: bool,
    ) -> bool {
        let Some(mut said) = said else { return false };
        let document = match def.dialect {
            Dialect::Chain => Some(Work::Chain as fn(_) -> _),
            Dialect::Graph => Some(Work::Graph as fn(_) -> _),
            _ => None,
        };
        let Some((provider, at)) = &said.provider else {
            if let Some((_, at, key)) = &said.work {
                let message = format!("`{key}` is for work of another engine, and the definition names none");
                self.report.error("missing-key", *at, key.as_str(), message).remedy("add `provider: …`");
            }
            if let Some((queue, at)) = said.task_queue {
                let key = Key { text: "task_queue".into(), at };
                self.no_effect(
                    &key,
                    Path::Key(&Path::Root, "task_queue"),
                    "the built-in engine has one queue",
                );
                def.metadata.insert("task_queue".into(), queue.into());
            }
            return false;
        };
        let (provider, at) = (provider.clone(), *at);
        let built_in = provider == BUILT_IN;
        match document {
            _ if built_in && said.work.is_none() => return false,
            Some(document) if said.work.is_none() => {
                let mut value = node.value();
                if let Some(members) = value.as_object_mut() {
                    members.retain(|key, _| !matches!(Plain::of(key).as_str(), "provider" | "taskqueue"));
                }
                said.work = Some((document(value), at, "provider".into()));
            }
            _ if has_tasks => {
                let message =
                    format!("`{provider}` runs the definition as a whole, and it has tasks of its own");
                let remedy =
                    "put `provider` on the tasks that it does, or name a `workflow_type` instead of tasks";
                self.bad_value(at, Path::Key(&Path::Root, "provider"), message, remedy);
                return true;
            }
            _ => {}
        }
        let mut task = empty(&Node { at, data: Data::Null }, Dialect::Canonical);
        task.plan.id = WHOLE.into();
        task.plan.input = InputSpec::Execution;
        task.extra.get_or_insert_default().elsewhere = Some(said);
        self.done_elsewhere(&mut task, &[], Path::Root);
        def.shape = Shape::Dag;
        def.body = Body {
            tasks: vec![task],
            places: BodyPlaces { at, tasks: "tasks", ..BodyPlaces::default() },
            ..Body::default()
        };
        true
    }
}
