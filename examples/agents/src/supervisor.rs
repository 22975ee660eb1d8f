//! Splits a question into sub-questions, and merges what was found for them into a report.

use agent::{Agent, Call, Effect, Failure, Skill};
use serde_json::{Value, json};

use crate::{input::Asked, report, text};

/// Sub-questions made when the input does not say how many.
const SUBQUESTIONS_USUAL: usize = 5;
const SUBQUESTIONS_MAX: usize = 20;
/// A question is completed by general ones up to this number.
const SUBQUESTIONS_WANTED: usize = 3;

/// The agent: skills `task_decomposition` and `quality_assessment`. Without a named skill the input decides:
/// where findings are, they are merged; else a question is split.
pub fn agent() -> Agent {
    let decompose = Skill::new(
        "task_decomposition",
        "Splits a question into sub-questions that can be answered side by side",
    )
    .tags(&["planning", "questions"])
    .effect(Effect::Pure)
    .output_schema(json!({
        "type": "object", "required": ["question", "subquestions"],
        "properties": {
            "question": {"type": "string"},
            "subquestions": {"type": "array", "minItems": 1, "items": {"type": "string"}}
        }
    }))
    .handler(|call: Call| async move { decompose(&call.input()) });
    let assess = Skill::new("quality_assessment", "Merges findings into a Markdown report with sources, and says how well each question is covered")
        .tags(&["report", "review"])
        .effect(Effect::Pure)
        .output_schema(json!({
            "type": "object", "required": ["report", "sources", "quality"],
            "properties": {"report": {"type": "string"}, "sources": {"type": "array"}, "quality": {"type": "object"}}
        }))
        .handler(|call: Call| async move {
            call.progress(0.1, "reading findings");
            report::merge(&call.input())
        });
    Agent::new("supervisor", "Plans research and writes the report")
        .agent_type("supervisor_agent")
        .tags(&["example", "supervisor"])
        .skill(decompose)
        .skill(assess)
        .choose(|input| {
            Some(if Asked::new(input).has_findings() { "quality_assessment" } else { "task_decomposition" })
        })
}

/// The question of the input and its sub-questions.
///
/// # Errors
/// When there is no question.
pub fn decompose(input: &Value) -> Result<Value, Failure> {
    let asked = Asked::new(input);
    let Some(question) = asked.question() else {
        return Err(Failure::Rejected("input.question is missing: what is to be found out?".into()));
    };
    let most = asked.number("max_subquestions", SUBQUESTIONS_USUAL, SUBQUESTIONS_MAX);
    Ok(json!({"question": question, "subquestions": subquestions(question, most)}))
}

/// At most `most` sub-questions, in the order of the question; never empty for a question with a word in it.
pub fn subquestions(question: &str, most: usize) -> Vec<String> {
    let parts = parts(question);
    let subject = parts.first().map(|p| subject(p)).unwrap_or_default();
    let mut out: Vec<String> = Vec::new();
    let mut add = |text: String| {
        let known = out.iter().any(|q| text::terms(q) == text::terms(&text));
        if !known && out.len() < most {
            out.push(text);
        }
    };
    for (at, part) in parts.iter().enumerate() {
        let part = part.trim_end_matches(['?', '.', '!', ';', ' ']);
        let named = text::terms(&subject).iter().all(|t| text::terms(part).contains(t));
        let about =
            if at > 0 && !named && leans_on_others(part) { format!(" ({subject})") } else { String::new() };
        add(format!("{}{about}?", capital(part)));
    }
    if !subject.is_empty() && parts.len() < SUBQUESTIONS_WANTED {
        let general = [
            format!("What is known about {subject}?"),
            format!("Which problems, failures and limits come with {subject}?"),
            format!("What does {subject} cost, and which alternatives exist?"),
        ];
        general.into_iter().take(SUBQUESTIONS_WANTED + 1 - parts.len()).for_each(add);
    }
    if out.is_empty() {
        out.push(question.trim().to_owned());
    }
    out
}

