//! What the orchestrator sends, whatever the shape of the workflow.
//!
//! A task without dependencies gets the execution's input itself. One with dependencies gets
//! `{"input": …, "dependencies": {"<task>": <output>}}`, and a scattered one also `item`, `index`, `count`.

use serde_json::{Map, Value};

/// The input of a task, taken apart.
pub struct Asked<'a> {
    root: &'a Value,
    execution: &'a Value,
}

/// What was found for one question.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// The passage.
    pub text: String,
    /// `file:line` of its first line.
    pub source: String,
    /// Path below the folder.
    #[serde(default)]
    pub file: String,
    /// First line, from 1.
    #[serde(default)]
    pub line: usize,
    /// The heading it stands under.
    #[serde(default)]
    pub heading: String,
    /// How well it fits, compared to others of the same search.
    #[serde(default)]
    pub score: f64,
}

/// A question with what was found for it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Answered {
    /// The question.
    #[serde(default)]
    pub question: String,
    /// The passages, best first.
    pub findings: Vec<Finding>,
}

impl<'a> Asked<'a> {
    /// Takes an input apart.
    pub fn new(root: &'a Value) -> Self {
        let wrapped = root.get("dependencies").is_some_and(Value::is_object) || root.get("item").is_some();
        let execution = root.get("input").filter(|_| wrapped).unwrap_or(root);
        Self { root, execution }
    }

    /// A text of the execution's input, under the first of `keys` that is one. An input that is a text is all of them.
    pub fn text(&self, keys: &[&str]) -> Option<&'a str> {
        let execution: &'a Value = self.execution;
        let named = keys.iter().find_map(|key| execution.get(*key)?.as_str());
        named.or_else(|| execution.as_str()).map(str::trim).filter(|t| !t.is_empty())
    }

    /// The question that the whole execution is about.
    pub fn question(&self) -> Option<&'a str> {
        self.text(&["question", "query", "topic", "task", "goal", "prompt"])
    }

    /// A whole number of the execution's input, within bounds.
    pub fn number(&self, key: &str, usual: usize, most: usize) -> usize {
        let given = self.execution.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        given.unwrap_or(usual).clamp(1, most)
    }

    /// The item of a scattered task: a text, or an object with a `question`.
    pub fn item(&self) -> Option<&'a str> {
        let item = self.root.get("item")?;
        item.as_str().or_else(|| item.get("question")?.as_str())
    }

    /// Sub-questions that a task before this one made.
    pub fn subquestions(&self) -> Vec<&'a str> {
        let root: &'a Value = self.root;
        let outputs = root.get("dependencies").and_then(Value::as_object).into_iter().flat_map(Map::values);
        let lists = outputs.filter_map(|o| o.get("subquestions")?.as_array());
        lists.flatten().filter_map(|q| q.as_str().or_else(|| q.get("question")?.as_str())).collect()
    }

    /// Everything that was found by tasks before this one, wherever it lies, in order.
    pub fn answered(&self) -> Vec<Answered> {
        let mut out = Vec::new();
        collect(self.root, &mut out);
        out
    }

    /// Whether tasks before this one were asked to find something, even if they found nothing.
    pub fn has_findings(&self) -> bool {
        fn any(value: &Value) -> bool {
            match value {
                Value::Object(map) => {
                    map.get("findings").is_some_and(Value::is_array) || map.values().any(any)
                }
                Value::Array(list) => list.iter().any(any),
                _ => false,
            }
        }
        any(self.root)
    }

    /// The first output of a task before this one that has `key`.
    pub fn from_dependencies(&self, key: &str) -> Option<&'a Value> {
        let root: &'a Value = self.root;
        root.get("dependencies")?.as_object()?.values().find_map(|output| output.get(key))
    }
}

fn collect(value: &Value, out: &mut Vec<Answered>) {
    match value {
        // Several answers in one output: its own list is all of them together.
        Value::Object(map) if map.get("answered").is_some_and(Value::is_array) => {
            collect(&map["answered"], out)
        }
        Value::Object(map) if map.get("findings").is_some_and(Value::is_array) => {
            let question = map.get("question").and_then(Value::as_str).unwrap_or_default().to_owned();
            let list = map["findings"].as_array().into_iter().flatten();
            let findings = list.filter_map(|f| serde_json::from_value(f.clone()).ok()).collect();
            out.push(Answered { question, findings });
        }
        Value::Object(map) => map.values().for_each(|v| collect(v, out)),
        Value::Array(list) => list.iter().for_each(|v| collect(v, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_shape_of_input_gives_its_question() {
        let plain = json!({"question": " Why? ", "folder": "f"});
        let wrapped = json!({"input": plain, "dependencies": {}});
        let scattered =
            json!({"input": {"query": "Why?"}, "item": {"question": "Part?"}, "index": 0, "count": 2});
        let text = json!("Why?");
        for root in [&plain, &wrapped, &scattered, &text] {
            assert_eq!(Asked::new(root).question(), Some("Why?"));
        }
        assert_eq!(Asked::new(&scattered).item(), Some("Part?"));
        assert_eq!(Asked::new(&json!({"item": "Part?"})).item(), Some("Part?"));
        assert_eq!(Asked::new(&json!({"input": "x", "question": "y"})).question(), Some("y"), "not wrapped");
        assert_eq!(Asked::new(&json!({"question": " "})).question(), None);
    }

    #[test]
    fn findings_are_found_wherever_they_lie() {
        let finding = json!({"text": "t", "source": "a.md:3"});
        let one = json!({"question": "q", "findings": [finding, {"broken": true}]});
        for root in [
            json!({"dependencies": {"research": [one]}}),
            json!({"dependencies": {"research": one}}),
            json!({"dependencies": {"analyze": {"answered": [one], "key_terms": []}}}),
            json!({"results": {"deep": [[one]]}}),
        ] {
            let answered = Asked::new(&root).answered();
            assert_eq!((answered.len(), answered[0].findings.len()), (1, 1), "{root}");
            assert!(Asked::new(&root).has_findings());
        }
        let none = json!({"dependencies": {"research": [{"findings": []}]}});
        assert!(Asked::new(&none).has_findings(), "nothing found is still an answer");
        assert!(!Asked::new(&json!({"dependencies": {"decompose": {"subquestions": ["a"]}}})).has_findings());
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let root = json!({"limit": 99, "none": "x"});
        let asked = Asked::new(&root);
        assert_eq!((asked.number("limit", 5, 20), asked.number("none", 5, 20)), (20, 5));
        assert_eq!(Asked::new(&json!({"limit": 0})).number("limit", 5, 20), 1);
    }
}
