//! What a check found in a definition, a request or a setting.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// Accepted, and probably not what was meant.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The text form of the contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Error, Self::Warning, Self::Note].into_iter().find(|s| s.as_str() == text)
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code in kebab case, `unknown-key`.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
    /// Line in the text, from 1; 0 = unknown.
    #[serde(default)]
    pub line: u32,
    /// Column in the text, from 1; 0 = unknown.
    #[serde(default)]
    pub column: u32,
    /// Where in the document, `tasks[2].depends_on[0]`; empty = the whole.
    #[serde(default)]
    pub path: String,
    /// What to do; empty when the message says it.
    #[serde(default)]
    pub remedy: String,
}

impl Finding {
    /// A finding at a path, its place in the text unknown.
    pub fn new(
        severity: Severity,
        code: impl Into<String>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code: code.into(),
            message: message.into(),
            line: 0,
            column: 0,
            path: path.into(),
            remedy: String::new(),
        }
    }
    /// The same with a remedy.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
    /// The same at a place in the text.
    #[must_use]
    pub fn at(self, line: u32, column: u32) -> Self {
        Self { line, column, ..self }
    }
    /// Whether the document is refused because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl std::fmt::Display for Finding {
    /// `error[unknown-key] at capabilities[0]: … (remedy)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.severity.as_str(), self.code)?;
        if self.line > 0 {
            write!(f, " {}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, " ({})", self.remedy) }
    }
}

/// The word of `among` that `word` was probably meant to be: the nearest by edits (insert, delete, replace, swap of
/// neighbours), letter case and `_`/`-` ignored, if it is near enough to be a slip. Ties go to the earlier word.
pub fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| -> Vec<char> {
        text.chars().take(64).filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(word);
    // Half of a short word may be wrong, three letters of a long one; a contained word (`search` in `web_search`) is near too.
    let limit = (wanted.len() / 2).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in among {
        let other = plain(candidate);
        let short = wanted.len().min(other.len());
        let mut distance = edits(&wanted, &other);
        if distance > limit && short >= 3 && (holds(&wanted, &other) || holds(&other, &wanted)) {
            distance = limit;
        }
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn holds(long: &[char], short: &[char]) -> bool {
    !short.is_empty() && long.windows(short.len()).any(|part| part == short)
}

/// Optimal string alignment distance.
fn edits(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; width];
        for j in 1..width {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let words = ["depends_on", "timeout", "search", "id", "name"];
        for (word, want) in [
            ("depend_on", Some("depends_on")),
            ("dependsOn", Some("depends_on")),
            ("tiemout", Some("timeout")),
            ("web_search", Some("search")),
            ("ids", Some("id")),
            ("nmae", Some("name")),
            ("entirely_else", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), want, "{word}");
        }
    }

    #[test]
    fn a_finding_reads_like_a_compilers() {
        let found =
            Finding::new(Severity::Error, "unknown-key", "a.b", "`x` is not known").remedy("write `y`");
        assert_eq!(found.to_string(), "error[unknown-key] at a.b: `x` is not known (write `y`)");
        assert!(found.is_error());
        let note = Finding::new(Severity::Note, "n", "", "m").at(2, 3);
        assert_eq!(note.to_string(), "note[n] 2:3: m");
        for severity in [Severity::Error, Severity::Warning, Severity::Note] {
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
        }
        assert_eq!(Severity::parse("fatal"), None);
        let back: Finding = serde_json::from_str(&serde_json::to_string(&note).unwrap()).unwrap();
        assert_eq!(back, note);
    }
}
