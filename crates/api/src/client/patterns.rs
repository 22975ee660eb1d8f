//! Patterns: register, list, look, delete.

use base::Finding;
use proto::planner::v1::{self as wire, pattern_service_client::PatternServiceClient};
use serde::Serialize;
use serde_json::Value;
use tonic::transport::Channel;

use super::{
    Client,
    model::some,
    workflows::{Source, findings},
};
use crate::Fault;

/// A parameter of a pattern.
#[derive(Clone, Debug, Serialize)]
pub struct PatternParameter {
    /// Its name.
    pub name: String,
    /// `role`, `roles`, `expression`, `template`, `duration`, `string`, `integer`, `number`, `boolean`, `list`, `object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub description: String,
    /// What it is when it is not given; `None` = it has to be given.
    pub default: Option<Value>,
    /// JSON Schema of its values.
    pub schema: Value,
}

/// A pattern that definitions can name.
#[derive(Clone, Debug, Serialize)]
pub struct Pattern {
    /// Its name.
    pub name: String,
    /// This version.
    pub version: String,
    /// All versions, newest first.
    pub versions: Vec<String>,
    /// What it does.
    pub description: String,
    /// It is always there and cannot be deleted.
    pub built_in: bool,
    /// Patterns it is built from, `name@range`.
    pub uses: Vec<String>,
    /// In the order of the text.
    pub parameters: Vec<PatternParameter>,
    /// Hex of the BLAKE3 of the text; `None` for built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// RFC 3339; `None` for built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Its text; lists leave it out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
}

impl Pattern {
    fn of(p: wire::Pattern) -> Self {
        let parameter = |p: wire::PatternParameter| PatternParameter {
            name: p.name,
            kind: p.r#type,
            description: p.description,
            default: some(p.default_json).and_then(|text| serde_json::from_str(&text).ok()),
            schema: serde_json::from_str(&p.schema_json).unwrap_or_default(),
        };
        Self {
            name: p.name,
            version: p.version,
            versions: p.versions,
            description: p.description,
            built_in: p.built_in,
            uses: p.uses,
            parameters: p.parameters.into_iter().map(parameter).collect(),
            content_hash: some(p.content_hash),
            created_at: some(p.created_at),
            source: p.source,
        }
    }

    /// `name@version`: names exactly this version.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// What registering a pattern gave.
#[derive(Clone, Debug, Serialize)]
pub struct RegisteredPattern {
    /// The stored version.
    pub pattern: Pattern,
    /// Warnings and notes.
    pub findings: Vec<Finding>,
}

impl Client {
    fn pattern_service(&self) -> PatternServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        PatternServiceClient::new(self.channel())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    /// Stores a pattern as an immutable version. The same text under the same name and version is the same version.
    ///
    /// # Errors
    /// `invalid_definition` with findings, `already_exists` when the version has another content, `resource_exhausted`
    /// when there are too many.
    pub async fn register_pattern(&self, source: &Source) -> Result<RegisteredPattern, Fault> {
        let message =
            wire::RegisterPatternRequest { source: source.text.clone(), file_name: source.file_name.clone() };
        let call = || async { self.pattern_service().register_pattern(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Ok(RegisteredPattern {
            pattern: Pattern::of(answer.pattern.unwrap_or_default()),
            findings: findings(answer.findings),
        })
    }

    /// Every pattern that definitions can name, the built-in ones first, each in its newest version.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn patterns(&self) -> Result<Vec<Pattern>, Fault> {
        let call = || async {
            self.pattern_service().list_patterns(self.request(wire::ListPatternsRequest {})).await
        };
        Ok(self.safely(call).await?.patterns.into_iter().map(Pattern::of).collect())
    }

    /// A pattern with its text, by `name` (the newest version) or `name@version`.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn pattern(&self, reference: &str) -> Result<Pattern, Fault> {
        let message = wire::GetPatternRequest { r#ref: reference.to_owned() };
        let call = || async { self.pattern_service().get_pattern(self.request(message.clone())).await };
        self.safely(call).await.map(Pattern::of)
    }

    /// Deletes all versions of a pattern, or the one of `name@version`. Returns how many are gone.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` for a built-in one and while something stored uses it.
    pub async fn delete_pattern(&self, reference: &str) -> Result<u32, Fault> {
        let message = wire::DeletePatternRequest { r#ref: reference.to_owned() };
        Ok(self.once(self.pattern_service().delete_pattern(self.request(message))).await?.versions_deleted)
    }
}
