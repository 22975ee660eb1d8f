//! Merges findings into a Markdown report.

use std::fmt::Write;

use agent::Failure;
use serde_json::{Value, json};

use crate::input::{Answered, Asked, Finding};

/// Passages shown for one question.
const SHOWN_MAX: usize = 5;

/// The report: `{report, sources, quality}`.
///
/// # Errors
/// When no task before this one was asked to find something.
pub fn merge(input: &Value) -> Result<Value, Failure> {
    let asked = Asked::new(input);
    if !asked.has_findings() {
        return Err(Failure::Rejected("no findings in the input: a research task must come before".into()));
    }
    let answered = asked.answered();
    let title = asked.question().map(str::to_owned).unwrap_or_else(|| "Report".into());
    let mut sources = Sources::default();
    let mut body = String::new();
    for part in &answered {
        section(&mut body, part, &mut sources);
    }
    let mut report = format!("# {title}\n\n## Summary\n\n{}{body}", summary(&answered, &sources));
    if let Some(terms) = asked.from_dependencies("key_terms").and_then(Value::as_array) {
        let names: Vec<&str> = terms.iter().filter_map(|t| t.get("term")?.as_str()).take(12).collect();
        let _ = write!(report, "\n## Key terms\n\n{}\n", names.join(", "));
    }
    if let Some(insights) = asked.from_dependencies("insights").and_then(Value::as_array) {
        report.push_str("\n## Observations\n\n");
        insights.iter().filter_map(Value::as_str).for_each(|i| _ = writeln!(report, "- {i}"));
    }
    let quality = assess(&answered);
    coverage(&mut report, &quality);
    report.push_str("\n## Sources\n\n");
    for (at, (source, heading)) in sources.list.iter().enumerate() {
        let under = if heading.is_empty() { String::new() } else { format!(" ({heading})") };
        let _ = writeln!(report, "{}. {source}{under}", at + 1);
    }
    if sources.list.is_empty() {
        report.push_str("None: nothing in the folder answers these questions.\n");
    }
    let list: Vec<&String> = sources.list.iter().map(|(source, _)| source).collect();
    Ok(json!({"report": report, "sources": list, "quality": quality}))
}

/// Sources in the order of their first mention, numbered from 1.
#[derive(Default)]
struct Sources {
    list: Vec<(String, String)>,
}

impl Sources {
    fn number(&mut self, finding: &Finding) -> usize {
        if let Some(at) = self.known(finding) {
            return at;
        }
        self.list.push((finding.source.clone(), finding.heading.clone()));
        self.list.len()
    }
    fn known(&self, finding: &Finding) -> Option<usize> {
        self.list.iter().position(|(source, _)| *source == finding.source).map(|at| at + 1)
    }
}

