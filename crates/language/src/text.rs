//! Text to a tree in which every key and value knows its line and column.

pub(crate) mod json;
pub(crate) mod tree;
pub(crate) mod yaml;

use crate::{Limits, report::Report};

use tree::Node;

/// How a definition is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// JSON (RFC 8259).
    Json,
}

impl Format {
    /// The name used in contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }
    /// Reads the name used in contracts.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "yaml" | "yml" | "application/yaml" => Some(Self::Yaml),
            "json" | "application/json" => Some(Self::Json),
            _ => None,
        }
    }
    /// Tells the two apart by the first character: an object in braces is read as JSON, everything else as YAML.
    pub fn of(text: &str) -> Self {
        match text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
            true => Self::Json,
            false => Self::Yaml,
        }
    }
}

/// Parses `text`; what is wrong goes into `report`. `None` when there is no tree to go on with.
pub(crate) fn parse(
    text: &str,
    format: Option<Format>,
    limits: &Limits,
    report: &mut Report,
) -> Option<Node> {
    if text.len() > limits.source_bytes_max {
        let message = format!("the text has {} bytes, the limit is {}", text.len(), limits.source_bytes_max);
        report.error("limit-size", tree::Pos::START, "", message).remedy("split the definition");
        return None;
    }
    match format.unwrap_or_else(|| Format::of(text)) {
        Format::Yaml => yaml::parse(text, limits, report),
        // A flow mapping of YAML starts like JSON; what is not JSON may still be YAML when nobody said otherwise.
        Format::Json if format.is_none() => {
            let mut as_json = Report::default();
            match json::parse(text, limits, &mut as_json) {
                Some(node) => Some(node),
                None if as_json.has("syntax") => {
                    let mut as_yaml = Report::default();
                    match yaml::parse(text, limits, &mut as_yaml) {
                        Some(node) if !as_yaml.has_errors() => Some(node),
                        _ => {
                            report.absorb(as_json);
                            None
                        }
                    }
                }
                None => {
                    report.absorb(as_json);
                    None
                }
            }
        }
        Format::Json => json::parse(text, limits, report),
    }
}
