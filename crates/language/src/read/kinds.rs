//! What a task does beside calling an agent: switch, transform, set, emit, sub-workflow, fail, end, and who is picked.

use serde_json::Value;
use workflow::plan::{Case, Child, Emit, InputSpec, NodeKind, Pick};

use crate::{
    definition::{Dialect, Place, Task},
    range::VersionRange,
    text::tree::{Data, Key, Node},
};

use super::{
    Reading,
    fields::{Path, Plain},
    tasks::empty,
};

/// Keys of `switch`.
pub(crate) const SWITCH_KEYS: &[&str] = &["cases", "otherwise", "many"];
/// Keys of a case.
pub(crate) const CASE_KEYS: &[&str] = &["name", "when", "then"];
/// Keys of `emit`.
pub(crate) const EMIT_KEYS: &[&str] = &["topic", "type", "payload", "key", "priority"];
/// Keys of `workflow` as a task.
pub(crate) const CHILD_KEYS: &[&str] = &["name", "version", "detached"];
/// Keys of `fail`.
pub(crate) const FAIL_KEYS: &[&str] = &["message", "class"];
/// Keys of `pick`.
pub(crate) const PICK_KEYS: &[&str] = &["by", "among"];
/// Keys of who may be picked.
pub(crate) const NEED_KEYS: &[&str] = &["agent", "role", "agent_id", "capability", "requirements", "tags"];

