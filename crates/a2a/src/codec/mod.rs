//! The two dialects on the wire, each a pair of total functions between JSON text and the model.

mod decode;
mod encode;
mod names;
mod wire;

pub(crate) use decode::{
    decode_event, decode_message, decode_page, decode_task, flat_event, page, task, union_event,
};
pub(crate) use encode::{write_event, write_message, write_page, write_reply, write_task};
pub(crate) use names::{state_from, state_name};
pub(crate) use wire::{FlatEvent, UnionEvent, WirePage, WireTask};

/// How messages look on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// A2A 1.0: unions by field name, `TASK_STATE_*`, `ROLE_*`.
    V1,
    /// A2A 0.3: unions by `kind`, lower-case names.
    V03,
}

/// A body that does not have the shape of its dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct BadShape {
    /// Path of the field, `message.parts[0]`.
    pub field: String,
    /// The rule it broke.
    pub rule: String,
}

impl BadShape {
    pub(crate) fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
    fn inside(mut self, parent: &str) -> Self {
        let joint = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{parent}{joint}{}", self.field);
        self
    }
}

impl From<serde_json::Error> for BadShape {
    fn from(err: serde_json::Error) -> Self {
        Self::new("", err.to_string())
    }
}

#[cfg(test)]
mod tests;
