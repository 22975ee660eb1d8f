//! Every part that the examples of patterns and types need: deciders, workers, debaters, judges. Deterministic: each answers from
//! the words of its input, by the protocol that the input is shaped like.

use agent::{Agent, Call, Effect, Skill};
use serde_json::{Map, Value, json};

use crate::text;

/// The capabilities that the examples of patterns and types ask for.
pub const CAPABILITIES: &[&str] = &[
    "answering",
    "arguing",
    "billing",
    "bookkeeping",
    "call_back",
    "chatting",
    "classification",
    "code_review",
    "coding",
    "crawling",
    "criticism",
    "design",
    "design_review",
    "economics",
    "editing",
    "engineering",
    "fetching",
    "first_contact",
    "forecasting",
    "judging",
    "legal",
    "mailing",
    "moderation",
    "payment",
    "planning",
    "reading",
    "refund",
    "research",
    "scoring",
    "shipping",
    "storage",
    "summarising",
    "taxes",
    "technical_support",
    "testing",
    "translation",
    "work",
    "writing",
];
/// A text of more words is split by a swarm.
const WORDS_MAX: usize = 4;

/// The agent: one skill for each of [`CAPABILITIES`].
pub fn agent() -> Agent {
    let agent = Agent::new("panel", "Plays every part of the examples of patterns and types")
        .agent_type("panel_agent")
        .tags(&["example", "patterns"])
        .capacity(100)
        // A task that names a role and no capability means any of them: the input says what is asked.
        .choose(|_| Some("work"));
    CAPABILITIES.iter().fold(agent, |agent, name| {
        let skill = Skill::new(name, "Answers by the protocol of the pattern that asks")
            .effect(Effect::Pure)
            .handler(|call: Call| async move { Ok::<_, agent::Failure>(answer(&call.input())) });
        agent.skill(skill)
    })
}

/// What a part answers to `input`.
pub fn answer(input: &Value) -> Value {
    let has = |key: &str| input.get(key).is_some();
    match () {
        () if has("workers") => next(input, "workers", "worker"),
        () if has("teams") => next(input, "teams", "team"),
        () if has("handed") => handoff(input),
        () if has("agents") => json!({"next": nearest(input, &names(&input["agents"]))}),
        () if has("plan") => plan(input),
        () if has("draft") => judge_draft(input),
        () if has("before") => draft(input),
        () if has("rounds") => judge_debate(input),
        () if has("mail") => talk(input),
        () if has("turn") => json!({"point": nth(&words_of(&input["topic"]), count(&input["turn"]))}),
        () if has("round") => json!({"point": nth(&words_of(&input["topic"]), count(&input["round"]))}),
        () if has("said") => moderate(input),
        () if has("items") => swarm(input),
        () if has("results") => reduce(input),
        () if has("output") && has("input") => score(input),
        () if has("item") => {
            json!({"words": words_of(&input["item"]).len(), "terms": words_of(&input["item"])})
        }
        () if has("answer") => json!({"answer": words_of(&input["answer"]).join(" "), "confidence": 0.9}),
        () => json!({"answer": words_of(input).join(" "), "confidence": 0.9}),
    }
}

/// How much of what was asked is spoken of in the answer, 0 to 1: for `orchestra compare --judge scoring`.
fn score(input: &Value) -> Value {
    let (asked, said) = (words_of(&input["input"]), words_of(&input["output"]));
    let missing: Vec<&String> = asked.iter().filter(|word| !said.contains(word)).collect();
    let found = asked.len() - missing.len();
    let score = if asked.is_empty() { 1.0 } else { found as f64 / asked.len() as f64 };
    json!({"score": score, "missing": missing})
}

/// The words that carry meaning, of all texts in a value, in order, each once.
fn words_of(value: &Value) -> Vec<String> {
    let found = match value {
        Value::String(text) => text::words(text).filter(|word| !text::is_stop_word(word)).collect(),
        Value::Array(items) => items.iter().flat_map(words_of).collect(),
        Value::Object(members) => members.values().flat_map(words_of).collect(),
        Value::Null | Value::Bool(_) => Vec::new(),
        Value::Number(number) => vec![number.to_string()],
    };
    let mut once: Vec<String> = Vec::with_capacity(found.len());
    for word in found {
        if !once.contains(&word) {
            once.push(word);
        }
    }
    once
}

