//! Findings while they are collected: all of them, not the first.

use base::{Finding, Severity};

use crate::text::tree::Pos;

/// Findings of one definition, in the order of the text once they are taken out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    max: Option<usize>,
    dropped: usize,
    errors: usize,
    /// Uses of patterns: what [`Pos::origin`] counts, from 1.
    origins: Vec<(String, Pos)>,
}

/// Adds to the finding that was just reported.
pub(crate) struct Reported<'a>(Option<&'a mut Finding>);

impl Reported<'_> {
    pub(crate) fn remedy(self, remedy: impl Into<String>) {
        if let Some(finding) = self.0 {
            finding.remedy = remedy.into();
        }
    }
}

impl Report {
    pub(crate) fn with_max(max: usize) -> Self {
        Self { max: Some(max), ..Self::default() }
    }
    /// Notes a use of a pattern; places in the pattern's text get this origin.
    pub(crate) fn origin(&mut self, pattern: &str, at: Pos) -> u32 {
        self.origins.push((pattern.to_owned(), at));
        u32::try_from(self.origins.len()).unwrap_or(u32::MAX)
    }

    /// The place in the text itself, and which lines of which patterns it stands for.
    fn seen_from_the_text(&self, mut at: Pos) -> (Pos, String) {
        let mut within = String::new();
        while let Some((pattern, used)) =
            (at.origin as usize).checked_sub(1).and_then(|n| self.origins.get(n))
        {
            within += &format!(" (pattern `{pattern}`, line {})", at.line);
            at = *used;
        }
        (at, within)
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        at: Pos,
        path: impl ToString,
        message: impl Into<String>,
    ) -> Reported<'_> {
        self.errors += usize::from(severity == Severity::Error);
        if self.max.is_some_and(|max| self.findings.len() >= max) {
            self.dropped += 1;
            return Reported(None);
        }
        let (at, within) = self.seen_from_the_text(at);
        let message = message.into() + &within;
        self.findings.push(Finding::new(severity, code, path.to_string(), message).at(at.line, at.column));
        Reported(self.findings.last_mut())
    }
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        at: Pos,
        path: impl ToString,
        message: impl Into<String>,
    ) -> Reported<'_> {
        self.add(Severity::Error, code, at, path, message)
    }
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        at: Pos,
        path: impl ToString,
        message: impl Into<String>,
    ) -> Reported<'_> {
        self.add(Severity::Warning, code, at, path, message)
    }
    pub(crate) fn note(
        &mut self,
        code: &'static str,
        at: Pos,
        path: impl ToString,
        message: impl Into<String>,
    ) -> Reported<'_> {
        self.add(Severity::Note, code, at, path, message)
    }
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }
    pub(crate) fn has(&self, code: &str) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }
    pub(crate) fn absorb(&mut self, other: Self) {
        self.errors += other.errors;
        self.dropped += other.dropped;
        self.findings.extend(other.findings);
    }
    /// The findings by line and column.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.line, finding.column));
        if self.dropped > 0 {
            let message = format!("{} further findings are not shown", self.dropped);
            let severity = if self.has_errors() { Severity::Error } else { Severity::Warning };
            self.findings.push(Finding::new(severity, "limit-findings", "", message));
        }
        // Where what to do depends on the place, it was said there.
        for finding in self.findings.iter_mut().filter(|finding| finding.remedy.is_empty()) {
            finding.remedy = usual_remedy(&finding.code);
        }
        self.findings
    }
}

/// What to do about a finding of this code, whatever its place.
fn usual_remedy(code: &str) -> String {
    match code {
        "syntax" => {
            "look at quotes, brackets and indentation (spaces, no tabs) here and in the line before".into()
        }
        "bad-expression" => {
            "expressions are CEL: `input.n > 3`, `tasks.a.output.done && !has(input.skip)`".into()
        }
        "bad-resource" => "write `cpu: 2 cores`, `memory: 4GB`, `network: 100Mbps`".into(),
        "no-effect-yet" => "leave it out, or keep it for a release that knows it".into(),
        "limit-findings" => "mend those that are shown first".into(),
        code => format!("see `{code}` in docs/language.md"),
    }
}
