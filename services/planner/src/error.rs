//! What a request can fail with. A variant exists where a caller acts differently.

use base::{ErrorCode, Finding};
use store::StoreError;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlannerError {
    /// The definition has errors.
    #[error("{}", refused(.findings))]
    Rejected {
        /// What kind of refusal.
        code: ErrorCode,
        /// Everything found.
        findings: Vec<Finding>,
    },
    /// A field of the request is wrong.
    #[error("{field}: {rule}")]
    BadRequest {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and the remedy.
        rule: String,
    },
    /// No such workflow or version.
    #[error("workflow {0} does not exist")]
    NotFound(String),
    /// The version exists with another content.
    #[error("{name}@{version} exists with another content: give this one another version")]
    Exists {
        /// The workflow.
        name: String,
        /// The version.
        version: String,
    },
    /// Executions of it are active.
    #[error("{workflow} has active executions: wait for them, or cancel them")]
    Active {
        /// What was to be deleted.
        workflow: String,
        /// Some of the executions.
        executions: Vec<String>,
    },
    /// No such pattern or version.
    #[error("pattern {0} does not exist")]
    NoPattern(String),
    /// Built-in patterns stay.
    #[error("{0} is a built-in pattern and cannot be deleted")]
    BuiltIn(String),
    /// Something stored was expanded with it.
    #[error("{pattern} is used: delete what uses it first")]
    PatternUsed {
        /// What was to be deleted.
        pattern: String,
        /// Some of what uses it.
        by: Vec<String>,
    },
    /// There are as many patterns as there may be.
    #[error("there are {most} versions of patterns already: delete some that nothing uses")]
    Full {
        /// The limit.
        most: u32,
    },
    /// Nobody can say whether executions are active.
    #[error("no executor answers, so active executions cannot be ruled out: try again")]
    ExecutorAway,
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// A bug; the log has the cause.
    #[error("internal error")]
    Internal,
}

/// The first error in a sentence, and how many more there are.
fn refused(findings: &[Finding]) -> String {
    let mut errors = findings.iter().filter(|finding| finding.is_error());
    let Some(first) = errors.next() else { return "the definition is refused".into() };
    let more = errors.count();
    let place = match first.line {
        0 => String::new(),
        line => format!("line {line}: "),
    };
    match more {
        0 => format!("the definition is refused: {place}{}", first.message),
        1 => format!("the definition is refused: {place}{}; and one more error", first.message),
        _ => format!("the definition is refused: {place}{}; and {more} more errors", first.message),
    }
}

#[cfg(test)]
mod tests {
    use base::Severity;

    use super::*;

    #[test]
    fn a_refusal_reads_as_its_first_error() {
        let error = |line| Finding::new(Severity::Error, "c", "p", "it is wrong").at(line, 1);
        let text =
            |findings| PlannerError::Rejected { code: ErrorCode::InvalidDefinition, findings }.to_string();
        assert_eq!(text(vec![]), "the definition is refused");
        let note = Finding::new(Severity::Note, "c", "p", "note");
        assert_eq!(text(vec![note, error(3)]), "the definition is refused: line 3: it is wrong");
        assert!(text(vec![error(0), error(1)]).ends_with("refused: it is wrong; and one more error"));
        assert!(text(vec![error(1), error(2), error(3)]).ends_with("and 2 more errors"));
    }
}
