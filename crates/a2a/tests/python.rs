//! Our client against agents written with the official Python SDK, both generations.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test says by failing what was not there")]

mod common;

use std::{path::PathBuf, process::Stdio, time::Duration};

use a2a::{
    Binding, CallError, Endpoint, Version,
    card::Override,
    client::{CallOptions, End, Mode, Notice},
    model::{Reply, StreamEvent, TaskState},
};
use common::{PATIENCE, answer_to, call, call_with, client, options, request, with_data};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::Instant,
};

/// A Python process; ended with the test.
struct Peer {
    base: String,
    process: Child,
}

/// Starts one of the agents in `tests/python`.
async fn peer(generation: &str) -> Peer {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../target/python-agents").join(generation).join("bin/python");
    assert!(python.exists(), "{} is missing: run scripts/python-agents.sh", python.display());
    let mut process = Command::new(python)
        .arg(here.join("tests/python").join(format!("agent_{generation}.py")))
        .stdout(Stdio::piped())
        // It tells at length of the crash that one test scripts.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    let base =
        first.unwrap_or_else(|| panic!("tests/python/agent_{generation}.py ended at once: run it by hand"));
    Peer { base, process }
}

/// Every way to speak to both agents, chosen from their cards.
async fn ways() -> (Vec<Peer>, Vec<Endpoint>) {
    let (new, old) = tokio::join!(peer("v1"), peer("v03"));
    let card = client().fetch_card(&new.base, &options()).await.unwrap();
    let choose = |over: Override| Endpoint::choose(&card, &over).unwrap();
    let rpc = choose(Override::default());
    let rest = choose(Override { binding: Some(Binding::HttpJson), ..Override::default() });
    let compatible = choose(Override { version: Some(Version::V0_3), ..Override::default() });
    let card = client().fetch_card(&old.base, &options()).await.unwrap();
    let genuine = Endpoint::choose(&card, &Override::default()).unwrap();
    let versions = [&rpc, &rest, &compatible, &genuine].map(|w| (w.binding, w.version));
    use Binding::{HttpJson, JsonRpc};
    use Version::{V0_3, V1_0};
    assert_eq!(versions, [(JsonRpc, V1_0), (HttpJson, V1_0), (JsonRpc, V0_3), (JsonRpc, V0_3)]);
    (vec![new, old], vec![rpc, rest, compatible, genuine])
}

const MODES: [Mode; 3] = [Mode::Wait, Mode::Stream, Mode::Poll];

#[tokio::test]
async fn every_outcome_is_understood_in_every_way_and_mode() {
    let (_peers, ways) = ways().await;
    for (i, way) in ways.iter().enumerate() {
        for mode in MODES {
            let name = format!("{:?} {:?} {mode:?}", way.binding, way.version);
            let id = |what: &str| format!("{what}-{i}-{mode:?}");
            let run = |what: &'static str| {
                let request = request(&id(what), what);
                async move { call(way, &request, mode).await }
            };
            assert_eq!(run("complete").await.output(), "done", "{name}");
            assert_eq!(run("chunks").await.output(), "once upon a time", "{name}");
            let sent = json!({"list": [1.5, "ä"], "deep": {"yes": true, "none": null}});
            assert_eq!(
                call(way, &with_data(&id("data"), "data", &sent), mode).await.output(),
                sent,
                "{name}"
            );
            let file = json!({"raw": "AP8=", "mediaType": "application/x-test", "filename": "a.bin"});
            assert_eq!(run("file").await.output(), file, "{name}");
            let direct = run("direct").await;
            assert_eq!((direct.output(), direct.bound()), (json!("hello"), None), "{name}");
            assert_eq!(*run("fail").await.end(), End::Failed { message: "no luck".into() }, "{name}");
            assert_eq!(*run("reject").await.end(), End::Rejected { message: "not my work".into() }, "{name}");
            // The genuine 0.3 server leaves the task of a crashed handler as it was, for ever.
            let soon = CallOptions { deadline: Some(Instant::now() + Duration::from_secs(2)), ..options() };
            let crashed = call_with(way, &request(&id("crash"), "crash"), mode, &soon).await;
            match &crashed.result {
                Ok(outcome) => assert!(matches!(outcome.end, End::Failed { .. }), "{name}: {outcome:?}"),
                Err(CallError::Timeout { .. }) => assert_eq!(way.version, Version::V0_3, "{name}"),
                Err(err) => assert!(matches!(err, CallError::Fault(_)), "{name}: {err}"),
            }
        }
    }
}

#[tokio::test]
async fn progress_is_given_on_while_a_task_runs() {
    let (_peers, ways) = ways().await;
    for way in &ways {
        let ran = call(way, &request(&format!("slow{way:?}"), "slow"), Mode::Stream).await;
        assert_eq!(ran.output(), "done");
        let progress = ran.progress();
        for fraction in [0.25, 0.75] {
            let want = (Some(fraction), Some(format!("at {fraction}")));
            assert!(progress.contains(&want), "{way:?}: {progress:?}");
        }
        let bound = ran.notices.iter().filter(|n| matches!(n, Notice::Bound { .. })).count();
        assert_eq!(bound, 1, "{way:?}");
        let polled = call(way, &request(&format!("polled{way:?}"), "slow"), Mode::Poll).await;
        assert_eq!((polled.output(), polled.bound().is_some()), (json!("done"), true));
    }
}

