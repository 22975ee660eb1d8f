//! The 43 control-flow patterns of `docs/control-flow.md`.

use harness::Api;
use serde_json::{Value, json};

use super::{
    Example, Given,
    Wants::{Completed, Ends, Output},
    example,
};

/// Whether tasks of an execution are in this state.
fn are(execution: &Value, tasks: &[&str], state: &str) -> bool {
    tasks.iter().all(|task| Api::task(execution, task)["state"] == state)
}

fn stop() -> Given {
    Given::Signal("stop", Value::Null)
}

fn event(topic: &str, payload: Value) -> Given {
    Given::Event(None, json!({"topic": topic, "payload": payload}))
}

pub(super) fn examples() -> Vec<Example> {
    let mut all = vec![
        example("01-sequence.yaml", Output(json!({"step": 2}))),
        example("02-parallel-split.yaml", Output(json!({"left": "left", "right": "right"}))),
        example("03-synchronization.yaml", Output(json!(3))),
        example("04-exclusive-choice.yaml", Output(json!({"large": "large"}))),
        example("05-simple-merge.yaml", Output(json!("merged"))),
        example("06-multi-choice.yaml", Output(json!({"mail": "mailed", "post": "posted"}))),
        example("07-structured-synchronizing-merge.yaml", Output(json!("merged"))),
        example("08-multi-merge.yaml", Output(json!(["after left", "after right"]))),
        example("09-structured-discriminator.yaml", Output(json!("went on after the first"))),
        example("10-arbitrary-cycles.yaml", Output(json!({"state": "end", "count": 5}))),
        example("11-implicit-termination.yaml", Output(json!({"short": "done", "long": null}))),
        example(
            "12-multiple-instances-without-synchronization.yaml",
            // Three executions of their own were started.
            Completed(|e| {
                let started = e["output"]["spread"].as_array();
                started.is_some_and(|s| s.len() == 3 && s.iter().all(|s| s["execution_id"].is_string()))
            }),
        ),
        example("13-multiple-instances-with-a-priori-design-time-knowledge.yaml", Output(json!(3))),
        example("14-multiple-instances-with-a-priori-run-time-knowledge.yaml", Output(json!(2))),
        example("15-multiple-instances-without-a-priori-run-time-knowledge.yaml", Output(json!(6))),
        example(
            "16-deferred-choice.yaml",
            Completed(|e| e["output"] == json!({"answer": {"yes": true}}) && are(e, &["late"], "cancelled")),
        )
        .given(Given::Signal("reply", json!({"yes": true}))),
        example(
            "17-interleaved-parallel-routing.yaml",
            Output(json!({"a2": {"ok": true}, "b2": {"ok": true}})),
        ),
        example("18-milestone.yaml", Output(json!({"change": "changed while it was open"}))),
        example(
            "19-cancel-task.yaml",
            Completed(|e| e["output"] == "the work is done or withdrawn" && are(e, &["work"], "cancelled")),
        )
        .given(stop()),
        example(
            "20-cancel-case.yaml",
            Ends("failed", |e| {
                e.to_string().contains("withdrawn by the customer") && are(e, &["work"], "cancelled")
            }),
        )
        .given(stop()),
        example("21-structured-loop.yaml", Output(json!(128))),
        example("22-recursion.yaml", Output(json!(24))),
        example(
            "23-transient-trigger.yaml",
            // The event of before does not count.
            Completed(|e| e["output"]["payload"] == "now"),
        )
        .given(event("alarms", json!("before")))
        .given(Given::Event(Some("now"), json!({"topic": "alarms", "payload": "now"}))),
        example("24-persistent-trigger.yaml", Completed(|e| e["output"]["payload"] == json!({"order": 7})))
            .given(event("deliveries", json!({"order": 8})))
            .given(event("deliveries", json!({"order": 7}))),
        example(
            "25-cancel-region.yaml",
            Completed(|e| {
                e["output"].to_string().contains("the region has ended")
                    && are(e, &["region"], "cancelled")
                    && are(e, &["outside"], "completed")
            }),
        )
        .given(stop()),
        example(
            "26-cancel-multiple-instance-task.yaml",
            Completed(|e| e["output"] == "no instance is left" && are(e, &["instances"], "cancelled")),
        )
        .given(stop()),
        example("27-complete-multiple-instance-task.yaml", Output(json!(1)))
            .given(Given::Event(Some("instances[0].work"), json!({"topic": "enough", "payload": {}}))),
        example("28-blocking-discriminator.yaml", Output(json!("round 1"))),
        example(
            "29-cancelling-discriminator.yaml",
            Completed(|e| e["output"] == "the slow one was cancelled" && are(e, &["slow"], "cancelled")),
        ),
        example("30-structured-partial-join.yaml", Output(json!("two of three"))),
        example("31-blocking-partial-join.yaml", Output(json!("round 1"))),
        example(
            "32-cancelling-partial-join.yaml",
            Completed(|e| e["output"] == "two of three" && are(e, &["c"], "cancelled")),
        ),
        example(
            "33-generalized-and-join.yaml",
            // Each turn took one of both; events without a key have no order.
            Completed(|e| {
                let pairs = e["output"].to_string();
                ["[1,\"a\"],[2,\"b\"]", "[1,\"b\"],[2,\"a\"]", "[2,\"a\"],[1,\"b\"]", "[2,\"b\"],[1,\"a\"]"]
                    .iter()
                    .any(|ways| pairs == format!("[{ways}]"))
            }),
        )
        .given(event("frames", json!(1)))
        .given(event("frames", json!(2)))
        .given(event("wheels", json!("a")))
        .given(event("wheels", json!("b"))),
        example(
            "34-static-partial-join-for-multiple-instances.yaml",
            Completed(|e| two_of_three(&e["output"])),
        ),
        example(
            "35-cancelling-partial-join-for-multiple-instances.yaml",
            Completed(|e| two_of_three(&e["output"])),
        ),
        example("36-dynamic-partial-join-for-multiple-instances.yaml", Output(json!(4))),
        example("37-local-synchronizing-merge.yaml", Output(json!("merged"))),
        example("38-general-synchronizing-merge.yaml", Output(json!("merged"))),
        example("39-critical-section.yaml", Output(json!([{"first": "first"}, {"second": "second"}]))),
        example(
            "40-interleaved-routing.yaml",
            Output(json!({"a": {"ok": true}, "b": {"ok": true}, "c": {"ok": true}})),
        ),
        example("41-thread-merge.yaml", Output(json!("one thread again"))),
        example(
            "42-thread-split.yaml",
            Output(json!(["thread 1 goes on", "thread 2 goes on", "thread 3 goes on"])),
        ),
        example(
            "43-explicit-termination.yaml",
            Completed(|e| e["output"] == "enough" && are(e, &["work"], "cancelled")),
        ),
    ];
    assert_eq!(all.len(), 43);
    for example in &mut all {
        example.file = format!("patterns/control-flow/{}", example.file).leak();
    }
    all
}

/// The two quick instances gave what they are; the third gave nothing.
fn two_of_three(instances: &Value) -> bool {
    let status: Vec<&str> =
        instances.as_array().into_iter().flatten().filter_map(|i| i["status"].as_str()).collect();
    status.iter().filter(|s| **s == "completed").count() == 2
        && instances[0]["output"] == 1
        && instances[1]["output"] == 2
}
