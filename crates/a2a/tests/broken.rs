//! Agents that break: each gives its typed error, within its limits, and nothing hangs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test says by failing what was not there")]

mod common;

use std::time::Duration;

use a2a::{
    A2aClient, Binding, CallError, Endpoint, FaultKind, Version,
    client::{CallOptions, ClientConfig, End, Mode, Notice},
};
use base::FailureClass;
use common::{call, call_with, client, endpoint, options, request};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the agent does with one connection after it has read a request.
#[derive(Clone)]
enum Act {
    /// Write these bytes and close.
    Say(Vec<u8>),
    /// Write the pieces one by one, each after the one before was surely sent, and close.
    Pieces(Vec<Vec<u8>>),
    /// Write these bytes and keep the connection open without a word.
    SayAndHang(Vec<u8>),
}

/// An agent that does `acts` in turn, one for each request, and the last one from then on.
async fn agent(acts: Vec<Act>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        for n in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            read_request(&mut socket).await;
            match acts[n.min(acts.len() - 1)].clone() {
                Act::Say(bytes) => socket.write_all(&bytes).await.unwrap_or_default(),
                Act::Pieces(pieces) => {
                    for piece in pieces {
                        socket.write_all(&piece).await.unwrap_or_default();
                        socket.flush().await.unwrap_or_default();
                        tokio::task::yield_now().await;
                    }
                }
                Act::SayAndHang(bytes) => {
                    socket.write_all(&bytes).await.unwrap_or_default();
                    held.push(socket);
                }
            }
        }
    });
    url
}

async fn read_request(socket: &mut TcpStream) {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = socket.read(&mut chunk).await.unwrap_or(0);
        seen.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { if n == 0 { return } else { continue } };
        let length = head
            .lines()
            .find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
        if n == 0 || body.len() >= length.unwrap_or(0) {
            return;
        }
    }
}

fn http(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into()
}

fn sse(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}").into()
}

fn v1(url: &str) -> Endpoint {
    endpoint(url, Binding::JsonRpc, Version::V1_0)
}

fn task(state: &str, text: &str) -> String {
    let artifacts =
        if text.is_empty() { json!([]) } else { json!([{"artifactId": "a", "parts": [{"text": text}]}]) };
    let task = json!({"id": "t1", "contextId": "c1", "status": {"state": state}, "artifacts": artifacts});
    json!({"jsonrpc": "2.0", "id": 1, "result": {"task": task}}).to_string()
}

fn bare_task(state: &str, text: &str) -> String {
    task(state, text).replace(r#"{"task":{"#, r#"{"#).replace("}}}", "}}")
}

#[tokio::test]
async fn a_refused_connection_is_known_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for mode in [Mode::Wait, Mode::Stream, Mode::Poll] {
        let err = call(&v1(&url), &request("m", "x"), mode).await.result.unwrap_err();
        assert!(err.known_not_sent() && !err.outcome_unknown(), "{err}");
        assert_eq!(err.class(), FailureClass::Unavailable);
    }
    let nowhere =
        call(&v1("http://no-such-host.invalid"), &request("m", "x"), Mode::Wait).await.result.unwrap_err();
    assert!(nowhere.known_not_sent(), "{nowhere}");
}

