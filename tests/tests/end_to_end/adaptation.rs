//! Several patterns in one execution, which is changed while it runs: other patterns, other means, other triggers.

use agent::Effect;
use harness::{Act, Api, Seen, TestAgent};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::unique_name;

on_both_shapes! {
    patterns_in_one_execution_are_adapted_while_it_runs
}

/// Plays every part by the protocol that its input is shaped like.
fn part(seen: &Seen) -> Act {
    let given = &seen.input;
    let has = |key: &str| given.get(key).is_some();
    let done = given["history"].as_array().map_or(0, Vec::len);
    Act::Answer(match () {
        () if has("workers") && done < 2 => json!({"next": given["workers"][done], "instructions": "look"}),
        () if has("workers") => json!({"next": "done", "result": [3, 4]}),
        () if has("item") => json!({"doubled": given["item"].as_i64().unwrap_or_default() * 2}),
        () if has("results") => {
            let results = given["results"].as_array().into_iter().flatten();
            json!({"sum": results.filter_map(|r| r["doubled"].as_i64()).sum::<i64>()})
        }
        () if has("draft") => json!({"accepted": given["draft"]["version"] == 2, "comments": ["once more"]}),
        () if has("before") => json!({"version": if given["before"].is_null() { 1 } else { 2 }}),
        () => json!({"did": seen.task}),
    })
}

/// The definition; `rest` is what follows once it is released.
fn definition(name: &str, skill: &str, version: u32, rest: &str) -> String {
    let role = |role: &str| format!("  {role}: {{capabilities: [{skill}]}}\n");
    let roles: String = ["lead", "ann", "bob"].map(role).concat();
    format!(
        "name: {name}
version: \"{version}\"
agents:
{roles}budget: {{calls: 40}}
coordination: {{event_driven: [go_{name}]}}
tasks:
  - id: collect
    pattern: {{name: supervisor, with: {{supervisor: lead, workers: [ann, bob]}}}}
  - {{id: release, depends_on: [collect], wait: {{signal: release}}}}
{rest}"
    )
}

const DEBATE: &str = "  - id: decide
    depends_on: [release]
    input: ${ tasks.collect.output }
    pattern: {name: debate, with: {debaters: [ann, bob], judge: lead, rounds: 5}}
";

/// In the place of eleven calls: two items at once, one sum, and a review; what is not urgent goes to whoever is cheap.
const BETTER: &str = "  - id: decide
    depends_on: [release]
    input: ${ tasks.collect.output }
    pattern: {name: map-reduce, with: {mapper: ann, reducer: lead, items: scope.input, width: 2}}
  - id: polish
    depends_on: [decide]
    expected_duration: 60s
    pattern: {name: pair, with: {author: ann, reviewer: bob}}
  - {id: note, depends_on: [decide], agent: bob}
  - {id: publish, depends_on: [polish, note], transform: {sum: \"${ tasks.decide.output.sum }\", text: \"${ tasks.polish.output }\"}}
";

async fn change(api: &Api, id: &str, body: Value) -> harness::Got {
    api.send(api.request(Method::PUT, &format!("/executions/{id}/plan")).json(&body)).await
}

async fn patterns_in_one_execution_are_adapted_while_it_runs(api: Api) {
    let agent = TestAgent::dear_and_cheap(&api, Effect::Pure, part).await;
    let (name, skill) = (unique_name("adapted"), agent.capability.clone());
    api.define(&definition(&name, &skill, 1, DEBATE)).await;
    let id = api.start(&name, &json!({"goal": "a decision"})).await;
    api.until_task(&id, "collect", "completed").await;
    let collected = agent.count();
    assert_eq!(collected, 5, "three decisions of the supervisor and two workers: {:?}", agent.seen());

    // What has run cannot be changed; a dry run says so and changes nothing.
    let other = definition(&name, &skill, 2, BETTER).replace("workers: [ann, bob]", "workers: [ann]");
    let refused = change(&api, &id, json!({"definition": other, "dry_run": true})).await.expect(200);
    assert!(!refused["refused"].as_array().unwrap().is_empty(), "{refused}");

    // The rest can: a debate becomes map-reduce, a pair that reviews comes after it.
    let better = definition(&name, &skill, 3, BETTER);
    let told = change(&api, &id, json!({"definition": better, "dry_run": true})).await.expect(200);
    assert_eq!((&told["refused"], &told["revision"]), (&json!([]), &json!(0)), "{told}");
    let changed =
        change(&api, &id, json!({"definition": better, "reason": "a debate is too dear"})).await.expect(200);
    assert_eq!((&changed["added"], &changed["revision"]), (&told["added"], &json!(1)), "{changed}");
    assert!(changed["added"].as_array().unwrap().contains(&json!("polish")), "{changed}");
    assert_eq!(changed["changed"], json!(["decide"]), "{changed}");
    let revisions = api.get(&format!("/executions/{id}/plan/revisions")).await.expect(200);
    assert_eq!(revisions["revisions"][1]["reason"], "a debate is too dear", "{revisions}");

    // And a part of it is driven by an event from now on, beside its edges.
    let topic = format!("go_{name}");
    api.post(&format!("/executions/{id}/mode"), &json!({"task_id": "publish", "topic": topic}))
        .await
        .expect(200);
    api.post(&format!("/executions/{id}/signals/release"), &json!({})).await.expect(200);
    api.until_task(&id, "polish", "completed").await;
    api.until_task(&id, "note", "completed").await;
    let waiting = api.get(&format!("/executions/{id}/query")).await.expect(200);
    assert_eq!(waiting["stuck"][0]["reason"], "event", "{waiting:#}");
    assert_eq!((&waiting["stuck"][0]["task_id"], &waiting["revision"]), (&json!("publish"), &json!(1)));
    assert_eq!(waiting["spent"]["calls"], agent.count(), "{waiting:#}");
    api.post("/events", &json!({"topic": topic, "payload": {}})).await.expect(200);

    let done = api.ended(&id).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(done["output"], json!({"sum": 14, "text": {"version": 2}}), "{done:#}");
    // Three for map-reduce, four for two rounds of the pair, one note: the debate would have been eleven.
    assert_eq!(agent.count() - collected, 8, "{:?}", agent.seen());
    let note = agent.seen().into_iter().find(|s| s.task == "note").unwrap();
    assert!(note.agent.starts_with("cheap"), "what has time goes to whoever is cheap: {note:?}");
    // Everything that was done to it can be read.
    let history = api.history(&id).await;
    let kinds: Vec<&str> = history.iter().filter_map(|e| e["type"].as_str()).collect();
    for kind in ["workflow.changed", "agent.assigned"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
}
