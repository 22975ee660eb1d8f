//! What goes in and comes out: limits and schemas, each with its typed error.

use base::{ErrorCode, FailureClass};
use executor::app::StartRequest;
use serde_json::json;
use workflow::Status;

use crate::{
    agents::Act,
    kit::{World, keyed, me, request, task},
};

fn each() -> serde_json::Value {
    task("t", json!({"spread": {"for_each": {"list": "input", "width": 4}}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_warns_at_half_of_its_limit_and_fails_at_the_whole() {
    for (events, bytes, answer) in [(60, u64::MAX, json!(1)), (u64::MAX, 64 << 10, json!("x".repeat(4000)))] {
        let mut world = World::sqlite();
        world.limits.history_events_max = events;
        world.limits.history_bytes_max = bytes;
        let answer = answer.clone();
        world.agents.script(move |_, _| Act::Answer(answer.clone()));
        world.plans.put("long", json!({"tasks": [each()]}));
        let node = world.node().await;
        let small = node.run(request("long", json!([1, 2, 3]))).await;
        assert_eq!(small.status(), Status::Completed);
        let many: Vec<u32> = (0..200).collect();
        let start = node.run(StartRequest { key: "k".into(), ..request("long", json!(many)) }).await;
        assert_eq!(start.status(), Status::Failed);
        let cause = start.causes().last().unwrap();
        assert_eq!(cause.class, FailureClass::Definition);
        assert!(cause.message.contains("over its limit"), "{cause:?}");
        let id = base::ExecutionId::from_key(&base::Tenant::default(), "k");
        let page = node.app.history(&me(), id, 0, 10_000).await.unwrap();
        let warnings: Vec<_> = page.events.iter().filter(|e| e.kind == "history.warning").collect();
        assert_eq!(warnings.len(), 1, "one warning");
        let last = page.events.iter().rfind(|e| e.kind == "workflow.status_changed").unwrap();
        assert_eq!(last.data["status"], "failed");
        if events < u64::MAX {
            assert!(start.last_seq() < events + 40, "{}", start.last_seq());
        }
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_over_the_limit_is_refused_on_the_way_in_and_on_the_way_out() {
    let mut world = World::sqlite();
    world.payload_bytes_max = 2000;
    world.limits.payload_bytes_max = 2000;
    world.agents.script(|_, _| Act::Answer(json!("y".repeat(3000))));
    let node = world.node().await;
    let refused = node.start(request("one", json!("x".repeat(3000)))).await.unwrap_err();
    assert_eq!((refused.code, refused.code.http_status()), (ErrorCode::PayloadTooLarge, 413));
    assert_eq!(refused.field, "input");
    assert!(refused.message.contains("3002 bytes, the limit is 2000"), "{refused:?}");
    let view = node.run(request("one", json!(1))).await;
    let cause = &view.causes()[0];
    assert_eq!((view.status(), cause.class), (Status::Failed, FailureClass::InvalidOutput));
    assert!(cause.message.contains("3002 bytes, the limit is 2000"), "{cause:?}");
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_breaks_a_schema_names_the_place() {
    let world = World::sqlite();
    let schema = json!({"type": "object", "properties": {"who": {"type": "object", "properties": {"age": {"type": "integer"}}}}});
    let fussy = task("t", json!({"input_schema": {"type": "object", "required": ["never"]}}));
    world.plans.put("typed", json!({"tasks": [fussy], "input_schema": schema}));
    let node = world.node().await;
    let refused = node.start(request("typed", json!({"who": {"age": "old"}}))).await.unwrap_err();
    assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::InvalidArgument, "input/who/age"));
    let view = node.run(request("typed", json!({"who": {"age": 9}}))).await;
    let cause = &view.causes()[0];
    assert_eq!((view.status(), cause.class), (Status::Failed, FailureClass::Definition));
    assert!(cause.message.contains("never"), "{cause:?}");
    assert_eq!(world.agents.count(), 0, "it was sent although it breaks the schema");
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_what_is_wrong_with_it() {
    let world = World::sqlite();
    let missing = task("t", json!({"need": {"agent_type": "nobody"}}));
    world.plans.put("lonely", json!({"tasks": [missing]}));
    let node = world.node().await;
    let base = || request("one", json!({}));
    let cases = [
        (StartRequest { workflow: String::new(), ..base() }, ErrorCode::InvalidArgument, "workflow"),
        (StartRequest { workflow: "none".into(), ..base() }, ErrorCode::NotFound, ""),
        (StartRequest { workflow: "one@9".into(), ..base() }, ErrorCode::NotFound, ""),
        (StartRequest { key: "k".repeat(257), ..base() }, ErrorCode::InvalidArgument, "key"),
        (StartRequest { execution_id: "x".into(), ..base() }, ErrorCode::InvalidArgument, "execution_id"),
        (StartRequest { retry_policy: "maybe".into(), ..base() }, ErrorCode::InvalidArgument, "retry_policy"),
        (StartRequest { metadata_json: "[1]".into(), ..base() }, ErrorCode::InvalidArgument, "metadata"),
        (StartRequest { workflow: "lonely".into(), ..base() }, ErrorCode::InsufficientResources, "t"),
    ];
    for (start, code, field) in cases {
        let fault = node.start(start.clone()).await.unwrap_err();
        assert_eq!((fault.code, fault.field.as_str()), (code, field), "{start:?}: {fault:?}");
    }
    assert_eq!(node.engine.load()[0], 0);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_databases_dislike_are_kept_as_they_are() {
    let odd = "nul \u{0}, lone \u{fffd}, emoji 🦀, quote \" and \\u0000";
    for world in World::both().await {
        let text = odd.to_owned();
        world.agents.script(move |seen, _| match seen.task.as_str() {
            "fails" => Act::Fail { class: FailureClass::Error, known: true, after: None },
            _ => Act::Answer(json!({ "text": text })),
        });
        let fails = task("fails", json!({"after": [0], "optional": true}));
        world.plans.put("odd", json!({"tasks": [task("t", json!({})), fails], "output": {"tasks": ["t"]}}));
        let node = world.node().await;
        let metadata = json!({ "note": odd }).to_string();
        let start = StartRequest { metadata_json: metadata, ..request("odd", json!({"q": odd})) };
        let view = node.run(start).await;
        assert_eq!(view.status(), Status::Completed, "{:?}", view.causes());
        assert_eq!(*view.output().unwrap().json().unwrap(), json!({"text": odd}));
        let started = node.start(keyed("odd", odd)).await.unwrap();
        node.completed(started.id).await;
        node.die().await;
    }
}