#[tokio::test]
async fn tls_that_fails_before_the_request_is_known_not_sent() {
    for greeting in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(greeting).await.unwrap();
            std::future::pending::<()>().await;
        });
        let config = ClientConfig { connect_timeout: Duration::from_millis(100), ..ClientConfig::default() };
        let sent = A2aClient::new(config).send(&v1(&url), &request("m", "x"), &options()).await;
        let err = sent.unwrap_err();
        assert!(err.known_not_sent(), "{err}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_a2a_says_why() {
    let json = "application/json";
    let broken = |e: &CallError| e.outcome_unknown() && e.class() == FailureClass::Broken;
    let invalid = |e: &CallError| e.class() == FailureClass::InvalidOutput;
    let rejected = |e: &CallError| e.class() == FailureClass::Rejected;
    let limited = |e: &CallError| e.class() == FailureClass::RateLimited;
    let auth = |e: &CallError| e.class() == FailureClass::Auth;
    let error = |e: &CallError| e.class() == FailureClass::Error;
    type Check = fn(&CallError) -> bool;
    let cases: Vec<(&str, Vec<u8>, Check, &str)> = vec![
        ("garbage", http("200 OK", json, "@@@"), invalid, "not a JSON-RPC answer"),
        ("a web page", http("200 OK", "text/html", "<html>"), invalid, "content type \"text/html\""),
        (
            "no result",
            http("200 OK", json, r#"{"jsonrpc":"2.0","id":1}"#),
            invalid,
            "neither result nor error",
        ),
        ("a wrong shape", http("200 OK", json, r#"{"result":{"task":{"id":"t"}}}"#), invalid, "task.status"),
        ("an unknown answer", http("200 OK", json, r#"{"result":{}}"#), invalid, "exactly one of"),
        (
            "half a body",
            http("200 OK", json, "{}").iter().copied().take(60).chain(*b"100\r\n\r\n{").collect(),
            broken,
            "",
        ),
        ("half a head", b"HTTP/1.1 200".to_vec(), broken, "connection"),
        ("nothing at all", Vec::new(), broken, "connection"),
        ("not HTTP", b"hello\r\n\r\n".to_vec(), broken, ""),
        ("a lost proxy", http("502 Bad Gateway", "text/html", "<html>"), broken, "502"),
        ("a redirect", http("307 Temporary Redirect", json, ""), invalid, "redirected"),
        ("a wrong path", http("404 Not Found", "text/plain", "nope"), rejected, "nope"),
        ("too many calls", http("429 Too Many Requests", json, "{}"), limited, ""),
        ("busy", http("503 Service Unavailable", "text/plain", "later"), limited, "later"),
        ("no credentials", http("401 Unauthorized", json, ""), auth, ""),
        ("forbidden", http("403 Forbidden", json, ""), auth, ""),
        ("a crash", http("500 Internal Server Error", "text/plain", "oops"), error, "oops"),
    ];
    for (name, bytes, right, text) in cases {
        let url = agent(vec![Act::Say(bytes)]).await;
        let err = call(&v1(&url), &request("m", "x"), Mode::Wait).await.result.expect_err(name);
        assert!(right(&err) && err.to_string().contains(text), "{name}: {err:?}");
        assert!(!err.known_not_sent(), "{name}");
    }
}

#[tokio::test]
async fn retry_after_is_given_on() {
    let busy =
        b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
    let url = agent(vec![Act::Say(busy)]).await;
    let err = call(&v1(&url), &request("m", "x"), Mode::Wait).await.result.unwrap_err();
    assert_eq!(err.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn an_agent_that_never_answers_runs_into_its_limit() {
    for hung in
        [Vec::new(), b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_vec(), sse(": hello\n\n")]
    {
        let url = agent(vec![Act::SayAndHang(hung)]).await;
        for mode in [Mode::Wait, Mode::Stream] {
            let idle = CallOptions { idle_timeout: Duration::from_millis(50), ..options() };
            let err = call_with(&v1(&url), &request("m", "x"), mode, &idle).await.result.unwrap_err();
            assert!(matches!(err, CallError::Timeout { which: "idle timeout", .. }), "{err}");
            assert!(err.outcome_unknown() && err.class() == FailureClass::Timeout);
            let soon = tokio::time::Instant::now() + Duration::from_millis(50);
            let late = CallOptions { deadline: Some(soon), ..CallOptions::default() };
            let err = call_with(&v1(&url), &request("m", "x"), mode, &late).await.result.unwrap_err();
            assert!(matches!(err, CallError::Timeout { which: "deadline", .. }), "{err}");
        }
    }
}

#[tokio::test]
async fn a_large_answer_is_refused_by_its_limit_and_taken_below_it() {
    let large = task("TASK_STATE_COMPLETED", &"x".repeat(10 << 20));
    let chunked =
        [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n", large.as_bytes()]
            .concat();
    for (bytes, mode) in [
        (http("200 OK", "application/json", &large), Mode::Wait),
        (chunked, Mode::Wait),
        (sse(&format!("data: {large}\n\n")), Mode::Stream),
        (
            sse(&format!("{}data: {{}}\n\n", format!("data: {}\n", "x".repeat(1000)).repeat(9 << 10))),
            Mode::Stream,
        ),
    ] {
        let url = agent(vec![Act::Say(bytes.clone())]).await;
        let err = call(&v1(&url), &request("m", "x"), mode).await.result.unwrap_err();
        assert_eq!(err, CallError::TooBig { limit_bytes: 8 << 20 });
        assert_eq!(err.class(), FailureClass::InvalidOutput);
    }
    let url = agent(vec![Act::Say(http("200 OK", "application/json", &large))]).await;
    let wide = CallOptions { response_limit_bytes: 16 << 20, ..options() };
    let ran = call_with(&v1(&url), &request("m", "x"), Mode::Wait, &wide).await;
    assert_eq!(ran.output().as_str().map(str::len), Some(10 << 20));
}

#[tokio::test]
async fn a_stream_is_read_however_it_is_cut_and_written() {
    let pretty = "data: {\"jsonrpc\": \"2.0\", \"id\": 1,\ndata:  \"result\": {\"task\": {\"id\": \"t1\",\ndata: \"status\": {\"state\": \"TASK_STATE_COMPLETED\"}, \"artifacts\": [{\"artifactId\": \"a\", \"parts\": [{\"text\": \"grün\"}]}]}}}\n\n";
    let one = format!("data: {}\n\n", task("TASK_STATE_COMPLETED", "grün"));
    for text in [
        one.clone(),
        one.replace('\n', "\r\n"),
        one.replace('\n', "\r"),
        format!(": ping - 1\n\nid: 3\nretry: 10\nwhatever\n{one}"),
        pretty.to_owned(),
        pretty.replace('\n', "\r\n"),
    ] {
        let bytes = sse(&text);
        let begin = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let mut pieces = vec![bytes[..begin].to_vec()];
        pieces.extend(bytes[begin..].chunks(7).map(<[u8]>::to_vec));
        for act in [Act::Say(bytes.clone()), Act::Pieces(pieces)] {
            let url = agent(vec![act]).await;
            let ran = call(&v1(&url), &request("m", "x"), Mode::Stream).await;
            assert_eq!(ran.output(), "grün", "{text:?}");
        }
    }
}

#[tokio::test]
async fn half_a_stream_is_mended_by_asking() {
    let working = format!("data: {}\n\n", task("TASK_STATE_WORKING", ""));
    let partial = format!("{working}data: {{\"jsonrpc\":\"2.0\",\"id\":1,\"resu");
    let done = http("200 OK", "application/json", &bare_task("TASK_STATE_COMPLETED", "whole"));
    let busy = http("503 Service Unavailable", "text/plain", "later");
    for acts in [
        vec![sse(&working), done.clone()],
        vec![sse(&partial), done.clone()],
        vec![sse(&partial), Vec::new(), sse(&working), done.clone()],
        vec![sse(&partial), Vec::new(), Vec::new(), done.clone()],
        vec![sse(&partial), busy.clone(), busy, done.clone()],
        vec![http("200 OK", "application/json", &task("TASK_STATE_WORKING", "")), done.clone()],
    ] {
        let url = agent(acts.into_iter().map(Act::Say).collect()).await;
        let ran = call(&v1(&url), &request("m", "x"), Mode::Stream).await;
        assert_eq!(ran.output(), "whole");
        assert_eq!(
            ran.notices,
            [Notice::Bound { agent_task_id: "t1".into(), context_id: Some("c1".into()) }]
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_task_is_known_has_an_unknown_outcome() {
    for body in ["", ": ping\n\n", "data: {\"jsonrpc\""] {
        let url = agent(vec![Act::Say(sse(body))]).await;
        let err = call(&v1(&url), &request("m", "x"), Mode::Stream).await.result.unwrap_err();
        assert!(err.outcome_unknown() && err.class() == FailureClass::Broken, "{err}");
    }
}

#[tokio::test]
async fn an_agent_that_dies_in_the_middle_is_unknown_and_never_not_sent() {
    let working = format!("data: {}\n\n", task("TASK_STATE_WORKING", ""));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(&sse(&working)).await.unwrap();
    });
    let ran = call(&v1(&url), &request("m", "x"), Mode::Stream).await;
    let err = ran.result.unwrap_err();
    assert!(err.outcome_unknown() && !err.known_not_sent(), "{err}");
    assert_eq!(ran.notices.len(), 1, "the task was bound");
}

#[tokio::test]
async fn errors_inside_a_stream_are_the_agents() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"burst"}}"#;
    let rest = r#"{"error":{"code":429,"message":"burst","details":[{"reason":"RATE_LIMITED"}]}}"#;
    for (binding, bytes, kind) in [
        (Binding::JsonRpc, sse(&format!("event: error\ndata: {error}\n\n")), FaultKind::Internal),
        (Binding::JsonRpc, sse(&format!("data: {error}\n\n")), FaultKind::Internal),
        (Binding::JsonRpc, http("200 OK", "application/json", error), FaultKind::Internal),
        (Binding::HttpJson, sse(&format!("event: error\ndata: {rest}\n\n")), FaultKind::RateLimited),
        (Binding::HttpJson, sse(&format!("data: {rest}\n\n")), FaultKind::RateLimited),
    ] {
        let url = agent(vec![Act::Say(bytes)]).await;
        let way = endpoint(&url, binding, Version::V1_0);
        match call(&way, &request("m", "x"), Mode::Stream).await.result.unwrap_err() {
            CallError::Fault(fault) => assert_eq!((fault.kind, fault.message.as_str()), (kind, "burst")),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn events_of_0_3_without_an_opening_task_are_put_together() {
    let event = |result: serde_json::Value| {
        format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}))
    };
    let chunk = |text: &str, append: bool| {
        event(json!({"kind": "artifact-update", "taskId": "t", "contextId": "c", "append": append,
            "artifact": {"artifactId": "a", "parts": [{"kind": "text", "text": text}]}}))
    };
    let end = event(json!({"kind": "status-update", "taskId": "t", "contextId": "c", "final": true,
        "status": {"state": "completed"}}));
    let body = [chunk("old", false), chunk("a", false), chunk("b", true), end].concat();
    let url = agent(vec![Act::Say(sse(&body))]).await;
    let way = endpoint(&url, Binding::JsonRpc, Version::V0_3);
    let ran = call(&way, &request("m", "x"), Mode::Stream).await;
    assert_eq!(ran.output(), "ab");
    assert_eq!(ran.bound(), Some(("t".into(), Some("c".into()))));
}

#[tokio::test]
async fn a_question_in_a_stream_ends_the_call() {
    let body = format!("data: {}\n\n", task("TASK_STATE_AUTH_REQUIRED", ""));
    let url = agent(vec![Act::Say(sse(&body))]).await;
    let ran = call(&v1(&url), &request("m", "x"), Mode::Stream).await;
    assert_eq!(*ran.end(), End::AuthRequired { prompt: String::new() });
    assert_eq!(ran.end().failure_class(), Some(FailureClass::Auth));
}

#[tokio::test]
async fn what_is_not_a_card_is_refused() {
    for (bytes, text) in [
        (http("200 OK", "application/json", "{}"), "not an agent card"),
        (http("200 OK", "text/html", "<html>"), "HTML page"),
        (http("200 OK", "application/json", "@"), "not an agent card"),
        (http("404 Not Found", "text/plain", ""), "HTTP 404"),
        (http("401 Unauthorized", "text/plain", ""), "UNAUTHENTICATED"),
    ] {
        let url = agent(vec![Act::Say(bytes)]).await;
        let err = client().fetch_card(&url, &options()).await.unwrap_err();
        assert!(err.to_string().contains(text), "{err}");
    }
    for url in ["", "nonsense", "ftp://x/", "/only/a/path"] {
        let err = client().fetch_card(url, &options()).await.unwrap_err();
        assert!(err.known_not_sent(), "{err}");
    }
}