/// Sentences, and clauses that are questions of their own.
fn parts(question: &str) -> Vec<String> {
    const ASKS: [&str; 13] =
        ["how", "what", "which", "why", "when", "where", "who", "does", "do", "is", "are", "can", "should"];
    let mut out = Vec::new();
    for (_, sentence) in text::sentences(question) {
        for clause in sentence.split(';') {
            let words: Vec<&str> = clause.split_whitespace().collect();
            let mut begin = 0;
            for at in 1..words.len() {
                let joins = matches!(words[at - 1].trim_matches(','), "and" | "or" | "but")
                    || words[at - 1].ends_with(',');
                let asks = ASKS.contains(&words[at].to_lowercase().as_str());
                if joins && asks && at - begin >= 3 {
                    out.push(clean(&words[begin..at]));
                    begin = at;
                }
            }
            out.push(clean(&words[begin..]));
        }
    }
    out.retain(|p| !text::terms(p).is_empty());
    out
}

fn clean(words: &[&str]) -> String {
    let mut words = words.to_vec();
    while words.last().is_some_and(|w| matches!(w.trim_matches(','), "and" | "or" | "but")) {
        words.pop();
    }
    while words.len() > 1
        && words.first().is_some_and(|w| matches!(w.to_lowercase().as_str(), "and" | "or" | "but"))
    {
        words.remove(0);
    }
    words.join(" ").trim_end_matches(',').to_owned()
}

/// What a question is about: its longest run of words that carry a subject.
fn subject(question: &str) -> String {
    let mut best: Vec<String> = Vec::new();
    let mut run: Vec<String> = Vec::new();
    for word in text::words(question).chain(std::iter::once("the".into())) {
        if text::is_stop_word(&word) {
            if run.len() > best.len() {
                best = std::mem::take(&mut run);
            }
            run.clear();
        } else {
            run.push(word);
        }
    }
    best.truncate(3);
    best.join(" ")
}

/// Whether a clause speaks of something named before it.
fn leans_on_others(clause: &str) -> bool {
    text::words(clause).any(|w| {
        matches!(w.as_str(), "it" | "its" | "they" | "them" | "their" | "this" | "that" | "these" | "those")
    }) || text::terms(clause).len() < 2
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_split_where_it_asks_again() {
        let question = "How do durable workflow engines survive crashes, and what does it cost? Which alternatives exist?";
        assert_eq!(
            subquestions(question, 10),
            [
                "How do durable workflow engines survive crashes?",
                "What does it cost (durable workflow engines)?",
                "Which alternatives exist (durable workflow engines)?",
            ]
        );
    }

    #[test]
    fn a_short_question_is_completed_by_general_ones() {
        let found = subquestions("How do sagas work?", 5);
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|q| q.to_lowercase().contains("sagas")), "{found:?}");
        assert_eq!(subquestions("How do sagas work?", 2).len(), 2);
        assert_eq!(subquestions("consensus", 5)[0], "Consensus?");
    }

    #[test]
    fn odd_questions_do_not_break() {
        for odd in ["?", "the of and", "x", "and and and what", "a, b, c", "größe über alles; und?"] {
            assert!(!subquestions(odd, 5).is_empty(), "{odd}");
        }
        let same = subquestions("What is a log? What is a log? What is a log?", 5);
        assert_eq!(same.iter().filter(|q| *q == "What is a log?").count(), 1);
    }

    #[test]
    fn the_output_has_exactly_one_list_to_scatter() {
        let output = decompose(&json!({"question": "How do queues work?", "folder": "f"})).unwrap();
        let lists = output.as_object().unwrap().values().filter(|v| v.is_array()).count();
        assert_eq!(lists, 1);
        assert!(matches!(decompose(&json!({"folder": "f"})), Err(Failure::Rejected(_))));
        let many =
            json!({"question": "What is a? What is b1? What is c1? What is d1?", "max_subquestions": 2});
        assert_eq!(decompose(&many).unwrap()["subquestions"].as_array().unwrap().len(), 2);
    }
}
