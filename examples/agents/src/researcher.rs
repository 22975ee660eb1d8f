//! Searches a folder of text for passages that answer a question.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use agent::{Agent, Call, Effect, Failure, Skill, Usage};
use serde_json::{Value, json};

use crate::{
    folder,
    input::{Answered, Asked, Finding},
    search::{Libraries, SearchError},
    text,
};

/// Passages given for one question when the input does not say how many.
const LIMIT_USUAL: usize = 5;
const LIMIT_MAX: usize = 50;

/// What a researcher may read.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// Searched when the input names no folder.
    pub folder: Option<String>,
    /// The only folder that may be read, with what is below it; `None` = any.
    pub root: Option<PathBuf>,
}

struct Researcher {
    shelf: Shelf,
    libraries: Libraries,
}

/// The agent: skills `web_search` (passages that answer a question) and `data_collection` (what the folder holds).
/// Both read the folder that the input names; there is no network. Without a named skill a question is searched.
pub fn agent(shelf: Shelf) -> Agent {
    let researcher = Arc::new(Researcher { shelf, libraries: Libraries::default() });
    let input = json!({
        "type": "object",
        "properties": {
            "input": {"type": "object", "properties": {"folder": {"type": "string"}}},
            "folder": {"type": "string"}
        }
    });
    let skill = |id, description, tags: &[&str], work: fn(&Researcher, &Call) -> Result<Value, Failure>| {
        let researcher = researcher.clone();
        Skill::new(id, description).tags(tags).effect(Effect::Pure).input_schema(input.clone()).handler(
            move |call: Call| {
                let researcher = researcher.clone();
                async move { in_background(move || work(&researcher, &call)).await }
            },
        )
    };
    let search = skill(
        "web_search",
        "Finds the passages of a folder of text that answer a question, with file and line",
        &["search", "research"],
        Researcher::search,
    )
    .output_schema(json!({
        "type": "object", "required": ["question", "findings"],
        "properties": {"question": {"type": "string"}, "findings": {"type": "array", "items": {
            "type": "object", "required": ["text", "source"],
            "properties": {"text": {"type": "string"}, "source": {"type": "string"}}
        }}}
    }));
    let collect =
        skill("data_collection", "Lists what a folder of text holds", &["inventory"], Researcher::collect);
    Agent::new("researcher", "Searches folders of text")
        .agent_type("research_agent")
        .tags(&["example", "research"])
        .skill(search)
        .skill(collect)
        .choose(|input| {
            let asked = Asked::new(input);
            let question = asked.item().is_some() || asked.question().is_some();
            Some(if question { "web_search" } else { "data_collection" })
        })
}

/// Reading and indexing keep a thread busy: not one that serves calls.
async fn in_background(
    work: impl FnOnce() -> Result<Value, Failure> + Send + 'static,
) -> Result<Value, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|err| Err(Failure::failed(err)))
}

fn to_failure(err: SearchError) -> Failure {
    match err {
        SearchError::Folder(err) => Failure::Rejected(format!("input.folder: {err}")),
        SearchError::Index(err) => Failure::failed(err),
    }
}

impl Researcher {
    fn folder(&self, asked: &Asked<'_>) -> Result<PathBuf, Failure> {
        let named = asked.text(&["folder", "path", "directory"]).or(self.shelf.folder.as_deref());
        let Some(path) = named.filter(|p| asked.question() != Some(*p)) else {
            return Err(Failure::Rejected("input.folder is missing: which folder is to be searched?".into()));
        };
        folder::open(path, self.shelf.root.as_deref()).map_err(|e| to_failure(e.into()))
    }

