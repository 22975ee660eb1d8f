//! What undoes, what it may cost, what is remembered, what starts it.

use serde_json::Value;
use workflow::plan::{Budget, CacheSpec, Overlap, Saga, Spend, Trigger, TriggerOn};

use crate::{
    definition::{Definition, Place},
    text::tree::{Data, Key, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain},
};

/// Keys of `saga`.
pub(crate) const SAGA_KEYS: &[&str] =
    &["on_failure", "on_cancel", "classes", "not_classes", "timeout", "retry"];
/// Keys of `budget`.
pub(crate) const BUDGET_KEYS: &[&str] = &["calls", "tokens", "money", "depth", "time"];
/// Keys of `session` and `memory`.
pub(crate) const SESSION_KEYS: &[&str] = &["id", "type", "load", "save", "history"];
/// Keys of a trigger.
pub(crate) const TRIGGER_KEYS: &[&str] = &[
    "name",
    "event",
    "topic",
    "filter",
    "cron",
    "time_zone",
    "every",
    "delay",
    "overlap",
    "catch_up",
    "input",
    "key",
    "priority",
];
/// Keys of `spend`.
pub(crate) const SPEND_KEYS: &[&str] = &["calls", "tokens", "money"];
/// Keys of `cache`.
pub(crate) const CACHE_KEYS: &[&str] = &["namespace", "ttl"];

/// Turns of the conversation that `memory: name` loads.
const HISTORY_DEFAULT: u32 = 20;

/// A trigger as it is read.
#[derive(Default)]
struct Draft {
    name: String,
    topic: Option<String>,
    filter: Option<String>,
    cron: Option<String>,
    zone: String,
    every: Option<std::time::Duration>,
    delay: Option<std::time::Duration>,
    overlap: Overlap,
    catch_up: std::time::Duration,
}

