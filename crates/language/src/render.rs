//! Findings printed with the lines they point at, as a good compiler does.

use std::fmt::Write as _;

use base::Finding;

/// Longest part of a line that is shown, in characters.
const LINE_CHARS_MAX: usize = 160;

/// Prints `findings` over `source`, which people know as `file_name`.
///
/// ```text
/// error[unknown-key]: `depend_on` is not known here
///  --> research.yaml:12:7
///    |
/// 12 |       depend_on: [collect]
///    |       ^^^^^^^^^
///    = help: write `depends_on`
/// ```
pub fn render(findings: &[Finding], file_name: &str, source: &str) -> String {
    let lines: Vec<&str> = source.strip_prefix('\u{feff}').unwrap_or(source).lines().collect();
    let name = if file_name.is_empty() { "definition" } else { file_name };
    let mut out = String::new();
    for finding in findings {
        one(&mut out, finding, name, &lines);
    }
    out
}

fn one(out: &mut String, finding: &Finding, file_name: &str, lines: &[&str]) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{}[{}]: {}", finding.severity.as_str(), finding.code, finding.message);
    if finding.line > 0 {
        let number = finding.line.to_string();
        let margin = " ".repeat(number.len());
        let _ = writeln!(out, "{margin}--> {file_name}:{}:{}", finding.line, finding.column);
        if let Some(line) = lines.get(finding.line as usize - 1) {
            let (text, column) = part(line, finding.column.max(1) as usize);
            let before: String =
                text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let carets = "^".repeat(token_length(&text, column));
            let _ = writeln!(out, "{margin} |\n{number} | {text}\n{margin} | {before}{carets}");
        }
        if !finding.remedy.is_empty() {
            let _ = writeln!(out, "{margin} = help: {}", finding.remedy);
        }
    } else {
        if !finding.path.is_empty() {
            let _ = writeln!(out, " --> {file_name}: {}", finding.path);
        }
        if !finding.remedy.is_empty() {
            let _ = writeln!(out, " = help: {}", finding.remedy);
        }
    }
    out.push('\n');
}

/// The part of a line around `column`, and the column in it.
fn part(line: &str, column: usize) -> (String, usize) {
    let skip = column.saturating_sub(LINE_CHARS_MAX / 2);
    if skip == 0 {
        return (line.chars().take(LINE_CHARS_MAX).collect(), column);
    }
    (std::iter::once('…').chain(line.chars().skip(skip).take(LINE_CHARS_MAX)).collect(), column - skip + 1)
}

/// How long the word, number or text at `column` is; at least 1.
fn token_length(line: &str, column: usize) -> usize {
    let mut rest = line.chars().skip(column - 1);
    match rest.next() {
        Some(quote @ ('"' | '\'')) => rest.position(|c| c == quote).map_or(1, |n| n + 2),
        Some(_) => 1 + rest.take_while(|c| !c.is_whitespace() && !matches!(c, ':' | ',' | ']' | '}')).count(),
        None => 1,
    }
}
