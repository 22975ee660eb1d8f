//! Patterns as answers show them.

use proto::planner::v1 as wire;
use serde::Serialize;
use utoipa::ToSchema;

use super::{some, workflows::ValidationReport};
use crate::payload::{Raw, raw_some};

/// A parameter of a pattern.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatternParameter {
    /// Its name.
    pub name: String,
    /// `role`, `roles`, `expression`, `template`, `duration`, `string`, `integer`, `number`, `boolean`, `list`, `object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub description: String,
    /// Whether it has to be given.
    pub required: bool,
    /// What it is when it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub default: Option<Raw>,
    /// JSON Schema of its values.
    #[schema(value_type = Value, required = false)]
    pub schema: Option<Raw>,
}

/// A pattern that definitions can name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pattern {
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
    /// Hex of the BLAKE3 of the text; absent for built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// RFC 3339; absent for built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Its text; lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl From<wire::Pattern> for Pattern {
    fn from(p: wire::Pattern) -> Self {
        let parameter = |p: wire::PatternParameter| PatternParameter {
            name: p.name,
            kind: p.r#type,
            description: p.description,
            required: p.default_json.is_empty(),
            default: raw_some(p.default_json),
            schema: raw_some(p.schema_json),
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
            source: some(p.source),
        }
    }
}

/// Every pattern there is: the built-in ones first, each in its newest version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatternList {
    /// Without their texts.
    pub patterns: Vec<Pattern>,
}

/// The answer to a registered pattern.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatternRegistered {
    /// The stored version.
    #[serde(flatten)]
    pub pattern: Pattern,
    /// What the check found.
    pub validation_report: ValidationReport,
}

impl From<wire::RegisterPatternResponse> for PatternRegistered {
    fn from(answer: wire::RegisterPatternResponse) -> Self {
        Self {
            pattern: answer.pattern.unwrap_or_default().into(),
            validation_report: ValidationReport::new(true, &answer.findings),
        }
    }
}

/// The answer to a deletion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatternDeleted {
    /// How many versions are gone.
    pub versions_deleted: u32,
}
