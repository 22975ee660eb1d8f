//! Broken agents behind real sockets: each gives its typed cause, and the execution ends with every one of them.

use std::{sync::Arc, time::Duration};

use a2a::A2aClient;
use base::FailureClass;
use executor::agents::{A2aCaller, A2aSettings};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use workflow::Status;

use crate::kit::{Node, World, duration, request, retry, task};

const SHORT: Duration = Duration::from_millis(300);

/// After reading a request it says this, and holds the line or hangs up.
async fn server(answer: Vec<u8>, hold: bool) -> String {
    serve(answer, hold, false).await
}

/// Says this to the first request, and nothing to the others.
async fn once(answer: Vec<u8>) -> String {
    serve(answer, false, true).await
}

async fn serve(answer: Vec<u8>, hold: bool, once: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut next = answer;
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = next.clone();
            if once {
                next.clear();
            }
            tokio::spawn(async move {
                read_request(&mut socket).await;
                let _ = socket.write_all(&answer).await;
                if hold {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    url
}

/// The body.
async fn read_request(socket: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = socket.read(&mut chunk).await {
        seen.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&seen).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            let body = seen.windows(4).position(|w| w == b"\r\n\r\n").map_or(seen.len(), |at| at + 4);
            return String::from_utf8_lossy(&seen[body..]).into_owned();
        }
    }
    String::new()
}

/// An agent that works on its first message for ever, and answers what any other message asks. `state`: what it says of
/// that work when it is asked to cancel it; `None` = nothing.
async fn stuck(state: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut first = None;
        while let Ok((mut socket, _)) = listener.accept().await {
            let body: Value = serde_json::from_str(&read_request(&mut socket).await).unwrap();
            let task = |state: &str| {
                let task = json!({"id": "t1", "contextId": "c1", "status": {"state": state}});
                json!({"jsonrpc": "2.0", "id": body["id"], "result": task})
            };
            let streamed = |task: &Value| {
                let event = json!({"jsonrpc": "2.0", "id": body["id"], "result": {"task": task["result"]}});
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {event}\n\n")
                    .into_bytes()
            };
            let message = body["params"]["message"]["messageId"].as_str().map(str::to_owned);
            let answer = match (body["method"].as_str().unwrap(), message, state) {
                ("CancelTask", _, Some(state)) => http("200 OK", "", &task(state).to_string()),
                ("CancelTask", _, None) => Vec::new(),
                ("SendMessage" | "SendStreamingMessage", Some(id), _)
                    if first.get_or_insert_with(|| id.clone()) == &id =>
                {
                    streamed(&task("TASK_STATE_WORKING"))
                }
                (method, Some(_), _) => {
                    let mut done = task("TASK_STATE_COMPLETED");
                    done["result"]["artifacts"] =
                        json!([{"artifactId": "a", "parts": [{"data": {"fresh": true}}]}]);
                    match method {
                        "SendMessage" => {
                            done["result"] = json!({"task": done["result"]});
                            http("200 OK", "", &done.to_string())
                        }
                        _ => streamed(&done),
                    }
                }
                ("SubscribeToTask", ..) => streamed(&task("TASK_STATE_WORKING")),
                _ => http("200 OK", "", &task("TASK_STATE_WORKING").to_string()),
            };
            tokio::spawn(async move {
                let _ = socket.write_all(&answer).await;
                if !answer.windows(17).any(|w| w == b"connection: close") {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_agent_confirms_the_cancel_is_retried_as_a_new_message() {
    let limit = Duration::from_secs(5);
    let case = async |state: Option<&'static str>, effect: &str, status: Status| {
        let world = world(&stuck(state).await, true, None);
        let mut doing = task("t", json!({"retry": retry(2), "timeouts": {"attempt": duration(limit)}}));
        doing["need"] = json!({"agent_type": "worker", "capability": "work"});
        doing["effect"] = json!(effect);
        world.plans.put("stuck", json!({"tasks": [doing]}));
        let node = world.node().await;
        let id = node.begin("stuck").await;
        let settled = |v: &executor::engine::ExecutionView| {
            v.status().is_final() || v.task_state("t") == Some("needs_decision")
        };
        let view = node.until("an end or a question", id, settled).await;
        assert_eq!(view.status(), status, "{state:?} {effect}: {:?}", view.causes());
        let cause = &view.causes()[0];
        assert_eq!(cause.class, FailureClass::Timeout, "{state:?} {effect}");
        assert!(cause.message.contains("no answer within"), "{state:?} {effect}: {cause:?}");
        let confirmed = cause.message.contains("the agent confirmed that it stopped");
        assert_eq!(confirmed, status == Status::Completed, "{state:?} {effect}: {cause:?}");
        node.die().await;
    };
    tokio::join!(
        case(Some("TASK_STATE_CANCELED"), "idempotent", Status::Completed),
        case(Some("TASK_STATE_WORKING"), "idempotent", Status::Failed),
        case(None, "idempotent", Status::Failed),
        // What it does may be done: somebody has to look.
        case(Some("TASK_STATE_CANCELED"), "irreversible", Status::Executing),
    );
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into()
}

fn answers(data: &Value) -> Vec<u8> {
    let artifact = json!({"artifactId": "a", "parts": [{"data": data}]});
    let task = json!({"id": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": [artifact]});
    http("200 OK", "", &json!({"jsonrpc": "2.0", "id": 1, "result": {"task": task}}).to_string())
}

async fn refused() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

/// A world with one real agent at `url`.
fn world(url: &str, streaming: bool, output_schema: Option<Value>) -> World {
    let mut world = World::sqlite();
    let settings = A2aSettings { short_call: Duration::from_secs(2), response_bytes_max: 8 << 20 };
    world.caller = Some(Arc::new(A2aCaller::new(A2aClient::default(), settings)));
    let mut skill = json!({"id": "work", "name": "work"});
    if let Some(schema) = output_schema {
        skill["outputSchema"] = schema;
    }
    world.fleet = Some(vec![json!({
        "id": "worker", "name": "worker", "type": "worker", "version": "1", "endpoint": url,
        "interface": {"binding": "JSONRPC", "version": "1.0", "streaming": streaming},
        "capabilities": [skill], "instances": [{"id": "a"}],
    })]);
    world
}

struct Case {
    name: &'static str,
    url: String,
    streaming: bool,
    class: FailureClass,
    words: &'static str,
    /// Attempts out of two.
    attempts: u32,
    task: Value,
    capability_schema: Option<Value>,
}

fn case(name: &'static str, url: String, class: FailureClass, words: &'static str, attempts: u32) -> Case {
    Case { name, url, streaming: false, class, words, attempts, task: json!({}), capability_schema: None }
}

async fn run(case: &Case) -> (Node, Arc<executor::engine::ExecutionView>) {
    let world = world(&case.url, case.streaming, case.capability_schema.clone());
    let mut doing = task("t", case.task.clone());
    doing["retry"] = retry(2);
    doing["need"] = json!({"agent_type": "worker", "capability": "work"});
    doing["timeouts"] = json!({"attempt": duration(SHORT)});
    if case.class != FailureClass::Timeout {
        doing["timeouts"] = json!({});
    }
    // Depends on it, so that what never runs is seen too.
    let after = task("later", json!({"after": [0]}));
    world.plans.put("broken", json!({"tasks": [doing, after]}));
    let node = world.node().await;
    let view = node.run(request("broken", json!({"q": 1}))).await;
    (node, view)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_agent_gives_its_typed_cause_and_is_tried_again_as_its_class_says() {
    let schema = json!({"type": "object", "required": ["report"]});
    let good = answers(&json!({"other": 1}));
    let working = json!({"id": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_WORKING"}});
    let working = json!({"jsonrpc": "2.0", "id": 1, "result": {"task": working}});
    let half = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {working}\n\ndata: {{\"json"
    );
    let rpc_error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"it burst"}}"#;
    let rpc_refusal = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such thing"}}"#;
    let large = answers(&json!({"text": "x".repeat(10 << 20)}));
    let mut cases = vec![
        case("a refused connection", refused().await, FailureClass::Unavailable, "not sent", 2),
        case(
            "garbage",
            server(http("200 OK", "", "@@@"), false).await,
            FailureClass::InvalidOutput,
            "not a JSON-RPC answer",
            1,
        ),
        case("no HTTP", server(b"hello\r\n\r\n".to_vec(), false).await, FailureClass::Broken, "broke", 2),
        case("nothing at all", server(Vec::new(), false).await, FailureClass::Broken, "broke", 2),
        case("never answering", server(Vec::new(), true).await, FailureClass::Timeout, "no answer within", 2),
        case("10 MB", server(large, false).await, FailureClass::InvalidOutput, "limit of 8388608 bytes", 1),
        case(
            "a JSON-RPC error",
            server(http("200 OK", "", rpc_error), false).await,
            FailureClass::Error,
            "it burst",
            2,
        ),
        case(
            "a refusal",
            server(http("200 OK", "", rpc_refusal), false).await,
            FailureClass::Rejected,
            "no such thing",
            1,
        ),
        case(
            "429",
            server(http("429 Too Many Requests", "retry-after: 1\r\n", "{}"), false).await,
            FailureClass::RateLimited,
            "",
            2,
        ),
        case(
            "no credentials",
            server(http("401 Unauthorized", "", ""), false).await,
            FailureClass::Auth,
            "",
            1,
        ),
    ];
    cases.push(Case {
        streaming: true,
        ..case("half a stream", once(half.into()).await, FailureClass::Broken, "", 2)
    });
    cases.push(Case {
        task: json!({"output_schema": schema}),
        ..case(
            "the task's schema",
            server(good.clone(), false).await,
            FailureClass::InvalidOutput,
            "report",
            1,
        )
    });
    cases.push(Case {
        capability_schema: Some(schema),
        ..case("the capability's schema", server(good, false).await, FailureClass::InvalidOutput, "report", 1)
    });
    for case in &cases {
        let (node, view) = run(case).await;
        assert_eq!(view.status(), Status::Failed, "{}", case.name);
        let causes = view.causes();
        let of_calls = causes.iter().filter(|c| c.call.is_some() && c.agent.is_some()).collect::<Vec<_>>();
        assert!(
            causes.iter().any(|c| c.class == case.class && c.message.contains(case.words)),
            "{}: {causes:?}",
            case.name
        );
        let tried = of_calls.iter().map(|c| c.attempt).max();
        assert_eq!(tried, Some(case.attempts), "{}: {causes:?}", case.name);
        for attempt in 1..=case.attempts {
            assert!(of_calls.iter().any(|c| c.attempt == attempt), "{}: {causes:?}", case.name);
        }
        assert_eq!(view.task_state("t"), Some("failed"), "{}", case.name);
        assert!(node.fatal.why().is_none(), "{}", case.name);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_asks_for_a_pause_is_left_alone_for_it() {
    let url = server(http("429 Too Many Requests", "retry-after: 600\r\n", "{}"), false).await;
    let world = world(&url, false, None);
    let doing = task("t", json!({"retry": retry(2)}));
    world.plans.put("busy", json!({"tasks": [doing]}));
    let node = world.node().await;
    let id = node.begin("busy").await;
    let view = node.until("the pause", id, |v| v.waiting().iter().any(|w| w.contains("tried again"))).await;
    assert_eq!(view.causes().len(), 1, "{:?}", view.causes());
    // One millisecond is the policy's own delay: the agent's wish is what counts.
    assert_eq!(view.task_state("t"), Some("retrying"));
    let page = node.app.history(&crate::kit::me(), id, 0, 100).await.unwrap();
    let failed = page.events.iter().find(|e| e.data.get("retry_at").is_some_and(|at| !at.is_null()));
    let failed = failed.unwrap_or_else(|| panic!("{:?}", page.events));
    let at = base::Timestamp::parse_rfc3339(failed.data["retry_at"].as_str().unwrap()).unwrap();
    assert!(at.since(failed.at) >= Duration::from_secs(599), "{failed:?}");
    node.die().await;
}
