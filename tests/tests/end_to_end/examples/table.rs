//! The dialects, the types and the patterns.

use harness::Api;
use serde_json::{Value, json};

use super::{
    Example, Given,
    Wants::{Completed, Elsewhere, Output, Triggered},
    example, root,
};

pub(super) fn examples() -> Vec<Example> {
    let mut all = dialects();
    all.extend(types());
    all.extend(patterns());
    all
}

/// What the examples of research are asked.
fn research(question: &str) -> Value {
    json!({"question": question, "folder": root().join("documents")})
}

/// Whether a report names this document among its sources.
fn cites(report: &Value, document: &str) -> bool {
    let text = report.as_str().unwrap_or_default();
    text.split_once("## Sources").is_some_and(|(_, sources)| sources.contains(document))
}

/// A member of each element.
fn each<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().into_iter().flatten().filter_map(|e| e[key].as_str()).collect()
}

fn dialects() -> Vec<Example> {
    let question = "How does durable execution survive a crash, and when is it safe to repeat a call?";
    let three = json!(["What is a saga?", "What is fencing?", "When is a retry safe?"]);
    vec![
        example("chain.yaml", Completed(|e| cites(&e["output"]["report"], "queues.md")))
            .with(research("What makes a queue safe?")),
        example(
            "dag.yaml",
            Completed(|e| {
                let report = &e["output"]["report"];
                cites(report, "sagas.md") && e["output"]["quality"]["score"].as_f64() > Some(0.5)
            }),
        )
        .with(json!({"questions": three, "folder": root().join("documents")})),
        example("graph.yaml", Completed(|e| cites(&e["output"]["report"], "consensus.md")))
            .with(research("What is consensus for?")),
        example(
            "multi_agent_research.yaml",
            Completed(|e| {
                let research = Api::task(e, "research");
                let items = research["items"].as_array().map_or(0, Vec::len);
                cites(&e["output"]["report"], "durable-execution.md") && items > 1
            }),
        )
        .with(research(question)),
        example(
            "parallel.yaml",
            Completed(|e| {
                let documents = each(&e["output"]["documents"], "file");
                documents.len() == 10 && each(&e["output"]["key_terms"], "term").contains(&"time")
            }),
        )
        .with(json!({"folder": root().join("documents")})),
        example("sequential.yaml", Completed(|e| cites(&e["output"]["report"], "consensus.md")))
            .with(research("What is a lease?")),
        example("stages.yaml", Completed(|e| cites(&e["output"]["report"], "idempotency.md")))
            .with(research("What is idempotency?")),
        example(
            "steps.yaml",
            Completed(|e| {
                let terms = each(&e["output"]["analysis"]["key_terms"], "term");
                cites(&e["output"]["report"]["report"], "tracing.md") && terms.contains(&"trace")
            }),
        )
        .with(research("How are traces linked?")),
        // The module `development` runs it, twice.
        example("development/pipeline.yaml", Elsewhere),
    ]
}

fn types() -> Vec<Example> {
    let order =
        json!({"topic": "orders", "type": "created", "key": "7", "payload": {"order": "7", "sum": 40}});
    let answers = ["red boats", "blue sea", "night"].map(|a| json!({"answer": a, "confidence": 0.9}));
    vec![
        example(
            "types/conditional.yaml",
            Completed(|e| {
                let small = Api::task(e, "pay_small")["state"] == "completed";
                small && Api::task(e, "approve")["state"] == "skipped" && e["output"]["answer"].is_string()
            }),
        ),
        example(
            "types/event-driven.yaml",
            Triggered(order, |e| {
                let told = e["output"]["tell"]["event_id"].is_string();
                told && Api::task(e, "paid")["output"]["payload"]["sum"] == 40
            }),
        )
        .given(Given::Event(None, json!({"topic": "payments", "key": "7", "payload": {"sum": 40}}))),
        example(
            "types/fanout.yaml",
            Completed(|e| {
                ["mail", "chat", "archive"].iter().all(|to| e["output"][to]["answer"] == "shop open")
            }),
        ),
        example(
            "types/loop.yaml",
            Output(
                json!({"draft": {"text": "red boats sea"}, "feedback": {"accepted": true, "missing": []}}),
            ),
        ),
        example("types/pipeline.yaml", Output(json!(answers))),
        example(
            "types/scatter-gather.yaml",
            Completed(|e| {
                let status = |who: &&&str| e["output"][**who]["status"] == "completed";
                ["ann", "bob", "carol"].iter().filter(status).count() >= 2
            }),
        ),
    ]
}

fn patterns() -> Vec<Example> {
    let asked = |step, form| Given::Decision(step, json!({"verdict": "answered", "form": form}));
    vec![
        example(
            "patterns/supervisor.yaml",
            Completed(|e| each(&e["output"], "worker") == ["researcher", "writer"]),
        ),
        example(
            "patterns/hierarchical.yaml",
            Completed(|e| {
                let teams = each(&e["output"], "team");
                teams.len() == 2 && teams.contains(&"design") && teams.contains(&"build")
            }),
        ),
        // The desk hands over to billing, which answers.
        example("patterns/handoff.yaml", Output(json!({"result": ["question", "billing"], "after": 1}))),
        example(
            "patterns/swarm.yaml",
            // A text of nine words is halved, and so is its second half.
            Completed(|e| {
                e["output"]["rounds"] == 3 && e["output"]["findings"].to_string().contains("harbour")
            }),
        ),
        example(
            "patterns/network.yaml",
            Completed(|e| {
                let text = e["output"].to_string();
                ["north", "south", "sea"].iter().all(|peer| text.contains(peer))
            }),
        ),
        example("patterns/router.yaml", Completed(|e| e["output"]["answer"].is_string())),
        example(
            "patterns/round-robin.yaml",
            // Every word of the topic was spoken of.
            Completed(|e| e["output"]["moderator"] == json!({"done": true, "summary": "still open: "})),
        ),
        example(
            "patterns/plan-execute-replan.yaml",
            // One step for each word of the goal.
            Completed(|e| e["output"].as_array().is_some_and(|steps| steps.len() == 3)),
        ),
        example("patterns/evaluator-optimizer.yaml", Output(json!({"text": "red boats sea"}))),
        example(
            "patterns/debate.yaml",
            Completed(|e| {
                ["optimist", "pessimist"].contains(&e["output"]["winner"].as_str().unwrap_or_default())
            }),
        ),
        example("patterns/pair.yaml", Output(json!({"text": "red boats sea"}))),
        example(
            "patterns/race.yaml",
            Completed(|e| {
                let winner = e["output"]["winner"].as_str().unwrap_or_default();
                ["fast", "thorough"].contains(&winner) && e["output"]["answer"]["confidence"] == 0.9
            }),
        ),
        example("patterns/map-reduce.yaml", Output(json!({"words": 3, "items": 2}))),
        example("patterns/manual.yaml", Output(json!("enough")))
            .given(asked("manual[0].ask", json!({"next": "researcher", "instructions": "look"})))
            .given(asked("manual[1].ask", json!({"next": "done", "result": "enough"}))),
    ]
}
