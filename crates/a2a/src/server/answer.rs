//! What a handler gives back.

use serde_json::Value;

use crate::{
    Json,
    model::{Artifact, Part},
};

/// The results of a task: they become its artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Results; an empty id is filled in.
    pub artifacts: Vec<Artifact>,
}

impl Answer {
    fn of(part: Part) -> Self {
        Self { artifacts: vec![Artifact { parts: vec![part], ..Artifact::default() }] }
    }
    /// One JSON result.
    pub fn json(json: Json) -> Self {
        Self::of(Part { media_type: Some("application/json".into()), ..Part::data(json) })
    }
    /// One JSON result.
    pub fn value(value: &Value) -> Self {
        Self::json(Json::from_value(value))
    }
    /// One text result.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Part::text(text))
    }
}

/// Why a task did not end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// It was not tried: the agent refuses it.
    #[error("{0}")]
    Rejected(String),
}

impl Failure {
    /// Tried and failed, for this reason.
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }
}