impl Reading<'_> {
    /// `saga: true`, or what starts it and how long it may take.
    pub(super) fn saga(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        def.places.saga = node.at;
        let mut saga = Saga { on_failure: true, on_cancel: true, ..Saga::default() };
        if matches!(node.data, Data::Bool(_)) {
            let on = self.bool(node, path);
            (saga.on_failure, saga.on_cancel) = (on, on);
        } else {
            for (key, value) in self.entries(node, path) {
                let here = Path::Key(&path, &key.text);
                match Plain::of(&key.text).as_str() {
                    "onfailure" => saga.on_failure = self.bool(value, here),
                    "oncancel" => saga.on_cancel = self.bool(value, here),
                    "classes" => saga.classes = self.failure_classes(value, here),
                    "notclasses" => saga.not_classes = self.failure_classes(value, here),
                    "timeout" => saga.timeout = self.duration(value, here),
                    "retry" | "retrypolicy" => saga.retry = self.retry(value, here),
                    _ => self.unknown_key(key, path, SAGA_KEYS),
                }
            }
        }
        let never = saga.classes.iter().find(|class| saga.not_classes.contains(class));
        if let Some(class) = never {
            let message = format!("the class `{}` compensates and never compensates", class.as_str());
            self.bad_value(node.at, path, message, "name it in one of the two lists");
        }
        def.saga = Some(saga);
    }

    /// `saga_pattern: {compensation_enabled, rollback_on_failure}` of S3.
    pub(super) fn saga_pattern(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        def.places.saga = node.at;
        let (mut enabled, mut rollback) = (true, true);
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "compensationenabled" => enabled = self.bool(value, here),
                "rollbackonfailure" => rollback = self.bool(value, here),
                _ => self.unknown_key(key, path, &["compensation_enabled", "rollback_on_failure"]),
            }
        }
        let saga = def.saga.get_or_insert_with(Saga::default);
        (saga.on_failure, saga.on_cancel) = (enabled && rollback, enabled);
    }

    /// `budget: {calls, tokens, money, depth, time}`.
    pub(super) fn budget(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let mut budget = Budget::default();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "calls" => budget.calls = self.amount_of(value, here),
                "tokens" => budget.tokens = self.amount_of(value, here),
                "money" => budget.money_micros = self.money(value, here),
                "depth" => budget.depth = self.count(value, here, 1).unwrap_or(0),
                "time" => def.limits.timeout = self.duration(value, here),
                _ => self.unknown_key(key, path, BUDGET_KEYS),
            }
        }
        def.limits.budget = budget;
    }

    /// `spend: {tokens, money}` of one call; of a sub-workflow also `calls`.
    pub(super) fn spend(&mut self, node: &Node, path: Path<'_>) -> Spend {
        let mut spend = Spend::default();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "calls" => spend.calls = self.amount_of(value, here),
                "tokens" => spend.tokens = self.amount_of(value, here),
                "money" => spend.money_micros = self.money(value, here),
                _ => self.unknown_key(key, path, SPEND_KEYS),
            }
        }
        spend
    }

    /// A whole number from 1 on.
    fn amount_of(&mut self, node: &Node, path: Path<'_>) -> u64 {
        match &node.data {
            Data::Number(number, _) if number.as_u64().is_some_and(|n| n > 0) => number.as_u64().unwrap_or(0),
            _ => {
                self.wrong_type(node, path, "a whole number from 1 on");
                0
            }
        }
    }

    /// Money in units of the currency, at most six digits after the point.
    fn money(&mut self, node: &Node, path: Path<'_>) -> u64 {
        let text = node.text_or_number().unwrap_or_default();
        match micros(text.trim()) {
            Some(micros) if micros > 0 => micros,
            _ => {
                let message = format!("`{path}` is an amount of money, this is {}", node.kind());
                self.bad_value(node.at, path, message, "write a positive number such as 12.50");
                0
            }
        }
    }

    /// `cache: true`, a namespace, or `{namespace, ttl}`.
    pub(super) fn cache(&mut self, node: &Node, path: Path<'_>) -> Option<CacheSpec> {
        let mut spec = CacheSpec::default();
        match &node.data {
            Data::Bool(on) => return on.then_some(spec),
            Data::Text(namespace, _) => spec.namespace.clone_from(namespace),
            _ => {
                for (key, value) in self.entries(node, path) {
                    let here = Path::Key(&path, &key.text);
                    match Plain::of(&key.text).as_str() {
                        "namespace" => spec.namespace = self.text(value, here),
                        "ttl" => spec.ttl = self.duration(value, here),
                        _ => self.unknown_key(key, path, CACHE_KEYS),
                    }
                }
            }
        }
        Some(spec)
    }

    /// `session: true`, the expression of its id, or `{id, load, save, history}`; `memory` is the same with history.
    pub(super) fn session(&mut self, def: &mut Definition, node: &Node, path: Path<'_>, memory: bool) {
        let mut spec = def.session.take().unwrap_or_default();
        if memory && spec.history == 0 {
            spec.history = HISTORY_DEFAULT;
        }
        let mut reads = Vec::new();
        match &node.data {
            Data::Bool(true) => {}
            Data::Bool(false) => return,
            // A name of a kind of memory; every kind keeps variables and conversation.
            Data::Text(kind, _) if memory => {
                def.metadata.insert("memory".into(), kind.as_str().into());
            }
            Data::Text(..) => spec.id = self.expression(node, path, Place::Start, &mut reads),
            Data::Map(_) => {
                for (key, value) in self.entries(node, path) {
                    let here = Path::Key(&path, &key.text);
                    match Plain::of(&key.text).as_str() {
                        "id" => spec.id = self.expression(value, here, Place::Start, &mut reads),
                        "type" | "kind" => {
                            let kind = self.text(value, here);
                            def.metadata.insert("memory".into(), kind.into());
                        }
                        "load" => spec.load = self.texts(value, here),
                        "save" => {
                            self.entries(value, here);
                            spec.save = Some(self.template(value, here, Place::Output, &mut reads));
                        }
                        "history" => spec.history = self.count(value, here, 0).unwrap_or(0),
                        _ => self.unknown_key(key, path, SESSION_KEYS),
                    }
                }
            }
            _ => return self.wrong_type(node, path, "true, a text or a mapping"),
        }
        def.places.reads.extend(reads.into_iter().map(|read| ("session", read)));
        def.session = Some(spec);
    }

    /// `vars`: first values of variables.
    pub(super) fn vars(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        self.entries(node, path);
        let mut reads = Vec::new();
        let vars = self.template(node, path, Place::Start, &mut reads);
        def.places.reads.extend(reads.into_iter().map(|read| ("vars", read)));
        def.vars = Some(vars).filter(Value::is_object);
    }

    /// `triggers`: events and schedules that start executions.
    pub(super) fn triggers(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let mut names = std::collections::HashSet::new();
        for (n, item) in self.items(node, path).iter().enumerate() {
            let here = Path::Index(&path, n);
            if let Some(mut trigger) = self.trigger(def, item, here) {
                if trigger.name.is_empty() {
                    trigger.name = format!("trigger-{}", n + 1);
                }
                if !names.insert(trigger.name.clone()) {
                    let message = format!("the trigger `{}` is there twice", trigger.name);
                    self.bad_value(item.at, here, message, "give each trigger its own `name`");
                }
                def.triggers.push(trigger);
            }
        }
    }

    fn trigger(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) -> Option<Trigger> {
        let mut draft = Draft::default();
        let (mut input, mut start_key, mut priority) = (None, None, 0);
        let mut reads = Vec::new();
        let text = node.text().map(|_| self.text(node, path));
        for (key, value) in if text.is_some() { &[] } else { self.entries(node, path) } {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "input" => input = Some(self.template(value, here, Place::Filter, &mut reads)),
                "key" | "startkey" => start_key = self.expression(value, here, Place::Filter, &mut reads),
                "filter" => draft.filter = self.expression(value, here, Place::Filter, &mut reads),
                "priority" => priority = self.priority(value, here),
                _ => self.trigger_key(&mut draft, key, value, path),
            }
        }
        draft.topic = draft.topic.or(text);
        def.places.reads.extend(reads.into_iter().map(|read| ("triggers", read)));
        let on = self.trigger_on(&mut draft, node.at, path)?;
        Some(Trigger { name: draft.name, on, input, key: start_key, priority })
    }

    fn trigger_key(&mut self, draft: &mut Draft, key: &Key, value: &Node, path: Path<'_>) {
        let here = Path::Key(&path, &key.text);
        match Plain::of(&key.text).as_str() {
            "name" => draft.name = self.key("trigger", value, here),
            "event" | "topic" => draft.topic = Some(self.text(value, here)).filter(|t| !t.is_empty()),
            "cron" => {
                let cron = self.text(value, here);
                if !is_cron(&cron) {
                    let message = format!("{cron:?} is no cron expression");
                    self.bad_value(
                        value.at,
                        here,
                        message,
                        "write five fields: minute hour day month weekday",
                    );
                }
                draft.cron = Some(cron);
            }
            "timezone" | "zone" => draft.zone = self.text(value, here),
            "every" | "interval" => draft.every = self.duration(value, here),
            "delay" => draft.delay = self.duration(value, here),
            "overlap" => {
                let known = [
                    ("skip", Overlap::Skip),
                    ("queue", Overlap::Queue),
                    ("allow", Overlap::Allow),
                    ("cancel", Overlap::Cancel),
                ];
                draft.overlap = self.choice(value, here, &known).unwrap_or_default();
            }
            "catchup" => draft.catch_up = self.duration(value, here).unwrap_or_default(),
            _ => self.unknown_key(key, path, TRIGGER_KEYS),
        }
    }

    fn trigger_on(&mut self, draft: &mut Draft, at: Pos, path: Path<'_>) -> Option<TriggerOn> {
        let said = [draft.topic.is_some(), draft.cron.is_some(), draft.every.is_some()];
        if said.iter().filter(|said| **said).count() != 1 {
            let message = "a trigger fires on an event, at times, or in intervals";
            self.report
                .error("missing-key", at, path, message)
                .remedy("write one of `event: topic`, `cron: …`, `every: 1h`");
            return None;
        }
        if let Some(topic) = draft.topic.take() {
            return Some(TriggerOn::Event { topic, filter: draft.filter.take() });
        }
        if draft.filter.is_some() {
            let message = "there is no event to filter";
            self.bad_value(at, path, message, "remove `filter`");
        }
        let (overlap, catch_up) = (draft.overlap, draft.catch_up);
        if let Some(cron) = draft.cron.take() {
            return Some(TriggerOn::Cron { cron, zone: std::mem::take(&mut draft.zone), overlap, catch_up });
        }
        draft.every.map(|every| TriggerOn::Every { every, delay: draft.delay, overlap, catch_up })
    }
}

/// Five or six fields of numbers, names, lists, ranges and steps, or a name with an `@`. When exactly it fires is for
/// the scheduler to say.
fn is_cron(text: &str) -> bool {
    const NAMES: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if text.starts_with('@') {
        return NAMES.contains(&text);
    }
    let field = |field: &str| {
        field
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'/' | b',' | b'-' | b'?' | b'#'))
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    matches!(fields.len(), 5 | 6) && fields.into_iter().all(field)
}

/// `12.5` as 12,500,000; `None` when it is no decimal number with at most six digits after the point.
fn micros(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

/// An amount of money as it is written.
pub(crate) fn show_money(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
