//! Work of other engines: Temporal's own test server with a worker of its own SDK, and another Orchestra.

use std::time::Duration;

use executor::providers::Orchestra;
use harness::{Api, Shape, System};
use provider::{
    End, Engine, Run, Work,
    conformance::{Subject, check},
    temporal::{Temporal, TemporalOptions},
};
use serde_json::{Value, json};
use testkit::{unique_name, wait_for};

const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_engine_passes_the_suite_of_engines() {
    let system = System::shared(Shape::OneProcess);
    let _logs = system.shown_on_failure();
    let api = system.api();
    for (name, task) in [
        ("suite-echo", "transform: \"${ input }\""),
        ("suite-fail", "fail: it is broken"),
        ("suite-wait", "wait: {signal: go}"),
    ] {
        api.define(&format!("name: {name}\ntasks: [{{id: only, {task}}}]\n")).await;
    }
    let named = |name: &str| Work::Workflow(name.into());
    let subject = Subject {
        echo: named("suite-echo"),
        fail: named("suite-fail"),
        wait: named("suite-wait"),
        task_queue: None,
        prefix: unique_name("suite"),
        patience: PATIENCE,
    };
    let engine = Orchestra::new(&system.grpc_url(), Duration::from_secs(10)).unwrap();
    assert_eq!(check(&engine, &subject).await, Ok(()));
    // It is given chains and graphs as they stand.
    let steps = json!({"steps": [{"id": "a", "transform": "${ input.n }"}]});
    let nodes = json!({"nodes": {"a": {"transform": "${ input.n }"}}, "entry": "a", "finish": "a"});
    for (id, work) in [("chain", Work::Chain(steps)), ("graph", Work::Graph(nodes))] {
        let subject = Subject { echo: work, ..subject.clone() };
        let start = provider::Start {
            id: format!("{}-{id}", subject.prefix),
            work: subject.echo,
            task_queue: None,
            input: payload(&json!({"n": 7})),
            timeout: None,
        };
        let run = engine.start(&start).await.unwrap();
        assert_eq!(end(&engine, &run).await, End::Completed(payload(&json!(7))), "{id}");
    }
}

fn payload(value: &Value) -> provider::Payload {
    provider::Payload::from_value(value)
}

async fn end(engine: &dyn Engine, run: &Run) -> End {
    wait_for("the end of a run", PATIENCE, async || engine.result(run, Duration::from_secs(2)).await.unwrap())
        .await
}

/// One system and one Temporal for everything: both take a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporal_does_tasks_of_ours_through_crashes_of_either_side() {
    let mut temporal = tokio::task::spawn_blocking(testkit::Temporal::start).await.unwrap();
    let address = temporal.address();
    let settings = [
        ("providers.temporal_address", address.as_str()),
        ("planner.task_queue", temporal.task_queue()),
        ("executor.cancel_within", "20s"),
    ];
    let system = tokio::task::block_in_place(|| System::start(Shape::OneProcess, &settings));
    let _logs = system.shown_on_failure();
    let api = system.api();
    let engine = Temporal::new(TemporalOptions {
        address: address.clone(),
        namespace: "default".into(),
        api_key: None,
        ca: None,
        call_timeout: Duration::from_secs(10),
    });

    results_and_failures(&api).await;
    signals_and_queries(&api).await;
    cancel_and_terminate(&api, engine.as_ref()).await;
    a_crash_of_ours(&system, &api).await;
    temporal_is_away(&api, &mut temporal).await;
}

async fn results_and_failures(api: &Api) {
    api.define("name: whole\nprovider: temporal\nworkflow_type: echo\n").await;
    let done = api.run("whole", &json!({"a": [1, "ü"]})).await;
    assert_eq!(
        (&done["status"], &done["output"]),
        (&json!("completed"), &json!({"a": [1, "ü"]})),
        "{done:#}"
    );

    api.define(concat!(
        "name: mixed\ntasks:\n",
        "  - {id: ask, provider: temporal, workflow_type: chapters, input: 1}\n",
        "  - {id: shown, depends_on: [ask], transform: \"${ tasks.ask.output.chapter }\"}\n",
    ))
    .await;
    let done = api.run("mixed", &json!({})).await;
    assert_eq!(done["output"], 3, "{done:#}");
    assert_eq!(Api::task(&done, "ask")["agent_id"], "provider.temporal");

    // Failures are retried by our policy, each attempt a run of its own; refusals are not.
    for (name, attempts) in [("fail", 2), ("refuse", 1)] {
        let retry = "retry: {max_attempts: 2, base_delay: 10ms}";
        api.define(&format!("name: {name}\nprovider: temporal\nworkflow_type: {name}\n{retry}\n")).await;
        let failed = api.run(name, &json!({})).await;
        assert_eq!(failed["status"], "failed", "{failed:#}");
        let task = Api::task(&failed, "run");
        assert_eq!(task["attempt"], attempts, "{failed:#}");
        assert!(task["error"].as_str().unwrap().contains("broken"), "{task}");
    }
    // What nobody polls for is ended when the attempt's time is over.
    api.define(
        "name: late\ntasks: [{id: ask, provider: temporal, workflow_type: echo, task_queue: nobody, timeout: 1s, retry: none}]\n",
    )
    .await;
    let failed = api.run("late", &json!({})).await;
    let error = Api::task(&failed, "ask")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("timeout: ") && error.ends_with("it was ended there"), "{error}");
}

