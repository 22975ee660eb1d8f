//! Explains a body that cannot be read, with the schemas of the OpenAPI document.
//!
//! The typed reading is the check: types and schemas come from the same declarations. A body that fails it is looked at
//! again as a tree, so that the answer names every wrong field and not only the first.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use base::{Finding, Severity};
use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Value, json};
use utoipa::{ToSchema, openapi::OpenApi};

use crate::problem::Problem;

/// Most findings of one answer.
const FINDINGS_MAX: usize = 20;

/// The schemas of the API, compiled when first asked for.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    document: OnceLock<Value>,
    compiled: Mutex<HashMap<String, std::sync::Arc<Validator>>>,
}

impl Schemas {
    /// To be called once, when the document is complete.
    pub(crate) fn set(&self, document: &OpenApi) {
        let _ = self.document.set(serde_json::to_value(document).unwrap_or_default());
    }

    /// What is wrong with `value` by the schema called `name`; nothing when there is no such schema.
    fn check(&self, name: &str, value: &Value) -> Vec<Finding> {
        let Some(validator) = self.validator(name) else { return vec![] };
        let mut findings = vec![];
        for e in validator.iter_errors(value) {
            leaves(&e, &mut findings);
        }
        findings.truncate(FINDINGS_MAX);
        findings
    }

    fn validator(&self, name: &str) -> Option<std::sync::Arc<Validator>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = compiled.get(name) {
            return Some(validator.clone());
        }
        let components = self.document.get()?.get("components")?;
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": format!("#/components/schemas/{name}"),
            "components": components,
        });
        let validator = match jsonschema::validator_for(&schema) {
            Ok(validator) => std::sync::Arc::new(validator),
            Err(e) => {
                tracing::error!(schema = name, error = %e, "a schema of the API does not compile");
                return None;
            }
        };
        compiled.insert(name.to_owned(), validator.clone());
        Some(validator)
    }
}

/// The findings of an error. Of alternatives (`null` or an object, say) the one that was meant counts: the one whose
/// errors lie deepest.
fn leaves(e: &ValidationError<'_>, out: &mut Vec<Finding>) {
    let path = dotted(e.instance_path().as_str());
    match e.kind() {
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            let own = e.instance_path().as_str().len();
            let depth = |branch: &[ValidationError<'_>]| {
                // Another type is the weakest sign of what was meant.
                let meant = |e: &ValidationError<'_>| !matches!(e.kind(), ValidationErrorKind::Type { .. });
                branch.iter().map(|e| (e.instance_path().as_str().len(), meant(e))).max().unwrap_or_default()
            };
            match context.iter().max_by_key(|branch| depth(branch)) {
                Some(branch) if depth(branch) > (own, false) => {
                    branch.iter().for_each(|inner| leaves(inner, out));
                }
                _ => out.push(finding(path, e)),
            }
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let dot = if path.is_empty() { "" } else { "." };
            out.extend(unexpected.iter().map(|key| finding(format!("{path}{dot}{key}"), e)));
        }
        _ => out.push(finding(path, e)),
    }
}

fn finding(path: String, e: &ValidationError<'_>) -> Finding {
    Finding::new(Severity::Error, "schema", path, cut(&e.to_string()))
}

/// `/tasks/2/id` → `tasks[2].id`.
fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
            out.push_str(&format!("[{part}]"));
        } else {
            let dot = if out.is_empty() { "" } else { "." };
            out.push_str(&format!("{dot}{}", part.replace("~1", "/").replace("~0", "~")));
        }
    }
    out
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// JSON that is not JSON.
pub(crate) fn syntax(e: &serde_json::Error) -> Problem {
    let (line, column) = (u32::try_from(e.line()).unwrap_or(0), u32::try_from(e.column()).unwrap_or(0));
    let finding = Finding::new(Severity::Error, "syntax", "", e.to_string()).at(line, column);
    Problem::argument("body", format!("the body is not JSON: {e}")).findings(vec![finding])
}

/// Why `bytes` are not a `T`.
pub(crate) fn explain<T: ToSchema>(schemas: &Schemas, bytes: &[u8], e: &serde_json::Error) -> Problem {
    if !e.is_data() {
        return syntax(e);
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return syntax(e) };
    let mut findings = schemas.check(&T::name(), &value);
    let (line, column) = (u32::try_from(e.line()).unwrap_or(0), u32::try_from(e.column()).unwrap_or(0));
    if findings.is_empty() {
        findings.push(Finding::new(Severity::Error, "schema", "", e.to_string()).at(line, column));
    } else if findings.len() == 1 {
        // The reader stopped at this one place.
        findings[0] = findings[0].clone().at(line, column);
    }
    let field = findings.first().map(|f| f.path.clone()).filter(|path| !path.is_empty());
    let detail = format!("the body is not a {}: {e}", T::name());
    Problem::argument(field.unwrap_or_else(|| "body".into()), detail).findings(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_reads_like_a_path() {
        for (pointer, want) in [("", ""), ("/a", "a"), ("/tasks/2/id", "tasks[2].id"), ("/a~1b/~0", "a/b.~")]
        {
            assert_eq!(dotted(pointer), want);
        }
    }
}
