//! The tree both parsers build.

use serde_json::{Number, Value};

/// A place in the text; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pos {
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// 0 = the text itself; else a place in the text of a pattern: which use of it, counted by the report.
    pub(crate) origin: u32,
}

impl Pos {
    pub(crate) const START: Self = Self { line: 1, column: 1, origin: 0 };

    /// `characters` further on the same line.
    pub(crate) fn plus(self, characters: usize) -> Self {
        Self { column: self.column.saturating_add(u32::try_from(characters).unwrap_or(0)), ..self }
    }
}

/// A value and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Pos,
    pub(crate) data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    /// The number, and how it was written when that is not how it prints (`1.10`, `0x1F`).
    Number(Number, Option<Box<str>>),
    /// A text; `raw` when it stands on one line without escapes, so that places inside of it are known. The number is
    /// the length of its opening quote.
    Text(String, Option<u8>),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) at: Pos,
    pub(crate) text: String,
}

impl Node {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Number(..) => "a number",
            Data::Text(..) => "a text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text, _) => Some(text),
            _ => None,
        }
    }
    pub(crate) fn map(&self) -> Option<&[(Key, Self)]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.map()?.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }
    /// A text, or a number as it was written (`version: 1.10`).
    pub(crate) fn text_or_number(&self) -> Option<String> {
        match &self.data {
            Data::Text(text, _) => Some(text.clone()),
            Data::Number(_, Some(raw)) => Some(raw.to_string()),
            Data::Number(number, None) => Some(number.to_string()),
            _ => None,
        }
    }
    /// The JSON value.
    pub(crate) fn value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(b) => (*b).into(),
            Data::Number(number, _) => Value::Number(number.clone()),
            Data::Text(text, _) => text.as_str().into(),
            Data::List(items) => items.iter().map(Self::value).collect(),
            Data::Map(entries) => {
                entries.iter().map(|(key, node)| (key.text.clone(), node.value())).collect()
            }
        }
    }
}
