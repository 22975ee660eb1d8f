//! Counts and finds key terms, in findings or in any text.

use std::collections::BTreeMap;

use agent::{Agent, Call, Effect, Failure, Skill, Usage};
use serde_json::{Value, json};

use crate::{
    folder,
    input::{Answered, Asked},
    text::{self, Vocabulary},
};

const TERMS_USUAL: usize = 15;
const TERMS_MAX: usize = 100;

/// The agent: skills `data_processing` (statistics and key terms) and `insight_generation` (these, and what stands out).
/// Without a named skill it does the latter.
pub fn agent() -> Agent {
    let output = json!({
        "type": "object", "required": ["statistics", "key_terms"],
        "properties": {"statistics": {"type": "object"}, "key_terms": {"type": "array"}}
    });
    let skill = |id, description, tags: &[&str], insights: bool| {
        Skill::new(id, description).tags(tags).effect(Effect::Pure).output_schema(output.clone()).handler(
            move |call: Call| async move {
                call.progress(0.2, "counting");
                let input = call.input();
                let work = move || analyze(&input, insights);
                let done = tokio::task::spawn_blocking(work)
                    .await
                    .unwrap_or_else(|err| Err(Failure::failed(err)))?;
                // It pays for no tokens: the words that it read stand for them.
                call.used(Usage {
                    tokens: done["statistics"]["words"].as_u64().unwrap_or(0),
                    money_micros: 0,
                });
                Ok(done)
            },
        )
    };
    Agent::new("analyzer", "Statistics and key terms of findings and texts")
        .agent_type("analysis_agent")
        .tags(&["example", "analysis"])
        .skill(skill(
            "data_processing",
            "Counts words, sentences and sources, and finds key terms",
            &["statistics"],
            false,
        ))
        .skill(skill(
            "insight_generation",
            "Says what stands out in findings: sources, shared terms, gaps",
            &["insights"],
            true,
        ))
        .choose(|_| Some("insight_generation"))
}

/// `{statistics, key_terms, insights, answered}`; the findings are passed on, so that a report can cite them.
///
/// # Errors
/// When the input has neither findings nor a text nor a folder, or the folder cannot be read.
pub fn analyze(input: &Value, insights: bool) -> Result<Value, Failure> {
    let asked = Asked::new(input);
    let answered = asked.answered();
    let passages = passages(&asked, &answered)?;
    let mut vocabulary = Vocabulary::default();
    let (mut words, mut sentences) = (0, 0);
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    for (file, passage) in &passages {
        vocabulary.add(passage);
        words += text::words(passage).count();
        sentences += text::sentences(passage).len();
        if !file.is_empty() {
            *sources.entry(file).or_default() += 1;
        }
    }
    let key_terms = vocabulary.key_terms(asked.number("terms", TERMS_USUAL, TERMS_MAX));
    let average = if sentences == 0 { 0.0 } else { (words as f64 / sentences as f64 * 10.0).round() / 10.0 };
    let mut out = json!({
        "statistics": {
            "questions": answered.len(), "passages": passages.len(), "sources": sources, "words": words,
            "sentences": sentences, "words_per_sentence": average, "vocabulary": vocabulary.size(),
        },
        "key_terms": key_terms,
    });
    if insights {
        out["insights"] = json!(observe(&answered, &sources, &key_terms));
    }
    if !answered.is_empty() {
        out["question"] = json!(asked.question().unwrap_or_default());
        out["answered"] = json!(answered);
    }
    Ok(out)
}

/// What is looked at, each passage with its file: findings, each once; else the text; else the folder.
fn passages(asked: &Asked<'_>, answered: &[Answered]) -> Result<Vec<(String, String)>, Failure> {
    if asked.has_findings() {
        let mut seen: Vec<&str> = Vec::new();
        let mut out = Vec::new();
        for finding in answered.iter().flat_map(|a| &a.findings) {
            if !seen.contains(&finding.source.as_str()) {
                seen.push(&finding.source);
                out.push((finding.file.clone(), finding.text.clone()));
            }
        }
        return Ok(out);
    }
    if let Some(folder) =
        asked.text(&["folder"]).filter(|f| asked.text(&["text", "data"]) != Some(f) || f.starts_with('/'))
    {
        let refused = |err: folder::FolderError| Failure::Rejected(format!("input.folder: {err}"));
        let entries = folder::list(&folder::open(folder, None).map_err(refused)?).map_err(refused)?;
        return Ok(entries.iter().flat_map(folder::passages).map(|p| (p.file, p.text)).collect());
    }
    if let Some(text) = asked.text(&["text", "data"]) {
        return Ok(folder::split("", text).into_iter().map(|p| (String::new(), p.text)).collect());
    }
    Err(Failure::Rejected(
        "nothing to analyse in the input: neither findings nor text, data or folder".into(),
    ))
}