fn count(value: &Value) -> usize {
    value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
}

fn nth(words: &[String], n: usize) -> String {
    if words.is_empty() { "nothing".into() } else { words[n % words.len()].clone() }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Names in a list, or the keys of an object.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members.keys().cloned().collect(),
        other => list(other).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// The first that did not work yet; done when all have.
fn next(input: &Value, among: &str, key: &str) -> Value {
    let done: Vec<&Value> = list(&input["history"]).iter().map(|turn| &turn[key]).collect();
    match names(&input[among]).into_iter().find(|name| !done.contains(&&json!(name))) {
        Some(name) => {
            json!({"next": name, "instructions": format!("your part of {}", words_of(&input["goal"]).join(" "))})
        }
        None => json!({"next": "done", "result": input["history"]}),
    }
}

/// The name that the goal speaks of, else the first.
fn nearest(input: &Value, names: &[String]) -> Value {
    let goal = words_of(&input["goal"]);
    names.iter().find(|name| goal.contains(*name)).or(names.first()).map_or(Value::Null, |name| json!(name))
}

/// Gives the work to the agent that the goal speaks of, once.
fn handoff(input: &Value) -> Value {
    let goal = words_of(&input["goal"]);
    let named = names(&input["agents"]).into_iter().find(|name| goal.contains(name));
    match named.filter(|_| input["handed"].is_null()) {
        Some(name) => json!({"handoff": name, "context": goal}),
        None => json!({"result": goal, "after": list(&input["history"]).len()}),
    }
}

/// One step for each word of the goal that is not done yet.
fn plan(input: &Value) -> Value {
    let (steps, done) = (words_of(&input["goal"]), list(&input["history"]));
    match steps.get(done.len()..).unwrap_or_default() {
        [] => json!({"steps": [], "result": done}),
        left => json!({"steps": left.iter().map(|word| json!({"do": word})).collect::<Vec<_>>()}),
    }
}

/// One more word of the goal in each draft, and what the feedback asked for.
fn draft(input: &Value) -> Value {
    let mut words = words_of(&input["before"]["draft"]["text"]);
    let missing = words_of(&input["before"]["feedback"]["missing"]);
    let more =
        if words.is_empty() { words_of(&input["goal"]).into_iter().take(1).collect() } else { missing };
    words.extend(more);
    json!({"text": words.join(" ")})
}

/// Accepted when the draft has every word of the goal.
fn judge_draft(input: &Value) -> Value {
    let said = words_of(&input["draft"]);
    let missing: Vec<String> = words_of(&input["goal"]).into_iter().filter(|w| !said.contains(w)).collect();
    json!({"accepted": missing.is_empty(), "missing": missing})
}

/// Who made most points that nobody else made before.
fn judge_debate(input: &Value) -> Value {
    let mut points: Map<String, Value> = Map::new();
    let mut heard: Vec<Value> = Vec::new();
    for said in list(&input["rounds"]).iter().flat_map(list) {
        let entry = points.entry(said["debater"].as_str().unwrap_or("nobody").to_owned()).or_insert(json!(0));
        if !heard.contains(&said["argument"]) {
            *entry = json!(count(entry) + 1);
            heard.push(said["argument"].clone());
        }
    }
    let best = points.iter().rev().max_by_key(|(_, n)| count(n)).map(|(name, _)| name.clone());
    json!({"winner": best, "points": points})
}

/// Tells every peer once what it knows, then is silent.
fn talk(input: &Value) -> Value {
    let you = input["you"].as_str().unwrap_or_default();
    let mail = list(&input["mail"]);
    let tell = |to: String| json!({"to": to, "body": words_of(&input["goal"])});
    let others = names(&input["peers"]).into_iter().filter(|peer| peer != you);
    let messages: Vec<Value> = if mail.is_empty() { others.map(tell).collect() } else { Vec::new() };
    json!({"messages": messages, "result": {"heard_from": mail.iter().map(|said| &said["from"]).collect::<Vec<_>>()}})
}

/// Ends the discussion when every word of the topic was spoken of.
fn moderate(input: &Value) -> Value {
    let mut said = words_of(&input["history"]);
    said.extend(words_of(&input["said"]));
    let open: Vec<String> = words_of(&input["topic"]).into_iter().filter(|w| !said.contains(w)).collect();
    json!({"done": open.is_empty(), "summary": format!("still open: {}", open.join(", "))})
}

/// Long texts are halved and go back into the pool; short ones are findings.
fn swarm(input: &Value) -> Value {
    let (mut findings, mut new_items) = (Vec::new(), Vec::new());
    for item in list(&input["items"]) {
        let words: Vec<&str> = item.as_str().unwrap_or_default().split_whitespace().collect();
        if words.len() > WORDS_MAX {
            let (left, right) = words.split_at(words.len() / 2);
            new_items.extend([left.join(" "), right.join(" ")]);
        } else {
            findings.extend(words_of(item));
        }
    }
    json!({"findings": findings, "new_items": new_items})
}

fn reduce(input: &Value) -> Value {
    let results = list(&input["results"]);
    json!({"words": results.iter().map(|r| count(&r["words"])).sum::<usize>(), "items": results.len()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_comes_to_its_end() {
        let done = json!([{"worker": "ann", "answer": 1}, {"worker": "bob", "answer": 2}]);
        let lead = |history: Value| {
            answer(&json!({"goal": "g", "workers": ["ann", "bob"], "history": history}))["next"].clone()
        };
        assert_eq!((lead(json!([])), lead(done)), (json!("ann"), json!("done")));
        let hand = |handed: Value| {
            answer(&json!({"goal": "a billing matter", "agents": ["desk", "billing"], "handed": handed}))
        };
        assert_eq!(hand(Value::Null)["handoff"], "billing");
        assert!(hand(json!({"handoff": "billing"})).get("handoff").is_none());
        assert_eq!(answer(&json!({"goal": "tax question", "agents": ["law", "tax"]}))["next"], "tax");
        let steps = |history: Value| {
            answer(&json!({"goal": "read write", "plan": null, "history": history}))["steps"].clone()
        };
        assert_eq!(
            (steps(json!([])), steps(json!([1, 2]))),
            (json!([{"do": "read"}, {"do": "write"}]), json!([]))
        );
        let judged = answer(&json!({"goal": "red boat", "draft": {"text": "red"}}));
        assert_eq!(judged, json!({"accepted": false, "missing": ["boat"]}));
        let before = json!({"draft": {"text": "red"}, "feedback": judged});
        assert_eq!(answer(&json!({"goal": "red boat", "before": before}))["text"], "red boat");
        let talked = |mail: Value| {
            answer(&json!({"goal": "g", "you": "a", "peers": ["a", "b"], "mail": mail}))["messages"].clone()
        };
        assert_eq!(
            (talked(json!([]))[0]["to"].clone(), talked(json!([{"from": "b"}]))),
            (json!("b"), json!([]))
        );
        assert_eq!(
            answer(&json!({"topic": "red boat", "said": {"point": "red"}, "history": []}))["done"],
            false
        );
        let swarm = answer(&json!({"items": ["one two three four five"], "findings": []}));
        assert_eq!(swarm["new_items"], json!(["one two", "three four five"]));
        assert_eq!(answer(&json!({"results": [{"words": 2}, {"words": 3}]}))["words"], 5);
        let rounds = json!([[{"debater": "a", "argument": 1}, {"debater": "b", "argument": 1}]]);
        assert_eq!(answer(&json!({"topic": "t", "rounds": rounds}))["winner"], "a");
        assert!(answer(&json!({"goal": "why"}))["confidence"].as_f64().unwrap() > 0.8);
    }
}
