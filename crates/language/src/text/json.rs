//! JSON with places. Written by hand because no parser at hand tells where a value stood.

use std::collections::{HashMap, hash_map::Entry};

use serde_json::Number;

use crate::{Limits, report::Report};

use super::tree::{Data, Key, Node, Pos};

/// Parses one JSON document.
pub(crate) fn parse(text: &str, limits: &Limits, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser {
        bytes: text.as_bytes(),
        text,
        at: 0,
        line: 1,
        line_start: 0,
        continuation: 0,
        nodes: 0,
        depth: 0,
        limits,
        report,
    };
    let node = parser.document();
    match node {
        Ok(node) => Some(node),
        Err(Stop { code, at, message }) => {
            report.error(code, at, "", message);
            None
        }
    }
}

struct Stop {
    code: &'static str,
    at: Pos,
    message: String,
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    /// Bytes since the start of the line that do not start a character.
    continuation: usize,
    nodes: usize,
    depth: usize,
    limits: &'a Limits,
    report: &'a mut Report,
}

impl Parser<'_> {
    fn pos(&self) -> Pos {
        let column = self.at - self.line_start - self.continuation + 1;
        Pos { line: self.line, column: u32::try_from(column).unwrap_or(u32::MAX), origin: 0 }
    }
    fn stop<T>(&self, message: impl Into<String>) -> Result<T, Stop> {
        Err(Stop { code: "syntax", at: self.pos(), message: message.into() })
    }
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.line_start = self.at + 1;
                    self.continuation = 0;
                }
                b' ' | b'\t' | b'\r' => {}
                _ => return,
            }
            self.at += 1;
        }
    }
    fn found(&self) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("{c:?}"),
            None => "the end of the text".into(),
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        self.skip_space();
        let node = self.value()?;
        self.skip_space();
        match self.peek() {
            None => Ok(node),
            Some(_) => self.stop(format!("expected the end of the text, found {}", self.found())),
        }
    }

    fn value(&mut self) -> Result<Node, Stop> {
        let at = self.pos();
        self.nodes += 1;
        if self.nodes > self.limits.nodes_max {
            let message = format!("the text has more than {} values", self.limits.nodes_max);
            return Err(Stop { code: "limit-nodes", at, message });
        }
        let data = match self.peek() {
            Some(b'{') => self.nested(Self::map)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => {
                let (text, plain) = self.string()?;
                Data::Text(text, plain.then_some(1))
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Data::Bool(true))?,
            Some(b'f') => self.word("false", Data::Bool(false))?,
            Some(b'n') => self.word("null", Data::Null)?,
            _ => return self.stop(format!("expected a value, found {}", self.found())),
        };
        Ok(Node { at, data })
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Data, Stop>) -> Result<Data, Stop> {
        self.depth += 1;
        if self.depth > self.limits.depth_max {
            let message = format!("the text nests deeper than {} levels", self.limits.depth_max);
            return Err(Stop { code: "limit-depth", at: self.pos(), message });
        }
        self.at += 1;
        let data = inner(self)?;
        self.depth -= 1;
        Ok(data)
    }

    fn map(&mut self) -> Result<Data, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'}') if entries.is_empty() => break,
                Some(b'"') => {}
                _ => return self.stop(format!("expected a key in quotes, found {}", self.found())),
            }
            let at = self.pos();
            let (text, _) = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.stop(format!("expected `:` after the key {text:?}, found {}", self.found()));
            }
            self.at += 1;
            self.skip_space();
            let node = self.value()?;
            entries.push((Key { at, text }, node));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.stop(format!("expected `,` or `}}`, found {}", self.found())),
            }
        }
        self.at += 1;
        Ok(Data::Map(without_doubles(entries, self.report)))
    }

    fn list(&mut self) -> Result<Data, Stop> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if items.is_empty() && self.peek() == Some(b']') {
                break;
            }
            items.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.stop(format!("expected `,` or `]`, found {}", self.found())),
            }
        }
        self.at += 1;
        Ok(Data::List(items))
    }

    /// The text, and whether it stands there as it is.
    fn string(&mut self) -> Result<(String, bool), Stop> {
        let start = self.at + 1;
        self.at += 1;
        loop {
            match self.peek() {
                None => return self.stop("the text in quotes has no end"),
                Some(b'"') => {
                    let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
                    self.at += 1;
                    return Ok((text, true));
                }
                Some(b'\\') => return self.escaped(start),
                Some(0..0x20) => return self.stop("a control character must be escaped in a text"),
                Some(byte) => {
                    self.continuation += usize::from(byte & 0xC0 == 0x80);
                    self.at += 1;
                }
            }
        }
    }

    /// The rest of a text that has an escape.
    fn escaped(&mut self, start: usize) -> Result<(String, bool), Stop> {
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    let quoted = self.text.get(start - 1..=self.at).unwrap_or_default();
                    let text = match serde_json::from_str(quoted) {
                        Ok(text) => text,
                        Err(_) => return self.stop("a text has an escape that JSON does not know"),
                    };
                    self.at += 1;
                    return Ok((text, false));
                }
                b'\\' if self.bytes.get(self.at + 1).is_some_and(u8::is_ascii) => self.at += 2,
                0..0x20 => return self.stop("a control character must be escaped in a text"),
                _ => {
                    self.continuation += usize::from(byte & 0xC0 == 0x80);
                    self.at += 1;
                }
            }
        }
        self.stop("the text in quotes has no end")
    }

    fn number(&mut self) -> Result<Data, Stop> {
        let start = self.at;
        let end = self.bytes[start..]
            .iter()
            .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .map_or(self.bytes.len(), |n| start + n);
        let raw = self.text.get(start..end).unwrap_or_default();
        let Ok(number) = serde_json::from_str::<Number>(raw) else {
            return self.stop(format!("{raw:?} is not a number"));
        };
        self.at = end;
        let raw = (number.to_string() != raw).then(|| raw.into());
        Ok(Data::Number(number, raw))
    }

    fn word(&mut self, word: &str, data: Data) -> Result<Data, Stop> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.stop(format!("expected `{word}`"));
        }
        self.at += word.len();
        Ok(data)
    }
}

/// The entries of a finished mapping: of a key that stands twice the first is kept, the others are reported.
pub(crate) fn without_doubles(mut entries: Vec<(Key, Node)>, report: &mut Report) -> Vec<(Key, Node)> {
    let mut seen: HashMap<&str, Pos> = HashMap::with_capacity(entries.len());
    let mut double = Vec::new();
    for (n, (key, _)) in entries.iter().enumerate() {
        match seen.entry(&key.text) {
            Entry::Vacant(free) => {
                free.insert(key.at);
            }
            Entry::Occupied(first) => double.push((n, first.get().line)),
        }
    }
    for (n, line) in double.into_iter().rev() {
        let (key, _) = entries.remove(n);
        let message = format!("the key `{}` stands twice, first in line {line}", key.text);
        report.error("duplicate-key", key.at, "", message).remedy("remove one of them");
    }
    entries
}