    fn search(&self, call: &Call) -> Result<Value, Failure> {
        let input = call.input();
        let asked = Asked::new(&input);
        let questions = questions(&asked, call.position());
        if questions.is_empty() {
            return Err(Failure::Rejected("no question in the input: neither item nor question".into()));
        }
        let folder = self.folder(&asked)?;
        let limit = asked.number("passages", LIMIT_USUAL, LIMIT_MAX);
        call.progress(0.1, "reading the folder");
        let library = self.libraries.open(&folder).map_err(to_failure)?;
        let mut answered = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            if call.is_cancelled() {
                return Err(Failure::failed("cancelled"));
            }
            call.progress(0.4 + 0.6 * at as f32 / questions.len() as f32, question);
            let findings = library.search(question, limit).map_err(to_failure)?;
            answered.push(Answered { question: question.clone(), findings });
        }
        // It pays for no tokens: the words of what it found stand for them.
        let found = answered.iter().flat_map(|a| &a.findings);
        let words = found.map(|finding| text::words(&finding.text).count() as u64).sum();
        call.used(Usage { tokens: words, money_micros: 0 });
        let mut output = match answered.as_slice() {
            [one] => json!(one),
            several => {
                let all: Vec<&Finding> = several.iter().flat_map(|a| &a.findings).collect();
                json!({"question": asked.question().unwrap_or_default(), "findings": all, "answered": several})
            }
        };
        output["searched"] =
            json!({"folder": shown(&folder), "files": library.files(), "passages": library.passages().len()});
        Ok(output)
    }

    fn collect(&self, call: &Call) -> Result<Value, Failure> {
        let input = call.input();
        let folder = self.folder(&Asked::new(&input))?;
        let entries = folder::list(&folder).map_err(|e| to_failure(e.into()))?;
        let documents: Vec<Value> = entries
            .iter()
            .map(|entry| {
                let passages = folder::passages(entry);
                let title = passages.first().map(|p| p.heading.clone()).unwrap_or_default();
                json!({"file": entry.name, "bytes": entry.bytes, "title": title, "passages": passages.len()})
            })
            .collect();
        Ok(json!({"folder": shown(&folder), "documents": documents}))
    }
}

fn shown(folder: &Path) -> String {
    folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The questions of one call: its item; else its share of the sub-questions; else the question itself.
fn questions(asked: &Asked<'_>, position: Option<(u64, u64)>) -> Vec<String> {
    if let Some(item) = asked.item() {
        return vec![item.to_owned()];
    }
    let all = asked.subquestions();
    let share = |at: usize| match position {
        Some((index, count)) if count > 1 => at as u64 % count == index,
        _ => true,
    };
    let mine: Vec<String> =
        all.iter().enumerate().filter(|(at, _)| share(*at)).map(|(_, q)| (*q).to_owned()).collect();
    if all.is_empty() { asked.question().map(str::to_owned).into_iter().collect() } else { mine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_searches_its_item_or_its_share() {
        let scattered = json!({"input": {"question": "All?"}, "item": "Part?", "index": 1, "count": 3,
            "dependencies": {"decompose": {"subquestions": ["A?", "Part?", "C?"]}}});
        let same = json!({"input": {"question": "All?"}, "dependencies": {"decompose": {"subquestions": ["A?", "B?", "C?"]}}});
        let alone = json!({"question": "All?"});
        for (input, position, want) in [
            (&scattered, Some((1, 3)), vec!["Part?"]),
            (&same, Some((0, 2)), vec!["A?", "C?"]),
            (&same, Some((1, 2)), vec!["B?"]),
            (&same, None, vec!["A?", "B?", "C?"]),
            (&alone, Some((0, 1)), vec!["All?"]),
        ] {
            assert_eq!(questions(&Asked::new(input), position), want);
        }
    }

    #[test]
    fn a_folder_must_be_named_and_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let researcher = |shelf| Researcher { shelf, libraries: Libraries::default() };
        let open = researcher(Shelf::default());
        let refused = |r: &Researcher, input: Value| match r.folder(&Asked::new(&input)) {
            Err(Failure::Rejected(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(refused(&open, json!({"question": "Q"})).contains("input.folder is missing"));
        assert!(refused(&open, json!("only a question")).contains("input.folder is missing"));
        assert!(refused(&open, json!({"folder": "/no/such"})).contains("cannot be read"));
        assert!(open.folder(&Asked::new(&json!({"folder": path}))).is_ok());
        let fixed = researcher(Shelf { folder: Some(path.into()), root: Some(path.into()) });
        assert!(fixed.folder(&Asked::new(&json!({"question": "Q"}))).is_ok());
        assert!(refused(&fixed, json!({"folder": "/"})).contains("outside"));
    }
}
