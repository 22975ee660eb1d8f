//! The suite and what is special about Temporal, on Temporal's own test server with a worker of its own SDK.
#![allow(clippy::expect_used)] // helpers of tests too

use std::{sync::Arc, time::Duration};

use base::{FailureClass, Payload};
use provider::{
    End, Engine, EngineError, Lost, Run, Start, Work,
    conformance::{Subject, check},
    temporal::{Temporal, TemporalOptions},
};
use serde_json::json;
use testkit::{free_port, unique_name, wait_for};

const PATIENCE: Duration = Duration::from_secs(40);

fn at(address: String) -> Arc<Temporal> {
    Temporal::new(TemporalOptions {
        address,
        namespace: "default".into(),
        api_key: None,
        ca: None,
        call_timeout: Duration::from_secs(10),
    })
}

fn work(name: &str, id: &str, input: serde_json::Value) -> Start {
    Start {
        id: id.into(),
        work: Work::Workflow(name.into()),
        task_queue: Some("tests".into()),
        input: Payload::from_value(&input),
        timeout: None,
    }
}

async fn end(engine: &Temporal, run: &Run) -> End {
    wait_for("the end of a run", PATIENCE, async || {
        engine.result(run, Duration::from_secs(5)).await.expect("it can be asked")
    })
    .await
}

/// One server for everything: it takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporal_passes_the_suite_and_says_what_it_cannot_do() {
    let mut server = tokio::task::spawn_blocking(testkit::Temporal::start).await.expect("it starts");
    let engine = at(server.address());
    let named = |name: &str| Work::Workflow(name.into());
    let subject = Subject {
        echo: named("echo"),
        fail: named("fail"),
        wait: named("wait"),
        task_queue: Some(server.task_queue().into()),
        prefix: unique_name("suite"),
        patience: PATIENCE,
    };
    assert_eq!(check(engine.as_ref(), &subject).await, Ok(()));

    // What is marked as not worth repeating is a refusal.
    let run = engine.start(&work("refuse", "refused", json!({}))).await.expect("it starts");
    let End::Failed { class, message } = end(&engine, &run).await else { panic!("it fails") };
    assert_eq!(class, FailureClass::Rejected);
    assert!(message.contains("the card is broken"), "{message}");

    // A run that continues as new is one run to us.
    let run = engine.start(&work("chapters", "chapters", json!(1))).await.expect("it starts");
    let last = End::Completed(Payload::from_value(&json!({"chapter": 3})));
    assert_eq!(end(&engine, &run).await, last);

    // Its own time limit is Temporal's too: nobody is left behind by an executor that is gone.
    let mut limited = work("wait", "limited", json!({}));
    limited.timeout = Some(Duration::from_secs(2));
    let run = engine.start(&limited).await.expect("it starts");
    assert_eq!(end(&engine, &run).await, End::TimedOut);

    // A server that is gone is not a run that has failed.
    let run = engine.start(&work("wait", "left", json!({}))).await.expect("it starts");
    tokio::task::block_in_place(|| server.kill());
    let seen = engine.result(&run, Duration::from_secs(1)).await;
    assert!(matches!(seen, Err(EngineError::Away { .. })), "{seen:?}");
    let seen = engine.start(&work("echo", "later", json!({}))).await;
    assert!(matches!(seen, Err(EngineError::Away { .. })), "{seen:?}");
}

#[tokio::test]
async fn a_start_that_never_left_is_known_not_to_have_happened() {
    let engine = at(format!("http://127.0.0.1:{}", free_port()));
    let seen = engine.start(&work("echo", "x", json!({}))).await;
    let Err(EngineError::Away { message, lost: Lost::Nothing }) = seen else { panic!("{seen:?}") };
    assert!(message.contains("cannot be reached"), "{message}");
}