#[tokio::test]
async fn a_question_is_answered_in_the_same_task() {
    let (_peers, ways) = ways().await;
    for way in &ways {
        for mode in MODES {
            let name = format!("{:?} {:?} {mode:?}", way.binding, way.version);
            let asked = call(way, &request(&format!("ask{name}"), "ask"), mode).await;
            assert_eq!(
                *asked.end(),
                End::InputRequired { prompt: "which city?".into(), data: None },
                "{name}"
            );
            let outcome = asked.result.unwrap();
            let answer = answer_to(&outcome, &format!("answer{name}"), "Bern");
            let mut ignore = |_| ();
            let ended = client().answer(way, &answer, mode, &options(), &mut ignore).await.unwrap();
            assert_eq!(ended.agent_task_id, outcome.agent_task_id, "{name}");
            match &ended.end {
                End::Completed { output } => assert_eq!(*output.json().unwrap(), "to Bern", "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_task_is_followed_cancelled_and_taken_up_again() {
    let (_peers, ways) = ways().await;
    for way in &ways {
        let name = format!("{:?} {:?}", way.binding, way.version);
        let mut started = request(&format!("wait{name}"), "wait");
        started.return_immediately = true;
        let Reply::Task(task) = client().send(way, &started, &options()).await.unwrap() else {
            panic!("{name}: a task was expected")
        };
        let mut stream = client().subscribe(way, &task.id, &options()).await.unwrap();
        if way.version == Version::V1_0 {
            let first = stream.next().await.unwrap();
            assert!(matches!(first, Some(StreamEvent::Task(t)) if t.id == task.id), "{name}");
        }
        let (client_, options_) = (client(), options());
        let mut ignore = |_| ();
        let again = client_.reattach(way, &task.id, &options_, &mut ignore);
        let cancel = async {
            let (client, options) = (client(), options());
            client.cancel(way, &task.id, &options).await
        };
        let (again, cancelled) =
            tokio::time::timeout(PATIENCE, async { tokio::join!(again, cancel) }).await.unwrap();
        assert_eq!(cancelled.unwrap().status.state, TaskState::Canceled, "{name}");
        assert!(matches!(again.unwrap().end, End::Canceled { .. }), "{name}");
        let seen = client().get(way, &task.id, &options()).await.unwrap();
        assert_eq!(seen.status.state, TaskState::Canceled, "{name}");
        let twice = client().cancel(way, &task.id, &options()).await.unwrap();
        assert_eq!(twice.status.state, TaskState::Canceled, "{name}");
        let lost = client().reattach(way, "no-such-task", &options(), &mut ignore).await.unwrap_err();
        assert!(lost.outcome_unknown(), "{name}: {lost}");
    }
}

#[tokio::test]
async fn a_task_of_unknown_outcome_is_found_by_its_message() {
    let peer = peer("v1").await;
    let card = client().fetch_card(&peer.base, &options()).await.unwrap();
    for binding in [Binding::JsonRpc, Binding::HttpJson] {
        let over = Override { binding: Some(binding), ..Override::default() };
        let way = Endpoint::choose(&card, &over).unwrap();
        let mut sent = request(&format!("found{binding:?}"), "complete");
        sent.message.context_id = Some(format!("ctx{binding:?}"));
        call(&way, &sent, Mode::Wait).await.output();
        let context = sent.message.context_id.as_deref().unwrap();
        let found =
            client().find_by_message(&way, context, &sent.message.message_id, &options()).await.unwrap();
        assert_eq!(found.map(|t| t.status.state), Some(TaskState::Completed), "{binding:?}");
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_in_the_middle_has_an_unknown_outcome() {
    let mut peer = peer("v1").await;
    let card = client().fetch_card(&peer.base, &options()).await.unwrap();
    let way = Endpoint::choose(&card, &Override::default()).unwrap();
    let (bound, seen) = tokio::sync::oneshot::channel();
    let mut bound = Some(bound);
    let mut notify = |n: Notice| {
        if let (Notice::Bound { .. }, Some(bound)) = (n, bound.take()) {
            bound.send(()).unwrap();
        }
    };
    let (client, options, sent) = (client(), options(), request("killed", "wait"));
    let running = client.call(&way, &sent, Mode::Stream, &options, &mut notify);
    let kill = async {
        seen.await.unwrap();
        peer.process.kill().await.unwrap();
    };
    let (ended, ()) =
        tokio::time::timeout(Duration::from_secs(90), async { tokio::join!(running, kill) }).await.unwrap();
    let err = ended.unwrap_err();
    assert!(err.outcome_unknown() && !err.known_not_sent(), "{err}");
}
