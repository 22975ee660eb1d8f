//! What tasks of every dialect share: retries, time limits, expressions, templates.

use std::time::Duration;

use base::FailureClass;
use expr::{Expr, ExprError, ExprErrorKind, Template};
use serde_json::Value;
use workflow::plan::{Backoff, RetryPolicy, Timeouts};

use crate::{
    definition::{Place, Read},
    text::tree::{Data, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain},
};

const BACKOFFS: &[(&str, Backoff)] = &[
    ("exponential", Backoff::Exponential),
    ("exponential_backoff", Backoff::Exponential),
    ("linear", Backoff::Linear),
    ("linear_backoff", Backoff::Linear),
    ("fixed", Backoff::Fixed),
    ("fixed_backoff", Backoff::Fixed),
    ("fixed_delay", Backoff::Fixed),
    ("constant", Backoff::Fixed),
];

/// Keys of a retry policy.
pub(crate) const RETRY_KEYS: &[&str] =
    &["max_attempts", "backoff", "base_delay", "max_delay", "retry_on", "retryable_errors"];

impl Reading<'_> {
    /// A retry policy: a name, or a mapping in the spelling of any source.
    pub(crate) fn retry(&mut self, node: &Node, path: Path<'_>) -> Option<RetryPolicy> {
        match &node.data {
            Data::Null => None,
            Data::Text(name, _) => {
                let found = RetryPolicy::default().named(name);
                if found.is_none() {
                    let message = format!("{name:?} is not the name of a retry policy");
                    let known = ["exponential_backoff", "linear_backoff", "fixed", "none"];
                    let remedy = match base::finding::nearest(name, known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("write one of {}", known.join(", ")),
                    };
                    self.bad_value(node.at, path, message, remedy);
                }
                found
            }
            Data::Map(_) => Some(self.retry_map(node, path)),
            _ => {
                self.wrong_type(node, path, "the name of a retry policy or a mapping");
                None
            }
        }
    }

    fn retry_map(&mut self, node: &Node, path: Path<'_>) -> RetryPolicy {
        let mut policy = RetryPolicy::default();
        let mut longest = None;
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "maxattempts" | "attempts" => {
                    policy.max_attempts = self.count(value, here, 1).unwrap_or(policy.max_attempts);
                }
                "backofftype" | "backoffstrategy" | "backoff" | "policy" => {
                    policy.backoff = self.choice(value, here, BACKOFFS).unwrap_or(policy.backoff);
                }
                "basedelay" => policy.base_delay = self.duration(value, here).unwrap_or(policy.base_delay),
                "maxdelay" => longest = self.duration(value, here).map(|d| (d, value.at)),
                "retryon" | "on" => policy.on = self.failure_classes(value, here),
                "retryableerrors" | "patterns" => policy.patterns = self.texts(value, here),
                _ => self.unknown_key(key, path, RETRY_KEYS),
            }
        }
        match longest {
            Some((max, at)) if max < policy.base_delay => {
                let here = Path::Key(&path, "max_delay");
                self.bad_value(at, here, "the longest delay is shorter than the first", "raise `max_delay`");
            }
            Some((max, _)) => policy.max_delay = max,
            None => policy.max_delay = policy.max_delay.max(policy.base_delay),
        }
        policy
    }

    pub(super) fn failure_classes(&mut self, node: &Node, path: Path<'_>) -> Vec<FailureClass> {
        let mut classes = Vec::new();
        for (text, at) in self.texts_at(node, path) {
            match FailureClass::parse(&text) {
                Some(class) => classes.push(class),
                None => {
                    let known: Vec<_> = FailureClass::ALL.iter().map(|class| class.as_str()).collect();
                    let remedy = match base::finding::nearest(&text, known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("write one of {}", known.join(", ")),
                    };
                    self.bad_value(at, path, format!("{text:?} is not a class of failures"), remedy);
                }
            }
        }
        classes
    }

    /// `retries: n` of S4: n attempts after the first.
    pub(crate) fn retries(&mut self, node: &Node, path: Path<'_>) -> Option<RetryPolicy> {
        let retries = self.count(node, path, 0)?;
        Some(RetryPolicy { max_attempts: retries.saturating_add(1), ..RetryPolicy::default() })
    }

    /// `timeouts: {queue, attempt, heartbeat, total}`.
    pub(crate) fn timeouts(&mut self, node: &Node, path: Path<'_>, out: &mut Timeouts) {
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            let read = self.duration(value, here);
            match Plain::of(&key.text).as_str() {
                "queue" => out.queue = read,
                "attempt" => out.attempt = read,
                "heartbeat" => out.heartbeat = read,
                "total" => out.total = read,
                _ => self.unknown_key(key, path, &["queue", "attempt", "heartbeat", "total"]),
            }
        }
        let shorter = |a: Option<Duration>, b: Option<Duration>| a.is_some_and(|a| b.is_some_and(|b| a > b));
        if shorter(out.attempt, out.total) {
            let message = "one attempt may take longer than all of them together";
            self.bad_value(node.at, path, message, "raise `total` or lower `attempt`");
        }
    }

    /// A CEL expression; an optional `${ … }` around it is taken off.
    pub(crate) fn expression(
        &mut self,
        node: &Node,
        path: Path<'_>,
        place: Place,
        reads: &mut Vec<Read>,
    ) -> Option<String> {
        if let Data::Bool(constant) = node.data {
            return Some(constant.to_string());
        }
        let whole = self.text(node, path);
        let trimmed = whole.trim();
        let inner = trimmed.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).map(str::trim);
        let source = inner.unwrap_or(trimmed);
        if source.is_empty() {
            return None;
        }
        let lead = whole.find(source).unwrap_or(0);
        self.compile(source, lead, node, path, place, reads).then(|| source.to_owned())
    }

    fn compile(
        &mut self,
        source: &str,
        lead: usize,
        node: &Node,
        path: Path<'_>,
        place: Place,
        reads: &mut Vec<Read>,
    ) -> bool {
        let whole = node.text().unwrap_or_default();
        let at = inside(node, whole, lead);
        if let Some(paths) = self.expressions.get(source) {
            reads.extend(paths.iter().map(|path| Read { at, path: path.clone(), place }));
            return true;
        }
        match Expr::compile_with(source, &self.limits.expr) {
            Ok(expr) => {
                let paths = expr.references().to_vec();
                reads.extend(paths.iter().map(|path| Read { at, path: path.clone(), place }));
                self.expressions.insert(source.to_owned(), paths);
                true
            }
            Err(error) => {
                let at = inside(node, whole, lead + error.offset);
                self.bad_expression(&error, at, path);
                false
            }
        }
    }

    fn bad_expression(&mut self, error: &ExprError, at: Pos, path: Path<'_>) {
        let code = match error.kind {
            ExprErrorKind::Limit => "limit-expression",
            ExprErrorKind::Unknown => "unknown-function",
            ExprErrorKind::Syntax | ExprErrorKind::Evaluation => "bad-expression",
        };
        self.report.error(code, at, path, error.message.clone());
    }

    /// A value whose texts may hold `${ … }`. Every expression in it is compiled and noted.
    pub(crate) fn template(
        &mut self,
        node: &Node,
        path: Path<'_>,
        place: Place,
        reads: &mut Vec<Read>,
    ) -> Value {
        match &node.data {
            Data::Text(text, _) => {
                if text.contains("${") {
                    self.template_text(node, text, path, place, reads);
                }
                text.as_str().into()
            }
            Data::List(items) => items
                .iter()
                .enumerate()
                .map(|(n, item)| self.template(item, Path::Index(&path, n), place, reads))
                .collect(),
            Data::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, item)| {
                        (key.text.clone(), self.template(item, Path::Key(&path, &key.text), place, reads))
                    })
                    .collect(),
            ),
            _ => node.value(),
        }
    }

    fn template_text(
        &mut self,
        node: &Node,
        text: &str,
        path: Path<'_>,
        place: Place,
        reads: &mut Vec<Read>,
    ) {
        if let Some(paths) = self.expressions.get(text) {
            reads.extend(paths.iter().map(|path| Read { at: node.at, path: path.clone(), place }));
            return;
        }
        match Template::compile_with(&text.into(), &self.limits.expr) {
            Ok(template) => {
                let mut paths = Vec::new();
                template.visit(&mut |expr| {
                    let at = inside(node, text, text.find(expr.source()).unwrap_or(0));
                    for path in expr.references() {
                        reads.push(Read { at, path: path.clone(), place });
                        paths.push(path.clone());
                    }
                });
                self.expressions.insert(text.to_owned(), paths);
            }
            Err(error) => {
                let at = inside(node, text, error.offset);
                self.bad_expression(&error, at, path);
            }
        }
    }
}

/// The place of byte `offset` of a text, where the text stands as it is; else where the text starts.
fn inside(node: &Node, text: &str, offset: usize) -> Pos {
    match &node.data {
        Data::Text(_, Some(quote)) => {
            let before = text.get(..offset.min(text.len())).unwrap_or_default();
            node.at.plus(before.chars().count() + usize::from(*quote))
        }
        _ => node.at,
    }
}