impl Reading<'_> {
    /// `switch: {cases: [{name, when, then}], otherwise, many}`, or the list of cases alone.
    pub(super) fn switch(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let (mut cases, mut otherwise, mut many) = (Vec::new(), None, false);
        let mut said = false;
        match &node.data {
            Data::List(items) => {
                said = !items.is_empty();
                cases = self.cases(task, node, path);
            }
            _ => {
                for (key, value) in self.entries(node, path) {
                    let here = Path::Key(&path, &key.text);
                    match Plain::of(&key.text).as_str() {
                        "cases" => {
                            said = !matches!(&value.data, Data::List(items) if items.is_empty());
                            cases = self.cases(task, value, here);
                        }
                        "otherwise" | "default" | "else" => {
                            let label = self.word(value, here);
                            task.extra().thens.push((label.clone(), label.clone(), value.at, true));
                            otherwise = Some(label).filter(|label| !label.is_empty());
                        }
                        "many" => many = self.bool(value, here),
                        _ => self.unknown_key(key, path, SWITCH_KEYS),
                    }
                }
            }
        }
        if !said && otherwise.is_none() {
            let message = "a switch has at least one case";
            self.report
                .error("missing-key", node.at, path, message)
                .remedy("add `cases: [{when: …, then: …}]`");
        }
        task.plan.kind = NodeKind::Switch { cases, otherwise, many };
    }

    fn cases(&mut self, task: &mut Task, node: &Node, path: Path<'_>) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        let mut names = std::collections::HashSet::new();
        for (n, item) in self.items(node, path).iter().enumerate() {
            let at = Path::Index(&path, n);
            let (mut name, mut when, mut then) = (String::new(), None, Vec::new());
            for (key, value) in self.entries(item, at) {
                let here = Path::Key(&at, &key.text);
                match Plain::of(&key.text).as_str() {
                    "name" | "case" => name = self.word(value, here),
                    "when" | "if" => {
                        let place = Place::Node("switch");
                        when = self.expression(value, here, place, &mut task.places.reads);
                    }
                    "then" => then = self.texts_at(value, here),
                    _ => self.unknown_key(key, at, CASE_KEYS),
                }
            }
            if name.is_empty() {
                name = then.first().map_or_else(|| format!("case-{}", n + 1), |(target, _)| target.clone());
            }
            if !names.insert(name.clone()) {
                let message = format!("the case `{name}` is there twice");
                self.bad_value(item.at, at, message, "give each case its own `name`");
            }
            let Some(when) = when else {
                let message = format!("the case `{name}` has no condition");
                self.report.error("missing-key", item.at, at, message).remedy("add `when: …`");
                continue;
            };
            let thens = then.into_iter().map(|(target, at)| (name.clone(), target, at, false));
            let thens: Vec<_> = thens.collect();
            if !thens.is_empty() {
                task.extra().thens.extend(thens);
            }
            cases.push(Case { name, when });
        }
        cases
    }

    /// `transform`: a template is the output.
    pub(super) fn transform(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let value = self.template(node, path, Place::Node("transform"), &mut task.places.reads);
        task.plan.kind = NodeKind::Transform { value };
    }

    /// `set`: variables of the execution.
    pub(super) fn set(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        self.entries(node, path);
        let vars = self.template(node, path, Place::Node("set"), &mut task.places.reads);
        task.plan.kind =
            NodeKind::Set { vars: if vars.is_object() { vars } else { Value::Object(Default::default()) } };
    }

    /// `emit`: a topic, or `{topic, type, payload, key, priority}`.
    pub(super) fn emit(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let mut emit = Emit {
            topic: String::new(),
            event_type: String::new(),
            payload: Value::Null,
            key: None,
            priority: 0,
        };
        let reads = &mut task.places.reads;
        let place = Place::Node("emit");
        if node.text().is_some() {
            emit.topic = self.template_words(node, path, place, reads);
        } else {
            for (key, value) in self.entries(node, path) {
                let here = Path::Key(&path, &key.text);
                match Plain::of(&key.text).as_str() {
                    "topic" | "event" => emit.topic = self.template_words(value, here, place, reads),
                    "type" => emit.event_type = self.text(value, here),
                    "payload" | "data" => emit.payload = self.template(value, here, place, reads),
                    "key" | "correlationkey" | "correlationid" => {
                        emit.key = self.expression(value, here, place, reads)
                    }
                    "priority" => emit.priority = self.priority(value, here),
                    _ => self.unknown_key(key, path, EMIT_KEYS),
                }
            }
        }
        if emit.topic.is_empty() {
            let message = "an event has a topic";
            self.report.error("missing-key", node.at, path, message).remedy("add `topic: …`");
        }
        task.plan.kind = NodeKind::Emit(emit);
    }

    /// A whole number, or `low`, `normal`, `high`, `critical`.
    pub(super) fn priority(&mut self, node: &Node, path: Path<'_>) -> i32 {
        match &node.data {
            Data::Text(..) => {
                let known = [("low", -10), ("normal", 0), ("medium", 0), ("high", 10), ("critical", 20)];
                self.choice(node, path, &known).unwrap_or(0)
            }
            _ => self.integer(node, path),
        }
    }

    /// A text with expressions in it.
    pub(super) fn template_words(
        &mut self,
        node: &Node,
        path: Path<'_>,
        place: Place,
        reads: &mut Vec<crate::definition::Read>,
    ) -> String {
        let text = self.text(node, path);
        if text.contains("${") {
            self.template(node, path, place, reads);
        }
        text
    }

    /// `workflow: name@range`, or `{name, version, detached}`.
    pub(super) fn child(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let mut child = Child { workflow: String::new(), version: String::new(), detached: false };
        let reads = &mut task.places.reads;
        let mut at = node.at;
        if node.text().is_some() {
            let text = self.template_words(node, path, Place::Node("workflow"), reads);
            match text.split_once('@') {
                Some((name, version)) => (child.workflow, child.version) = (name.into(), version.into()),
                None => child.workflow = text,
            }
        } else {
            for (key, value) in self.entries(node, path) {
                let here = Path::Key(&path, &key.text);
                match Plain::of(&key.text).as_str() {
                    "name" | "id" => {
                        child.workflow = self.template_words(value, here, Place::Node("workflow"), reads);
                    }
                    "version" => (child.version, at) = (self.word(value, here), value.at),
                    "detached" => child.detached = self.bool(value, here),
                    _ => self.unknown_key(key, path, CHILD_KEYS),
                }
            }
        }
        if child.workflow.is_empty() {
            let message = "a sub-workflow has a name";
            self.report.error("missing-key", node.at, path, message).remedy("add `name: …`");
        } else if !child.workflow.contains("${") {
            self.check_key("workflow name", &child.workflow, node.at, path);
        }
        if let Err(rule) = VersionRange::parse(&child.version) {
            self.bad_value(at, path, rule, "write a version or a range: 1.2.0, ^1.2, >=2, <3");
        }
        task.plan.kind = NodeKind::Child(child);
    }

    /// `fail: message`, or `{message, class}`.
    pub(super) fn fail(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let (mut message, mut class) = (String::new(), base::FailureClass::Error);
        let (place, reads) = (Place::Node("fail"), &mut task.places.reads);
        if node.text().is_some() {
            message = self.template_words(node, path, place, reads);
        } else {
            for (key, value) in self.entries(node, path) {
                let here = Path::Key(&path, &key.text);
                match Plain::of(&key.text).as_str() {
                    "message" => message = self.template_words(value, here, place, reads),
                    "class" => class = self.failure_classes(value, here).first().copied().unwrap_or(class),
                    _ => self.unknown_key(key, path, FAIL_KEYS),
                }
            }
        }
        if message.is_empty() {
            message = format!("`{}` fails", task.plan.id);
        }
        task.plan.kind = NodeKind::Fail { message, class };
    }

    /// `end: true`, or `{output}`.
    pub(super) fn end(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let mut output = None;
        match &node.data {
            Data::Bool(true) | Data::Null => {}
            Data::Bool(false) => self.bad_value(node.at, path, "this task would do nothing", "remove it"),
            _ => {
                for (key, value) in self.entries(node, path) {
                    let here = Path::Key(&path, &key.text);
                    match Plain::of(&key.text).as_str() {
                        "output" => {
                            let place = Place::Node("end");
                            output = Some(self.template(value, here, place, &mut task.places.reads));
                        }
                        _ => self.unknown_key(key, path, &["output"]),
                    }
                }
            }
        }
        task.plan.kind = NodeKind::End { output };
    }

    /// `pick: {by, among}`: an earlier answer names who does it.
    pub(super) fn pick(&mut self, task: &mut Task, node: &Node, path: Path<'_>, dialect: Dialect) {
        let (mut by, mut among, mut at) = (None, Vec::new(), node.at);
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "by" => by = self.expression(value, here, Place::Node("pick"), &mut task.places.reads),
                "among" => (among, at) = (self.among(value, here, dialect), value.at),
                _ => self.unknown_key(key, path, PICK_KEYS),
            }
        }
        let Some(by) = by else {
            let message = "who is picked follows from an expression";
            self.report.error("missing-key", node.at, path, message).remedy("add `by: …`");
            return;
        };
        if among.is_empty() {
            let message = "nobody can be picked";
            self.report.error("missing-key", at, path, message).remedy("add `among: [role, …]`");
        }
        task.plan.pick = Some(Pick { by, among: Default::default() });
        task.extra().among = among;
    }

    /// Names of roles (of agents where no roles are declared), or a mapping from name to who that is.
    fn among(&mut self, node: &Node, path: Path<'_>, dialect: Dialect) -> Vec<(String, Task)> {
        match &node.data {
            Data::Map(entries) => entries
                .iter()
                .map(|(key, value)| {
                    let here = Path::Key(&path, &key.text);
                    let mut who = empty(value, dialect);
                    who.plan.id.clone_from(&key.text);
                    who.places.agent = key.at;
                    match &value.data {
                        Data::Null => who.agent = Some(key.text.clone()),
                        Data::Text(text, _) => {
                            who.agent = Some(text.clone());
                            who.places.agent = value.at;
                        }
                        _ => {
                            for (key, value) in self.entries(value, here) {
                                let plain = Plain::of(&key.text);
                                match NEED_KEYS
                                    .iter()
                                    .any(|known| Plain::of(known).as_str() == plain.as_str())
                                {
                                    true => self.task_key(&mut who, key, value, here, dialect),
                                    false => self.unknown_key(key, here, NEED_KEYS),
                                }
                            }
                        }
                    }
                    (key.text.clone(), who)
                })
                .collect(),
            _ => self
                .texts_at(node, path)
                .into_iter()
                .map(|(name, at)| {
                    let mut who = empty(&Node { at, data: Data::Null }, dialect);
                    who.plan.id.clone_from(&name);
                    who.agent = Some(name.clone());
                    (name, who)
                })
                .collect(),
        }
    }

    /// `compensate`: a capability, or a task without an id and without order.
    pub(super) fn compensate(&mut self, task: &mut Task, node: &Node, path: Path<'_>, dialect: Dialect) {
        let mut undo = match &node.data {
            Data::Text(capability, _) => {
                let mut undo = empty(node, dialect);
                undo.plan.need.capability = Some(capability.clone());
                undo
            }
            Data::Map(_) => {
                let mut undo = empty(node, dialect);
                for (key, value) in self.entries(node, path) {
                    match Plain::of(&key.text).as_str() {
                        "id" | "dependson" | "dependencies" | "join" | "rest" | "tasks" | "compensate"
                        | "pick" | "onevent" => {
                            let here = Path::Key(&path, &key.text);
                            let message = format!("`{}` is not known in a compensation", key.text);
                            self.report
                                .error("not-for-node", key.at, here, message)
                                .remedy("a compensation is one call; put more into a sub-workflow");
                        }
                        _ => self.task_key(&mut undo, key, value, path, dialect),
                    }
                }
                self.done_elsewhere(&mut undo, self::entries(node), path);
                undo
            }
            _ => return self.wrong_type(node, path, "a capability or a mapping"),
        };
        undo.plan.id = "compensate".into();
        let takes_input = matches!(undo.plan.kind, NodeKind::Call | NodeKind::Child(_));
        if takes_input && undo.plan.input == InputSpec::Context && undo.places.input == Default::default() {
            undo.plan.input = InputSpec::Template(Value::Object(
                [("output".to_owned(), Value::from("${ output }"))].into_iter().collect(),
            ));
        }
        task.compensate = Some(Box::new(undo));
    }
}

fn entries(node: &Node) -> &[(Key, Node)] {
    node.map().unwrap_or_default()
}
