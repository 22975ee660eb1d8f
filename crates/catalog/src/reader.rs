//! Walks a JSON object by its known keys and collects what is wrong with each.

use std::cell::RefCell;

use base::{Finding, Severity, finding::nearest};
use serde_json::{Map, Value};

/// What a JSON value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Findings so far.
#[derive(Default)]
pub(crate) struct Report(RefCell<Vec<Finding>>);

impl Report {
    pub(crate) fn add(&self, finding: Finding) {
        self.0.borrow_mut().push(finding);
    }
    pub(crate) fn error(&self, code: &str, path: impl Into<String>, message: impl Into<String>) {
        self.add(Finding::new(Severity::Error, code, path, message));
    }
    pub(crate) fn warn(&self, code: &str, path: impl Into<String>, message: impl Into<String>) {
        self.add(Finding::new(Severity::Warning, code, path, message));
    }
    /// Errors first, otherwise in the order they were found.
    pub(crate) fn finish(self) -> Vec<Finding> {
        let mut findings = self.0.into_inner();
        findings.sort_by_key(|f| f.severity);
        findings
    }
}

/// One object of the document.
pub(crate) struct Node<'a> {
    map: &'a Map<String, Value>,
    path: String,
    report: &'a Report,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Node<'a> {
    pub(crate) fn new(value: &'a Value, path: impl Into<String>, report: &'a Report) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(map) => Some(Self { map, path, report, asked: RefCell::default() }),
            other => {
                report.error("wrong-type", path, format!("must be an object, is {}", kind(other)));
                None
            }
        }
    }

    /// Path of a key of this object.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key; null counts as absent.
    pub(crate) fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().push(key);
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The value under the first of several spellings that is there.
    pub(crate) fn any(&self, keys: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        let mut found = None;
        for &key in keys {
            if let Some(value) = self.get(key) {
                match found {
                    None => found = Some((key, value)),
                    Some((first, _)) => {
                        self.bad(
                            key,
                            "duplicate-key",
                            format!("`{key}` and `{first}` mean the same; keep one"),
                        );
                    }
                }
            }
        }
        found
    }

    pub(crate) fn bad(&self, key: &str, code: &str, message: impl Into<String>) {
        self.report.error(code, self.path(key), message);
    }

    /// A text of at most `max` bytes without control characters.
    pub(crate) fn text(&self, key: &'static str, max: usize) -> Option<String> {
        let value = self.get(key)?;
        let text = match value {
            Value::String(s) => s.clone(),
            // YAML reads `version: 1.0` as a number.
            Value::Number(n) => n.to_string(),
            other => {
                self.bad(key, "wrong-type", format!("must be a text, is {}", kind(other)));
                return None;
            }
        };
        self.check_text(&self.path(key), &text, max).then_some(text)
    }

    fn check_text(&self, path: &str, text: &str, max: usize) -> bool {
        if text.len() > max {
            let rule = format!("has {} bytes; at most {max} are taken", text.len());
            self.report.error("too-long", path, rule);
            return false;
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
            self.report.error("bad-text", path, "holds control characters");
            return false;
        }
        true
    }

    /// A list of distinct, non-empty texts; a single text counts as a list of one.
    pub(crate) fn texts(&self, key: &'static str, count_max: usize, bytes_max: usize) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let one = [value.clone()];
        let items = match value {
            Value::Array(items) => items.as_slice(),
            Value::String(_) => &one,
            other => {
                self.bad(key, "wrong-type", format!("must be a list of texts, is {}", kind(other)));
                return Vec::new();
            }
        };
        if items.len() > count_max {
            self.bad(key, "too-many", format!("has {} entries; at most {count_max} are taken", items.len()));
            return Vec::new();
        }
        let mut texts: Vec<String> = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path(key));
            match item {
                Value::String(s) if s.trim().is_empty() => self.report.error("bad-text", path, "is empty"),
                Value::String(s) if texts.contains(s) => {}
                Value::String(s) => {
                    if self.check_text(&path, s, bytes_max) {
                        texts.push(s.clone());
                    }
                }
                other => self.report.error("wrong-type", path, format!("must be a text, is {}", kind(other))),
            }
        }
        texts
    }

    /// A number from `min` to `max`, both included.
    pub(crate) fn number(&self, key: &'static str, min: f64, max: f64) -> Option<f64> {
        let value = self.get(key)?;
        self.number_of(key, value, min, max)
    }

    pub(crate) fn number_of(&self, key: &str, value: &Value, min: f64, max: f64) -> Option<f64> {
        match value.as_f64() {
            Some(n) if (min..=max).contains(&n) => Some(n),
            Some(n) => {
                self.bad(key, "out-of-range", format!("{n} is not from {min} to {max}"));
                None
            }
            None => {
                self.bad(key, "wrong-type", format!("must be a number, is {}", kind(value)));
                None
            }
        }
    }

    /// A whole number from `min` to `max`, both included.
    pub(crate) fn whole(&self, key: &str, value: &Value, min: i64, max: i64) -> Option<i64> {
        let n = self.number_of(key, value, min as f64, max as f64)?;
        if n.fract() == 0.0 {
            return Some(n as i64);
        }
        self.bad(key, "wrong-type", format!("must be a whole number, is {n}"));
        None
    }

    /// The object under a key.
    pub(crate) fn node(&self, key: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        Self::new(value, self.path(key), self.report)
    }

    /// The objects of the list under a key, with their paths.
    pub(crate) fn nodes(&self, key: &'static str, max: usize) -> Vec<Self> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() > max => {
                self.bad(key, "too-many", format!("has {} entries; at most {max} are taken", items.len()));
                Vec::new()
            }
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .filter_map(|(i, v)| Self::new(v, format!("{}[{i}]", self.path(key)), self.report))
                .collect(),
            Some(other) => {
                self.bad(key, "wrong-type", format!("must be a list, is {}", kind(other)));
                Vec::new()
            }
        }
    }

    /// Keys that nobody asked for.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + '_ {
        self.map.iter().filter(|(key, _)| !self.asked.borrow().iter().any(|a| a == key))
    }

    /// Reports every key that nobody asked for, with the nearest known one.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.map.iter().filter(|(key, _)| !asked.iter().any(|a| a == key)) {
            let shown: String = key.chars().take(80).collect();
            let mut finding = Finding::new(
                Severity::Error,
                "unknown-key",
                self.path(&shown),
                format!("`{shown}` is not a key here"),
            );
            finding.remedy = match nearest(key, asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known keys: {}", asked.join(", ")),
            };
            self.report.add(finding);
        }
    }
}
