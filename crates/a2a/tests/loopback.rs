//! Our client against our server, over every binding and version that both speak.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test says by failing what was not there")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use a2a::{
    AgentCard, Binding, CallError, Endpoint, FaultKind, Version,
    card::{AgentInterface, Capabilities, Override, Skill},
    client::{End, Mode, Notice},
    model::{ListRequest, Part, StreamEvent, TaskState},
    server::{Answer, Failure, Handler, Incoming, Server, ServerConfig, TaskContext},
};
use common::{PATIENCE, answer_to, call, client, endpoint, options, request, with_data};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Does what the text of the message says.
struct Scripted {
    calls: AtomicUsize,
    gate: Semaphore,
}

impl Handler for Scripted {
    fn accept(&self, incoming: &Incoming) -> Result<(), a2a::Fault> {
        match incoming.message.text().as_str() {
            "refuse" => Err(a2a::Fault::invalid("input.city", "is missing")),
            _ => Ok(()),
        }
    }

    fn handle(
        self: Arc<Self>,
        incoming: Incoming,
        task: TaskContext,
    ) -> BoxFuture<'static, Result<Answer, Failure>> {
        async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            match incoming.message.text().as_str() {
                "echo" => {
                    let data = incoming.message.parts.iter().find_map(Part::as_data).cloned();
                    Ok(data.map_or_else(|| Answer::text("nothing"), Answer::json))
                }
                "slow" => {
                    task.progress(0.25, "reading");
                    task.progress(0.75, "writing");
                    self.gate.acquire().await.unwrap().forget();
                    Ok(Answer::text("done"))
                }
                "chunks" => {
                    tokio::task::yield_now().await;
                    task.chunk("story", vec![Part::text("once ")], false, false);
                    task.chunk("story", vec![Part::text("upon")], true, true);
                    Ok(Answer::default())
                }
                "ask" => {
                    let answer = task.require_input(vec![Part::text("which city?")]).await?;
                    Ok(Answer::text(format!("to {}", answer.text())))
                }
                "wait" => {
                    task.cancelled().await;
                    Err(Failure::failed("stopped"))
                }
                "fail" => Err(Failure::failed("no luck")),
                "reject" => Err(Failure::Rejected("not my work".into())),
                "panic" => panic!("as scripted"),
                other => Ok(Answer::text(other)),
            }
        }
        .boxed()
    }
}

struct Agent {
    base: String,
    handler: Arc<Scripted>,
}

async fn agent_with(config: ServerConfig) -> Agent {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let interface = |binding: &str, version: &str| AgentInterface {
        url: base.clone(),
        protocol_binding: binding.into(),
        protocol_version: version.into(),
        tenant: None,
    };
    let card = AgentCard {
        name: "scripted".into(),
        supported_interfaces: vec![
            interface("JSONRPC", "1.0"),
            interface("HTTP+JSON", "1.0"),
            interface("JSONRPC", "0.3"),
        ],
        capabilities: Capabilities { streaming: true, ..Capabilities::default() },
        skills: vec![Skill { id: "script".into(), ..Skill::default() }],
        ..AgentCard::default()
    };
    let handler = Arc::new(Scripted { calls: AtomicUsize::new(0), gate: Semaphore::new(0) });
    let server = Server::new(&card, handler.clone(), config);
    tokio::spawn(async move { axum::serve(listener, server.router()).await });
    Agent { base, handler }
}

async fn agent() -> Agent {
    agent_with(ServerConfig::default()).await
}

impl Agent {
    fn ways(&self) -> [Endpoint; 3] {
        [
            endpoint(&self.base, Binding::JsonRpc, Version::V1_0),
            endpoint(&self.base, Binding::HttpJson, Version::V1_0),
            endpoint(&self.base, Binding::JsonRpc, Version::V0_3),
        ]
    }
    fn calls(&self) -> usize {
        self.handler.calls.load(Ordering::SeqCst)
    }
}

const MODES: [Mode; 3] = [Mode::Wait, Mode::Stream, Mode::Poll];

