//! Tasks that wait: for time, events, signals, people, an operator.

use base::time::{BareUnit, parse_duration};
use workflow::plan::{Approval, Escalation, NodeKind, Wait};

use crate::{
    definition::{Place, Task},
    text::tree::{Data, Key, Node},
};

use super::{
    Reading,
    fields::{Path, Plain},
};

/// Keys of `wait`.
pub(crate) const WAIT_KEYS: &[&str] =
    &["timer", "until", "event", "signal", "approval", "step", "filter", "key", "count", "timeout"];
/// Keys of an event that is waited for.
pub(crate) const EVENT_KEYS: &[&str] = &["topic", "filter", "key", "count"];
/// Keys of a signal that is waited for.
pub(crate) const SIGNAL_KEYS: &[&str] = &["name", "schema"];
/// Keys of `approval`.
pub(crate) const APPROVAL_KEYS: &[&str] = &["title", "who", "form", "escalate", "timeout"];

/// An event that is waited for, as it is read.
struct Awaited {
    topic: String,
    filter: Option<String>,
    key: Option<String>,
    count: u32,
}

impl Reading<'_> {
    /// `wait`: a duration, or one of `timer`, `until`, `event`, `signal`, `approval` and `step`.
    pub(super) fn wait(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let (mut found, mut said) = (None::<Wait>, !matches!(node.data, Data::Map(_)));
        let mut event = Awaited { topic: String::new(), filter: None, key: None, count: 1 };
        if !matches!(node.data, Data::Map(_)) {
            found = self.timer(task, node, path);
        } else {
            for (key, value) in self.entries(node, path) {
                let here = Path::Key(&path, &key.text);
                let wait = match Plain::of(&key.text).as_str() {
                    "timer" | "until" => self.timer(task, value, here),
                    "event" => {
                        self.awaited(task, &mut event, value, here);
                        Some(Wait::Step)
                    }
                    "signal" => self.signal(value, here),
                    "approval" => Some(Wait::Approval(self.approval(task, value, here))),
                    "step" => self.bool(value, here).then_some(Wait::Step),
                    "timeout" => {
                        task.plan.timeouts.total = self.duration(value, here);
                        continue;
                    }
                    _ if self.event_key(task, &mut event, key, value, here) => continue,
                    _ => {
                        self.unknown_key(key, path, WAIT_KEYS);
                        continue;
                    }
                };
                said = true;
                if let Some(wait) = wait
                    && found.replace(wait).is_some()
                {
                    let message = "a task waits for one thing";
                    self.bad_value(key.at, here, message, "make two tasks of it");
                }
            }
            if !event.topic.is_empty() {
                let Awaited { topic, filter, key, count } = event;
                found = Some(Wait::Event { topic, filter, key, count });
            }
        }
        match found {
            Some(wait) => task.plan.kind = NodeKind::Wait(wait),
            None if said => task.plan.kind = NodeKind::Wait(Wait::Step),
            None => {
                let message = "it does not say what is waited for";
                self.report
                    .error("missing-key", node.at, path, message)
                    .remedy("add `timer`, `event`, `signal`, `approval` or `step`");
                task.plan.kind = NodeKind::Wait(Wait::Step);
            }
        }
    }

    /// A duration, or an expression that gives one or a time.
    fn timer(&mut self, task: &mut Task, node: &Node, path: Path<'_>) -> Option<Wait> {
        let bare = self.bare;
        let plain = |text: &str, unit: BareUnit| parse_duration(text, unit).ok();
        let known = match &node.data {
            Data::Text(text, _) => plain(text, bare),
            Data::Number(number, _) => plain(&number.to_string(), bare),
            _ => None,
        };
        let until = match known {
            Some(duration) => format!("duration(\"{}s\")", duration.as_secs_f64()),
            None => self.expression(node, path, Place::Node("wait"), &mut task.places.reads)?,
        };
        Some(Wait::Timer { until })
    }

    /// A topic, or `{topic, filter, key, count}`.
    fn awaited(&mut self, task: &mut Task, event: &mut Awaited, node: &Node, path: Path<'_>) {
        if node.text().is_some() {
            event.topic = self.text(node, path);
        } else {
            for (key, value) in self.entries(node, path) {
                let here = Path::Key(&path, &key.text);
                match Plain::of(&key.text).as_str() {
                    "topic" => event.topic = self.text(value, here),
                    _ if self.event_key(task, event, key, value, here) => {}
                    _ => self.unknown_key(key, path, EVENT_KEYS),
                }
            }
        }
        if event.topic.is_empty() {
            let message = "an event is waited for on a topic";
            self.report.error("missing-key", node.at, path, message).remedy("add `topic: …`");
        }
    }

    fn event_key(
        &mut self,
        task: &mut Task,
        event: &mut Awaited,
        key: &Key,
        value: &Node,
        here: Path<'_>,
    ) -> bool {
        let reads = &mut task.places.reads;
        match Plain::of(&key.text).as_str() {
            "filter" => event.filter = self.expression(value, here, Place::Filter, reads),
            "key" | "correlationkey" | "correlationid" => {
                event.key = self.expression(value, here, Place::Node("wait"), reads);
            }
            "count" => event.count = self.count(value, here, 1).unwrap_or(1),
            _ => return false,
        }
        true
    }

    /// A name, or `{name, schema}`.
    fn signal(&mut self, node: &Node, path: Path<'_>) -> Option<Wait> {
        let (mut name, mut schema) = (String::new(), None);
        if node.text().is_some() {
            name = self.key("signal", node, path);
        } else {
            for (key, value) in self.entries(node, path) {
                let here = Path::Key(&path, &key.text);
                match Plain::of(&key.text).as_str() {
                    "name" => name = self.key("signal", value, here),
                    "schema" => schema = self.schema(value, here),
                    _ => self.unknown_key(key, path, SIGNAL_KEYS),
                }
            }
        }
        if name.is_empty() {
            let message = "a signal has a name";
            self.report.error("missing-key", node.at, path, message).remedy("add `name: …`");
            return None;
        }
        Some(Wait::Signal { name, schema })
    }

    /// `approval` as a task of its own.
    pub(super) fn approval_task(&mut self, task: &mut Task, key: &Key, node: &Node, path: Path<'_>) {
        task.places.node = key.at;
        let approval = self.approval(task, node, path);
        task.plan.kind = NodeKind::Wait(Wait::Approval(approval));
    }

    /// The question as a text, or `{title, who, form, escalate, timeout}`.
    fn approval(&mut self, task: &mut Task, node: &Node, path: Path<'_>) -> Approval {
        let mut approval = Approval::default();
        let place = Place::Node("approval");
        match &node.data {
            Data::Text(..) => {
                approval.title = self.template_words(node, path, place, &mut task.places.reads);
            }
            Data::Bool(true) => {}
            _ => {
                for (key, value) in self.entries(node, path) {
                    let here = Path::Key(&path, &key.text);
                    match Plain::of(&key.text).as_str() {
                        "title" | "question" => {
                            approval.title = self.template_words(value, here, place, &mut task.places.reads);
                        }
                        "who" | "approvers" => approval.who = self.texts(value, here),
                        "form" => approval.form = self.schema(value, here),
                        "escalate" | "escalation" => approval.escalate = self.escalations(value, here),
                        "timeout" => task.plan.timeouts.total = self.duration(value, here),
                        _ => self.unknown_key(key, path, APPROVAL_KEYS),
                    }
                }
            }
        }
        let said = node.map().is_some_and(|entries| entries.iter().any(|(key, _)| key.text == "who"));
        if approval.who.is_empty() && !said {
            let message = "anybody with the right to operate executions may approve";
            self.report
                .warning("approval-by-anybody", node.at, path, message)
                .remedy("add `who: [name, …]`, or `who: []` when that is meant");
        }
        approval
    }

    fn escalations(&mut self, node: &Node, path: Path<'_>) -> Vec<Escalation> {
        let mut steps: Vec<Escalation> = Vec::new();
        for (n, item) in self.items(node, path).iter().enumerate() {
            let at = Path::Index(&path, n);
            let (mut after, mut who) = (None, Vec::new());
            for (key, value) in self.entries(item, at) {
                let here = Path::Key(&at, &key.text);
                match Plain::of(&key.text).as_str() {
                    "after" => after = self.duration(value, here),
                    "who" => who = self.texts(value, here),
                    _ => self.unknown_key(key, at, &["after", "who"]),
                }
            }
            match after {
                Some(after) if !who.is_empty() => steps.push(Escalation { after, who }),
                _ => {
                    let message = "a step of escalation says when and to whom";
                    self.report
                        .error("missing-key", item.at, at, message)
                        .remedy("write `{after: 1h, who: [name]}`");
                }
            }
        }
        if steps.windows(2).any(|pair| pair[0].after >= pair[1].after) {
            let message = "each step of escalation comes after the one before it";
            self.bad_value(node.at, path, message, "order them by `after`");
        }
        steps
    }
}