fn section(body: &mut String, part: &Answered, sources: &mut Sources) {
    let heading = if part.question.is_empty() { "Findings" } else { &part.question };
    let _ = write!(body, "\n## {heading}\n\n");
    if part.findings.is_empty() {
        body.push_str("Nothing was found.\n");
    }
    for finding in part.findings.iter().take(SHOWN_MAX) {
        let seen = sources.known(finding);
        let number = sources.number(finding);
        match seen {
            Some(_) => _ = writeln!(body, "- See [{number}] above ({}).", finding.source),
            None => _ = writeln!(body, "- {} [{number}]", one_line(&finding.text)),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The best sentence for each question that was not told for one before it.
fn summary(answered: &[Answered], sources: &Sources) -> String {
    let mut out = String::new();
    let mut told: Vec<&str> = Vec::new();
    for part in answered {
        let new = |f: &&Finding| !f.source.is_empty() && !told.contains(&f.source.as_str());
        let Some(finding) = part.findings.iter().find(new) else { continue };
        told.push(&finding.source);
        let text = one_line(&finding.text);
        let first = crate::text::sentences(&text).first().map_or(text.as_str(), |(_, s)| s).to_owned();
        let number = sources.known(finding).map(|n| format!(" [{n}]")).unwrap_or_default();
        let _ = writeln!(out, "- {first}{number}");
    }
    if out.is_empty() { "Nothing was found.\n".into() } else { out }
}

/// How well each question is covered: `good` from three passages of two files on, `thin` below, `none`.
fn assess(answered: &[Answered]) -> Value {
    let rows: Vec<Value> = answered
        .iter()
        .map(|part| {
            let mut files: Vec<&str> = part.findings.iter().map(|f| f.file.as_str()).collect();
            files.sort_unstable();
            files.dedup();
            let verdict = match (part.findings.len(), files.len()) {
                (0, _) => "none",
                (3.., 2..) => "good",
                _ => "thin",
            };
            json!({"question": part.question, "passages": part.findings.len(), "files": files.len(), "verdict": verdict})
        })
        .collect();
    let good = rows.iter().filter(|r| r["verdict"] == "good").count();
    let score = if rows.is_empty() { 0.0 } else { (good as f64 / rows.len() as f64 * 100.0).round() / 100.0 };
    json!({"score": score, "questions": rows})
}

fn coverage(report: &mut String, quality: &Value) {
    report.push_str("\n## Coverage\n\n| question | passages | files | verdict |\n|---|---|---|---|\n");
    for row in quality["questions"].as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().replace('|', "/");
        let _ = writeln!(
            report,
            "| {} | {} | {} | {} |",
            text("question"),
            row["passages"],
            row["files"],
            text("verdict")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(file: &str, line: usize, text: &str) -> Value {
        json!({"text": text, "source": format!("{file}:{line}"), "file": file, "line": line, "heading": "H", "score": 1.0})
    }

    #[test]
    fn the_report_cites_every_source_once_and_says_what_is_missing() {
        let first = json!({"question": "What?", "findings": [
            finding("a.md", 1, "Alpha is first. More."), finding("b.md", 2, "Beta."), finding("a.md", 9, "Gamma.")]});
        let second = json!({"question": "Why?", "findings": [finding("a.md", 1, "Alpha is first. More.")]});
        let third = json!({"question": "When?", "findings": []});
        let input =
            json!({"input": {"question": "All?"}, "dependencies": {"research": [first, second, third]}});
        let output = merge(&input).unwrap();
        assert_eq!(output["sources"], json!(["a.md:1", "b.md:2", "a.md:9"]));
        let verdicts: Vec<&str> = output["quality"]["questions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|q| q["verdict"].as_str().unwrap())
            .collect();
        assert_eq!(verdicts, ["good", "thin", "none"]);
        assert_eq!(output["quality"]["score"], 0.33);
        let report = output["report"].as_str().unwrap();
        for want in [
            "# All?\n",
            "- Alpha is first. [1]\n",
            "- Alpha is first. More. [1]\n",
            "See [1] above",
            "## When?\n\nNothing was found.",
            "1. a.md:1 (H)\n",
            "| When? | 0 | 0 | none |",
        ] {
            assert!(report.contains(want), "{want:?} is not in:\n{report}");
        }
    }

    #[test]
    fn an_analysis_in_between_adds_its_terms() {
        let answered = json!([{"question": "Q", "findings": [finding("a.md", 1, "Text.")]}]);
        let analysis = json!({"answered": answered, "key_terms": [{"term": "event log", "count": 2}], "insights": ["One."]});
        let report = merge(&json!({"input": {}, "dependencies": {"analyze": analysis}})).unwrap()["report"]
            .to_string();
        assert!(
            report.contains("event log") && report.contains("- One.") && report.contains("# Report"),
            "{report}"
        );
    }

    #[test]
    fn without_research_there_is_no_report() {
        assert!(matches!(merge(&json!({"question": "Q"})), Err(Failure::Rejected(_))));
        let empty =
            merge(&json!({"dependencies": {"research": [{"question": "Q", "findings": []}]}})).unwrap();
        assert!(empty["report"].as_str().unwrap().contains("nothing in the folder"));
        assert_eq!(empty["quality"]["score"], 0.0);
    }
}