#[tokio::test]
async fn every_way_of_calling_gives_the_same_outcomes() {
    let agent = agent().await;
    for (i, way) in agent.ways().iter().enumerate() {
        for mode in MODES {
            let id = |what: &str| format!("{what}-{i}-{mode:?}");
            let input = json!({"n": [1, {"x": "ä\n"}], "big": 9_007_199_254_740_993_u64});
            assert_eq!(
                call(way, &with_data(&id("echo"), "echo", &input), mode).await.output(),
                input,
                "{way:?} {mode:?}"
            );
            let list = json!([1, "two"]);
            assert_eq!(call(way, &with_data(&id("list"), "echo", &list), mode).await.output(), list);
            assert_eq!(call(way, &request(&id("text"), "hello"), mode).await.output(), "hello");
            assert_eq!(call(way, &request(&id("chunks"), "chunks"), mode).await.output(), "once upon");
            let failed = call(way, &request(&id("fail"), "fail"), mode).await;
            assert_eq!(*failed.end(), End::Failed { message: "no luck".into() });
            let rejected = call(way, &request(&id("reject"), "reject"), mode).await;
            assert_eq!(*rejected.end(), End::Rejected { message: "not my work".into() });
            let panicked = call(way, &request(&id("panic"), "panic"), mode).await;
            assert!(matches!(panicked.end(), End::Failed { message } if message.contains("panicked")));
            match call(way, &request(&id("refuse"), "refuse"), mode).await.result {
                Err(CallError::Fault(fault)) => {
                    assert_eq!(
                        (fault.kind, fault.field.as_deref()),
                        (FaultKind::InvalidParams, Some("input.city"))
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn progress_arrives_in_every_mode_that_follows() {
    for mode in [Mode::Stream, Mode::Poll] {
        let agent = agent().await;
        for way in &agent.ways() {
            let mut notices = Vec::new();
            let handler = agent.handler.clone();
            let mut notify = |n: Notice| {
                if matches!(&n, Notice::Progress { fraction: Some(f), .. } if *f == 0.75) {
                    handler.gate.add_permits(1);
                }
                notices.push(n);
            };
            let slow = request(&format!("{mode:?}{way:?}"), "slow");
            let outcome = client().call(way, &slow, mode, &options(), &mut notify).await.unwrap();
            assert!(matches!(outcome.end, End::Completed { .. }));
            let bound = |n: &Notice| matches!(n, Notice::Bound { agent_task_id, .. } if Some(agent_task_id) == outcome.agent_task_id.as_ref());
            assert_eq!(notices.iter().filter(|n| bound(n)).count(), 1, "{way:?}: {notices:?}");
            let last = Notice::Progress { fraction: Some(0.75), text: Some("writing".into()) };
            assert_eq!(notices.last(), Some(&last));
        }
    }
}

#[tokio::test]
async fn a_question_waits_for_its_answer() {
    let agent = agent().await;
    for way in &agent.ways() {
        for mode in MODES {
            let asked = call(way, &request(&format!("ask{way:?}{mode:?}"), "ask"), mode).await;
            assert_eq!(*asked.end(), End::InputRequired { prompt: "which city?".into(), data: None });
            let outcome = asked.result.unwrap();
            let answer = answer_to(&outcome, &format!("answer{way:?}{mode:?}"), "Bern");
            let mut ignore = |_| ();
            let ended = client().answer(way, &answer, mode, &options(), &mut ignore).await.unwrap();
            assert_eq!(ended.agent_task_id, outcome.agent_task_id);
            assert!(
                matches!(&ended.end, End::Completed { output } if output.json().unwrap().as_str() == Some("to Bern"))
            );
            let late = answer_to(&outcome, &format!("late{way:?}{mode:?}"), "Basel");
            let refused = client().answer(way, &late, mode, &options(), &mut ignore).await;
            assert!(matches!(refused, Err(CallError::Fault(f)) if f.kind == FaultKind::Unsupported));
        }
    }
}

#[tokio::test]
async fn a_repeated_message_is_worked_on_once() {
    let agent = agent().await;
    let [way, rest, _] = agent.ways();
    let slow = request("once", "slow");
    let bound = call(&way, &request("other", "x"), Mode::Wait).await.bound();
    assert!(bound.is_some());
    let before = agent.calls();
    let (release, first, second) = tokio::join!(
        async {
            while agent.handler.gate.available_permits() == 0 && agent.calls() == before {
                tokio::task::yield_now().await;
            }
            agent.handler.gate.add_permits(1);
        },
        call(&way, &slow, Mode::Wait),
        call(&rest, &slow, Mode::Stream),
    );
    let () = release;
    assert_eq!((first.output(), second.output()), (json!("done"), json!("done")));
    let again = call(&way, &slow, Mode::Poll).await;
    let task = |ran: &common::Ran| ran.result.as_ref().unwrap().agent_task_id.clone();
    assert_eq!((task(&first), task(&first)), (task(&second), task(&again)));
    assert_eq!(agent.calls(), before + 1, "one message, one effect");
    let misuse = call(&way, &request("once", "echo"), Mode::Wait).await.result;
    assert!(matches!(misuse, Err(CallError::Fault(f)) if f.field.as_deref() == Some("message.messageId")));
}

#[tokio::test]
async fn a_cancelled_task_is_over_for_both_sides() {
    let agent = agent().await;
    for way in &agent.ways() {
        let mut started = request(&format!("{way:?}"), "wait");
        started.return_immediately = true;
        let a2a::model::Reply::Task(task) = client().send(way, &started, &options()).await.unwrap() else {
            panic!("a task was expected")
        };
        let mut stream = client().subscribe(way, &task.id, &options()).await.unwrap();
        let cancelled = client().cancel(way, &task.id, &options()).await.unwrap();
        assert_eq!(cancelled.status.state, TaskState::Canceled);
        let mut last = None;
        while let Some(event) = stream.next().await.unwrap() {
            last = Some(event);
        }
        match last {
            Some(StreamEvent::Status(update)) => assert_eq!(update.status.state, TaskState::Canceled),
            other => panic!("{other:?}"),
        }
        let again = client().cancel(way, &task.id, &options()).await.unwrap();
        assert_eq!(again.status.state, TaskState::Canceled, "a task that is over is given back");
        let mut ignore = |_| ();
        let seen = client().reattach(way, &task.id, &options(), &mut ignore).await.unwrap();
        assert!(matches!(seen.end, End::Canceled { .. }));
    }
}

#[tokio::test]
async fn a_running_task_is_taken_up_again() {
    let agent = agent().await;
    for way in &agent.ways() {
        let mut started = request(&format!("{way:?}"), "slow");
        started.return_immediately = true;
        let a2a::model::Reply::Task(task) = client().send(way, &started, &options()).await.unwrap() else {
            panic!("a task was expected")
        };
        let handler = agent.handler.clone();
        let mut notify = |_| handler.gate.add_permits(1);
        let client = client();
        let options = options();
        let done = client.reattach(way, &task.id, &options, &mut notify);
        let seen = tokio::time::timeout(PATIENCE, done).await.unwrap().unwrap();
        assert!(matches!(seen.end, End::Completed { .. }));
        let lost = client.reattach(way, "no-such-task", &options, &mut notify).await.unwrap_err();
        assert!(lost.outcome_unknown() && lost.to_string().contains("no longer knows"), "{lost}");
    }
}

#[tokio::test]
async fn tasks_are_listed_by_context_and_found_by_message() {
    let agent = agent().await;
    let [way, rest, old] = agent.ways();
    for n in 0..5 {
        let mut sent = request(&format!("m{n}"), "hi");
        sent.message.context_id = Some("ctx".into());
        call(&way, &sent, Mode::Wait).await.output();
    }
    for way in [&way, &rest] {
        let mut list =
            ListRequest { context_id: Some("ctx".into()), page_size: Some(2), ..ListRequest::default() };
        let mut seen = Vec::new();
        loop {
            let page = client().list(way, &list, &options()).await.unwrap();
            assert_eq!((page.total_size, page.page_size), (5, 2));
            assert!(
                page.tasks.iter().all(|t| t.artifacts.is_empty() && t.context_id.as_deref() == Some("ctx"))
            );
            seen.extend(page.tasks.into_iter().map(|t| t.id));
            if page.next_page_token.is_empty() {
                break;
            }
            list.page_token = Some(page.next_page_token);
        }
        let unique: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), unique.len()), (5, 5));
        let found = client().find_by_message(way, "ctx", "m3", &options()).await.unwrap().unwrap();
        assert_eq!(found.artifacts.len(), 1);
        assert!(client().find_by_message(way, "ctx", "m9", &options()).await.unwrap().is_none());
        let odd = ListRequest { page_size: Some(101), ..ListRequest::default() };
        let refused = client().list(way, &odd, &options()).await;
        assert!(matches!(refused, Err(CallError::Fault(f)) if f.field.as_deref() == Some("pageSize")));
    }
    let refused = client().list_by_context(&old, "ctx", &options()).await;
    assert!(matches!(refused, Err(CallError::Fault(f)) if f.kind == FaultKind::MethodNotFound));
}

#[tokio::test]
async fn the_card_is_found_at_both_paths_and_leads_to_1_0() {
    let agent = agent().await;
    let card = client().fetch_card(&agent.base, &options()).await.unwrap();
    let chosen = Endpoint::choose(&card, &Override::default()).unwrap();
    assert_eq!((chosen.version, chosen.binding, chosen.streaming), (Version::V1_0, Binding::JsonRpc, true));
    assert_eq!(call(&chosen, &request("m", "hello"), Mode::Wait).await.output(), "hello");
    let old =
        client().fetch_card(&format!("{}/.well-known/agent.json", agent.base), &options()).await.unwrap();
    assert_eq!(old, card);
    let modern = {
        let mut options = options();
        options.headers.insert("a2a-version", "1.0".parse().unwrap());
        client().fetch_card(&agent.base, &options).await.unwrap()
    };
    assert_eq!(modern, card);
}

#[tokio::test]
async fn a_full_agent_asks_to_slow_down_and_forgets_only_what_is_over() {
    let agent = agent_with(ServerConfig { tasks_max: 2, ..ServerConfig::default() }).await;
    let [way, rest, _] = agent.ways();
    for n in 0..5 {
        call(&way, &request(&format!("quick{n}"), "x"), Mode::Wait).await.output();
    }
    for n in 0..2 {
        let mut held = request(&format!("held{n}"), "slow");
        held.return_immediately = true;
        client().send(&way, &held, &options()).await.unwrap();
    }
    for way in [&way, &rest] {
        let refused = call(way, &request("one-more", "x"), Mode::Wait).await.result.unwrap_err();
        assert_eq!(refused.class(), base::FailureClass::RateLimited, "{refused}");
        assert!(refused.retry_after().is_some());
    }
    agent.handler.gate.add_permits(2);
}

async fn post(base: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    use http_body_util::{BodyExt, Full};
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let mut request = http::Request::post(format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(bytes::Bytes::from(body.to_owned()))).unwrap();
    let response = client.request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn malformed_requests_get_their_error() {
    let agent = agent_with(ServerConfig { body_limit_bytes: 2000, ..ServerConfig::default() }).await;
    let json = [("content-type", "application/json")];
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(3000));
    let send = |message: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"q","method":"SendMessage","params":{{"message":{message}}}}}"#)
    };
    for (body, code) in [
        ("{", -32700),
        ("", -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"GetTask"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"GetTask"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"Nothing"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask"}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":7}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x"}}"#, -32001),
        (r#"{"jsonrpc":"2.0","id":1,"method":"CancelTask","params":{"id":"x"}}"#, -32001),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetExtendedAgentCard"}"#, -32004),
        (r#"{"jsonrpc":"2.0","id":1,"method":"CreateTaskPushNotificationConfig","params":{}}"#, -32003),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/pushNotificationConfig/set","params":{}}"#, -32003),
        (&send(r#"{"messageId":"m","role":"ROLE_USER","parts":[]}"#), -32602),
        (&send(r#"{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":""}]}"#), -32602),
        (&send(r#"{"role":"ROLE_USER","parts":[{"text":""}]}"#), -32602),
        (&send(r#"{"messageId":"m","role":"ROLE_USER","parts":[{"kind":"file"}]}"#), -32602),
        (&send(r#"{"messageId":"m","role":"ROLE_USER","taskId":"none","parts":[{"text":""}]}"#), -32001),
        (&long, -32600),
    ] {
        let (status, answer) = post(&agent.base, "/", &json, body).await;
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(code)), "{body}: {answer}");
        assert_eq!(answer["error"]["data"][0]["domain"], "a2a-protocol.org");
    }
    let (_, answer) = post(&agent.base, "/", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(answer["error"]["code"], -32005);
    for (path, headers, body, status) in [
        ("/nowhere/at/all", &json[..], "{}", 404),
        ("/tasks/x:cancel", &json, "{}", 404),
        ("/some-tenant/tasks/x:cancel", &json, "{}", 404),
        ("/message:send", &json, "[]", 400),
        ("/message:send", &json, "{}", 400),
        ("/message:send", &[("content-type", "text/plain")], "x", 400),
        ("/message:send", &[("a2a-version", "0.3")], "{}", 400),
        ("/tasks", &json, "{}", 405),
        ("/tasks/x/pushNotificationConfigs", &json, "{}", 400),
        ("/message:send", &json, &long, 413),
    ] {
        let (got, answer) = post(&agent.base, path, headers, body).await;
        assert_eq!(got, status, "{path}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{path}: {answer}");
    }
    assert_eq!(agent.calls(), 0, "nothing of this reached the handler");
}

#[tokio::test]
async fn versions_are_checked_against_what_is_spoken() {
    let agent = agent().await;
    let modern_only = agent_with(ServerConfig { legacy: false, ..ServerConfig::default() }).await;
    let body =
        |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"id":"x"}}}}"#);
    for (base, version, method, code) in [
        (&agent.base, "", "GetTask", -32001),
        (&agent.base, "1.0", "GetTask", -32001),
        (&agent.base, "1.7", "GetTask", -32001),
        (&agent.base, "0.3", "GetTask", -32009),
        (&agent.base, "9.9", "GetTask", -32009),
        (&agent.base, "", "tasks/get", -32001),
        (&agent.base, "0.3", "tasks/get", -32001),
        (&agent.base, "1.0", "tasks/get", -32009),
        (&modern_only.base, "", "tasks/get", -32009),
    ] {
        let headers = [("content-type", "application/json"), ("a2a-version", version)];
        let (_, answer) = post(base, "/", &headers, &body(method)).await;
        assert_eq!(answer["error"]["code"], code, "{version:?} {method}: {answer}");
    }
    let way = Endpoint { downgrade: true, ..agent.ways()[0].clone() };
    let lying = lying_gateway(&agent.base).await;
    let way = Endpoint { url: lying.parse().unwrap(), ..way };
    assert_eq!(call(&way, &request("down", "hello"), Mode::Wait).await.output(), "hello");
    let strict = Endpoint { downgrade: false, ..way };
    let refused = call(&strict, &request("strict", "hello"), Mode::Wait).await.result.unwrap_err();
    assert_eq!(refused.class(), base::FailureClass::Rejected);
}

/// A gateway that knows only 0.3, whatever its card says.
async fn lying_gateway(target: &str) -> String {
    let target = target.to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let route = axum::routing::post(move |body: String| async move {
        let request: Value = serde_json::from_str(&body).unwrap();
        if request["method"] != "message/send" {
            let error = json!({"code": -32601, "message": "unknown"});
            return axum::Json(json!({"jsonrpc": "2.0", "id": request["id"], "error": error}));
        }
        axum::Json(post(&target, "/", &[("content-type", "application/json")], &body).await.1)
    });
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/", route)).await });
    url
}