/// What stands out, as sentences.
fn observe(answered: &[Answered], sources: &BTreeMap<&str, usize>, terms: &[text::KeyTerm]) -> Vec<String> {
    let mut out = Vec::new();
    if let Some((file, n)) = sources.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0))) {
        let total: usize = sources.values().sum();
        out.push(format!("{file} is the richest source: {n} of {total} passages."));
    }
    let shared =
        terms.iter().filter(|t| t.passages >= 3).take(3).map(|t| t.term.as_str()).collect::<Vec<_>>();
    if !shared.is_empty() {
        out.push(format!("Terms that run through the material: {}.", shared.join(", ")));
    }
    let open: Vec<&str> = answered
        .iter()
        .filter(|a| a.findings.is_empty())
        .map(|a| a.question.as_str())
        .filter(|q| !q.is_empty())
        .collect();
    if !open.is_empty() {
        out.push(format!("Without an answer: {}", open.join(" ")));
    }
    let mut questions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, finding) in
        answered.iter().enumerate().flat_map(|(at, a)| a.findings.iter().map(move |f| (at, f)))
    {
        let list = questions.entry(&finding.source).or_default();
        if !list.contains(&at) {
            list.push(at);
        }
    }
    let links: Vec<&&str> = questions.iter().filter(|(_, q)| q.len() > 1).map(|(s, _)| s).collect();
    if let Some(first) = links.first() {
        out.push(format!("{} passages answer more than one question, {first} among them.", links.len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Value {
        let finding = |source: &str, text: &str| {
            let file = source.split(':').next().unwrap();
            json!({"text": text, "source": source, "file": file})
        };
        json!({"input": {"question": "All?"}, "dependencies": {"research": [
            {"question": "A?", "findings": [finding("a.md:1", "The event log is durable."), finding("b.md:4", "An event log replays. It is fast.")]},
            {"question": "B?", "findings": [finding("a.md:1", "The event log is durable.")]},
            {"question": "C?", "findings": []},
        ]}})
    }

    #[test]
    fn findings_are_counted_once_and_passed_on() {
        let out = analyze(&input(), true).unwrap();
        let statistics = &out["statistics"];
        assert_eq!((&statistics["questions"], &statistics["passages"]), (&json!(3), &json!(2)));
        assert_eq!(statistics["sources"], json!({"a.md": 1, "b.md": 1}));
        assert_eq!((&statistics["words"], &statistics["sentences"]), (&json!(12), &json!(3)));
        assert_eq!(out["key_terms"][0]["term"], "event log");
        assert_eq!(out["answered"].as_array().unwrap().len(), 3);
        let insights = out["insights"].to_string();
        assert!(
            insights.contains("a.md is the richest") && insights.contains("Without an answer: C?"),
            "{insights}"
        );
        assert!(insights.contains("a.md:1 among them"), "{insights}");
        assert_eq!(out, analyze(&input(), true).unwrap());
        assert!(analyze(&input(), false).unwrap().get("insights").is_none());
    }

    #[test]
    fn a_text_or_folder_is_analysed_by_itself() {
        let out = analyze(&json!({"data": "sample data to analyze. More sample data."}), true).unwrap();
        assert_eq!((&out["statistics"]["sentences"], out.get("answered")), (&json!(2), None));
        assert_eq!(out["key_terms"][0]["term"], "sample data");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.md"), "Queues hold work.\n\nQueues drop work.\n").unwrap();
        let out = analyze(&json!({"folder": dir.path().to_str()}), false).unwrap();
        assert_eq!(out["statistics"]["sources"], json!({"x.md": 2}));
        for bad in [json!({}), json!({"folder": "/no/such"}), Value::Null] {
            assert!(matches!(analyze(&bad, true), Err(Failure::Rejected(_))), "{bad}");
        }
    }
}