/// A started execution whose task `ask` waits at Temporal, and Temporal's id of the run.
async fn waiting(api: &Api) -> (String, Run) {
    let name = unique_name("wait");
    let task = "{id: ask, provider: temporal, workflow_type: wait, timeout: 60s, retry: none}";
    api.define(&format!("name: {name}\ntasks: [{task}]\n")).await;
    let id = api.start(&name, &json!({})).await;
    let bound = wait_for("the run's id to be recorded", PATIENCE, async || {
        let events = api.history(&id).await;
        events.into_iter().find_map(|e| e["data"]["agent_task_id"].as_str().map(str::to_owned))
    })
    .await;
    (id, Run::named(bound))
}

async fn signals_and_queries(api: &Api) {
    let (id, _) = waiting(api).await;
    let query = format!("/executions/{id}/query?task=ask&query=state");
    assert_eq!(api.get(&query).await.expect(200)["answer"], json!({"told": []}));
    api.get(&format!("/executions/{id}/query?task=ask&query=weather")).await.problem(400, "invalid_argument");
    let signal = |name: &str| format!("/executions/{id}/signals/{name}");
    let told = json!({"payload": {"n": 1}, "task": "ask"});
    api.post(&signal("go"), &json!({"payload": 1, "task": "nobody"})).await.problem(404, "not_found");
    api.post(&signal("go"), &told).await.expect(200);
    let done = api.ended(&id).await;
    assert_eq!(done["output"], json!({"n": 1}), "{done:#}");
    api.post(&signal("go"), &told).await.problem(409, "invalid_state");
}

async fn cancel_and_terminate(api: &Api, engine: &dyn Engine) {
    for (command, wanted) in [("cancel", "cancelled"), ("terminate", "terminated")] {
        let (id, run) = waiting(api).await;
        api.post(&format!("/executions/{id}/{command}"), &json!({})).await.expect(200);
        assert_eq!(api.ended(&id).await["status"], wanted);
        let end = end(engine, &run).await;
        match command {
            "cancel" => assert_eq!(end, End::Cancelled),
            _ => assert!(matches!(end, End::Terminated(_)), "{end:?}"),
        }
    }
}

async fn a_crash_of_ours(system: &System, api: &Api) {
    let (id, _) = waiting(api).await;
    let name = unique_name("early");
    let task = "{id: ask, provider: temporal, workflow_type: wait, timeout: 60s, retry: none}";
    api.define(&format!("name: {name}\ntasks: [{task}]\n")).await;
    // Its run is not bound yet when the process dies: it is started again under the same id.
    let early = api.start(&name, &json!({})).await;
    api.until_task(&early, "ask", "running").await;
    tokio::task::block_in_place(|| {
        system.kill("all");
        system.restart("all");
    });
    for id in [id, early] {
        api.until_task(&id, "ask", "running").await;
        let told = json!({"payload": "after the crash", "task": "ask"});
        wait_for("the signal to be taken", PATIENCE, async || {
            let got = api.post(&format!("/executions/{id}/signals/go"), &told).await;
            (got.status == 200).then_some(())
        })
        .await;
        let done = api.ended(&id).await;
        assert_eq!(
            (&done["output"], &Api::task(&done, "ask")["attempt"]),
            (&json!("after the crash"), &json!(1))
        );
    }
}

async fn temporal_is_away(api: &Api, temporal: &mut testkit::Temporal) {
    tokio::task::block_in_place(|| temporal.kill());
    let retry = "retry: {max_attempts: 1000, backoff: fixed, base_delay: 200ms}";
    api.define(&format!("name: patient\nprovider: temporal\nworkflow_type: echo\n{retry}\n")).await;
    let id = api.start("patient", &json!("back")).await;
    let seen = wait_for("the reason to be told", PATIENCE, async || {
        let seen = api.get(&format!("/executions/{id}/query")).await.expect(200);
        (seen["stuck"][0]["reason"] == "provider_away").then_some(seen)
    })
    .await;
    let reason = &seen["stuck"][0];
    assert_eq!((&reason["task_id"], &reason["provider"]), (&json!("run"), &json!("temporal")), "{seen:#}");
    assert!(reason["since"].is_string() && reason["error"].is_string(), "{seen:#}");
    tokio::task::block_in_place(|| temporal.restart());
    let done = api.ended(&id).await;
    assert_eq!(done["output"], "back", "{done:#}");
}

/// Switches turn kinds of definitions off, at the doors where they come in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_switched_off_is_refused_with_the_name_of_the_setting() {
    let settings = [
        ("planner.graphs", "false"),
        ("planner.workflows", "false"),
        ("schedules.enabled", "false"),
        ("topics.enabled", "false"),
    ];
    let system = tokio::task::block_in_place(|| System::start(Shape::OneProcess, &settings));
    let _logs = system.shown_on_failure();
    let api = system.api();
    api.define("chain:\n  name: a-chain\n  steps: [{id: a, transform: 1}]\n").await;
    assert_eq!(api.run("a-chain", &json!({})).await["status"], "completed");
    for (yaml, setting) in [
        ("graph:\n  name: a-graph\n  nodes: {a: {transform: 1}}\n", "planner.graphs"),
        ("name: a-workflow\ntasks: [{id: a, transform: 1}]\n", "planner.workflows"),
    ] {
        let path = "/workflows";
        let request = api.request(reqwest::Method::POST, path).header("content-type", "application/yaml");
        let problem = api.send(request.body(yaml)).await.problem(409, "invalid_state");
        assert!(problem.to_string().contains(setting), "{problem:#}");
    }
    let schedule = json!({"name": "s", "workflow": "a-chain", "every": "1h"});
    let problem = api.post("/schedules", &schedule).await.problem(409, "invalid_state");
    assert!(problem.to_string().contains("schedules.enabled"), "{problem:#}");
    let problem = api.post("/events", &json!({"topic": "t", "payload": 1})).await;
    assert!(problem.body.to_string().contains("topics.enabled"), "{} {}", problem.status, problem.body);
}
