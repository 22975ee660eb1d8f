//! Typed access to a mapping, with a finding for everything that does not fit.

use std::{fmt, time::Duration};

use base::{
    finding::nearest,
    time::{BareUnit, parse_duration},
    units::{Resources, parse_cpu, parse_memory, parse_network},
};
use serde_json::Value;

use crate::text::tree::{Data, Key, Node, Pos};

use super::Reading;

/// Most keys that a remedy names.
const KEYS_SHOWN: usize = 16;

/// Where in the document, written out only when a finding needs it.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, n) => write!(f, "{parent}[{n}]"),
        }
    }
}

/// A key without its spelling: `maxAttempts`, `max_attempts` and `max-attempts` are the same.
pub(crate) struct Plain {
    bytes: [u8; 40],
    len: usize,
}

impl Plain {
    pub(crate) fn of(key: &str) -> Self {
        let mut plain = Self { bytes: [0; 40], len: 0 };
        for byte in key.bytes().filter(|b| !matches!(b, b'_' | b'-')) {
            if plain.len == plain.bytes.len() {
                // Longer than any known key.
                plain.len = 0;
                break;
            }
            plain.bytes[plain.len] = byte.to_ascii_lowercase();
            plain.len += 1;
        }
        plain
    }
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Reading<'_> {
    pub(crate) fn wrong_type(&mut self, node: &Node, path: Path<'_>, wanted: &str) {
        let message = format!("`{path}` is {wanted}, this is {}", node.kind());
        self.report.error("bad-type", node.at, path, message).remedy(format!("write {wanted}"));
    }

    pub(crate) fn bad_value(
        &mut self,
        at: Pos,
        path: Path<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report.error("bad-value", at, path, message).remedy(remedy);
    }

    /// Reports a key that nothing reads.
    pub(crate) fn unknown_key(&mut self, key: &Key, path: Path<'_>, known: &[&str]) {
        let here = Path::Key(&path, &key.text);
        let message = format!("`{}` is not known here", key.text);
        let remedy = match nearest(&key.text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.len() > KEYS_SHOWN => {
                format!("known keys are {}, …", known[..KEYS_SHOWN].join(", "))
            }
            None => format!("known keys are {}", known.join(", ")),
        };
        self.report.error("unknown-key", key.at, here, message).remedy(remedy);
    }

    pub(crate) fn entries<'n>(&mut self, node: &'n Node, path: Path<'_>) -> &'n [(Key, Node)] {
        match &node.data {
            Data::Map(entries) => entries,
            Data::Null => &[],
            _ => {
                self.wrong_type(node, path, "a mapping");
                &[]
            }
        }
    }

    pub(crate) fn items<'n>(&mut self, node: &'n Node, path: Path<'_>) -> &'n [Node] {
        match &node.data {
            Data::List(items) => items,
            Data::Null => &[],
            _ => {
                self.wrong_type(node, path, "a list");
                &[]
            }
        }
    }

    pub(crate) fn text(&mut self, node: &Node, path: Path<'_>) -> String {
        match node.text() {
            Some(text) => text.to_owned(),
            None => {
                self.wrong_type(node, path, "a text");
                String::new()
            }
        }
    }

    /// A text, or a number taken as it is written.
    pub(crate) fn word(&mut self, node: &Node, path: Path<'_>) -> String {
        match node.text_or_number() {
            Some(text) => text,
            None => {
                self.wrong_type(node, path, "a text");
                String::new()
            }
        }
    }

    pub(crate) fn bool(&mut self, node: &Node, path: Path<'_>) -> bool {
        match &node.data {
            Data::Bool(b) => *b,
            _ => {
                self.wrong_type(node, path, "true or false");
                false
            }
        }
    }

    /// A whole number from `min` on.
    pub(crate) fn count(&mut self, node: &Node, path: Path<'_>, min: u32) -> Option<u32> {
        let Data::Number(number, _) = &node.data else {
            self.wrong_type(node, path, "a whole number");
            return None;
        };
        let whole = number
            .as_u64()
            .or_else(|| number.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64));
        match whole.and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= min) {
            Some(n) => Some(n),
            None => {
                let message = format!("`{path}` is a whole number from {min} on, this is {number}");
                self.bad_value(node.at, path, message, format!("write {min} or more"));
                None
            }
        }
    }

    pub(crate) fn integer(&mut self, node: &Node, path: Path<'_>) -> i32 {
        match &node.data {
            Data::Number(number, _) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                number.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
            }
            _ => {
                self.wrong_type(node, path, "a whole number");
                0
            }
        }
    }

    /// A list of texts; a single text counts as a list of one.
    pub(crate) fn texts(&mut self, node: &Node, path: Path<'_>) -> Vec<String> {
        self.texts_at(node, path).into_iter().map(|(text, _)| text).collect()
    }

    pub(crate) fn texts_at(&mut self, node: &Node, path: Path<'_>) -> Vec<(String, Pos)> {
        match &node.data {
            Data::Text(text, _) => vec![(text.clone(), node.at)],
            Data::List(items) => items
                .iter()
                .enumerate()
                .map(|(n, item)| (self.word(item, Path::Index(&path, n)), item.at))
                .filter(|(text, _)| !text.is_empty())
                .collect(),
            Data::Null => Vec::new(),
            _ => {
                self.wrong_type(node, path, "a list of texts");
                Vec::new()
            }
        }
    }

    /// A duration; a bare number has the dialect's unit. Zero is refused.
    pub(crate) fn duration(&mut self, node: &Node, path: Path<'_>) -> Option<Duration> {
        let unit = self.bare;
        self.duration_in(node, path, unit)
    }

    pub(crate) fn duration_in(&mut self, node: &Node, path: Path<'_>, unit: BareUnit) -> Option<Duration> {
        let text = match &node.data {
            Data::Null => return None,
            Data::Text(text, _) => text.clone(),
            Data::Number(number, _) => number.to_string(),
            _ => {
                self.wrong_type(node, path, "a duration");
                return None;
            }
        };
        let found = parse_duration(&text, unit).map_err(|e| e.to_string());
        match found.and_then(|d| if d.is_zero() { Err(format!("{text:?} is no time at all")) } else { Ok(d) })
        {
            Ok(duration) => Some(duration),
            Err(message) => {
                let remedy = "write a number with a unit: 250ms, 30s, 5m, 2h";
                self.report.error("bad-duration", node.at, path, message).remedy(remedy);
                None
            }
        }
    }

    /// A key of a task, role or workflow.
    pub(crate) fn key(&mut self, kind: &'static str, node: &Node, path: Path<'_>) -> String {
        let text = self.word(node, path);
        self.check_key(kind, &text, node.at, path);
        text
    }

    pub(crate) fn check_key(&mut self, kind: &'static str, text: &str, at: Pos, path: Path<'_>) {
        if text.is_empty() {
            return;
        }
        if let Err(bad) = base::ids::check_key(kind, text) {
            let remedy = match slug(text) {
                Some(slug) => format!("write `{slug}`"),
                None => "use letters, digits, '.', '_' and '-'".into(),
            };
            self.report.error("bad-name", at, path, bad.to_string()).remedy(remedy);
        }
    }

    /// `{cpu, memory, network}` in the forms of S0 (numbers) and S3 (`2 cores`, `4GB`).
    pub(crate) fn resources(&mut self, node: &Node, path: Path<'_>) -> Resources {
        let mut out = Resources::default();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "cpu" => out.cpu_millis = self.amount(value, here, parse_cpu),
                "memory" => out.memory_bytes = self.amount(value, here, parse_memory),
                "network" => out.network_mbps = self.amount(value, here, parse_network),
                _ => self.unknown_key(key, path, &["cpu", "memory", "network"]),
            }
        }
        out
    }

    pub(crate) fn amount<E: fmt::Display>(
        &mut self,
        node: &Node,
        path: Path<'_>,
        parse: fn(&str) -> Result<u64, E>,
    ) -> u64 {
        let Some(text) = node.text_or_number() else {
            self.wrong_type(node, path, "an amount");
            return 0;
        };
        parse(&text).unwrap_or_else(|error| {
            self.report.error("bad-resource", node.at, path, error.to_string());
            0
        })
    }

    /// A JSON Schema: checked for being one.
    pub(crate) fn schema(&mut self, node: &Node, path: Path<'_>) -> Option<Value> {
        if !matches!(node.data, Data::Map(_) | Data::Bool(_)) {
            self.wrong_type(node, path, "a JSON Schema");
            return None;
        }
        let value = node.value();
        if let Err(error) = jsonschema::meta::validate(&value) {
            let message = format!("not a JSON Schema: {error}");
            self.report.error("bad-schema", node.at, path, message).remedy("see https://json-schema.org");
            return None;
        }
        Some(value)
    }

    /// The words of `known`, by their plain form.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        path: Path<'_>,
        known: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, path);
        let plain = Plain::of(&text);
        if let Some((_, value)) = known.iter().find(|(word, _)| Plain::of(word).as_str() == plain.as_str()) {
            return Some(*value);
        }
        if !text.is_empty() {
            let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
            let message = format!("{text:?} is not a value of `{path}`");
            let remedy = match nearest(&text, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write one of {}", words.join(", ")),
            };
            self.bad_value(node.at, path, message, remedy);
        }
        None
    }
}

/// A key that `text` could become; `None` when nothing of it can stay.
pub(crate) fn slug(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => out.push(c.to_ascii_lowercase()),
            _ if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    let out = out.trim_end_matches('-');
    base::ids::check_key("key", out).is_ok().then(|| out.to_owned())
}
