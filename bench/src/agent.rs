//! The agent that is called: A2A 1.0 over JSON-RPC on plain hyper, one thread. It does nothing, so that what is measured is
//! the engine; for the harder works it is late, fails, and stands for many agents at once.

use std::{
    cell::RefCell,
    collections::HashMap,
    convert::Infallible,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{net::TcpListener, task::LocalSet};

/// How it behaves.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port of 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Milliseconds until it answers.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Share of calls that fail: in equal parts by a failed task, by HTTP 500, and by a cut connection.
    #[arg(long, default_value_t = 0.0)]
    fail: f64,
    /// Remembers when each execution last called; `GET /trace` shows it.
    #[arg(long)]
    trace: bool,
}

struct Agent {
    args: Args,
    address: SocketAddr,
    /// Execution → Unix milliseconds of its last call.
    last: RefCell<HashMap<String, u64>>,
}

#[derive(Deserialize)]
struct Rpc<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
}

/// The connection is to be cut without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

pub(crate) async fn main(args: Args) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await?;
    let address = listener.local_addr()?;
    let agent = Rc::new(Agent { args, address, last: RefCell::default() });
    writeln!(io::stdout(), "http://{address}")?;
    LocalSet::new()
        .run_until(async move {
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let agent = Rc::clone(&agent);
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| answer(Rc::clone(&agent), request));
                    // Clients come and go.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        })
        .await
}

async fn answer(agent: Rc<Agent>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
    if request.method() == Method::GET {
        return Ok(agent.shown(request.uri().path()).unwrap_or_else(|never| match never {}));
    }
    let Ok(body) = request.into_body().collect().await else { return Err(Cut) };
    let body = body.to_bytes();
    if agent.args.trace {
        agent.remember(&body);
    }
    if agent.args.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(agent.args.delay_ms)).await;
    }
    let fails = agent.args.fail > 0.0 && rand::random::<f64>() < agent.args.fail;
    match (fails, rand_third(fails)) {
        (true, 0) => Err(Cut),
        (true, 1) => Ok(respond(500, "text/plain", "no")),
        _ => Ok(respond(200, "application/json", called(&body, fails))),
    }
}

fn rand_third(fails: bool) -> u32 {
    if fails { rand::random::<u32>() % 3 } else { 2 }
}

/// The answer to one JSON-RPC request.
fn called(body: &[u8], fails: bool) -> String {
    let Ok(rpc) = serde_json::from_slice::<Rpc<'_>>(body) else {
        return r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no JSON-RPC"}}"#.into();
    };
    let id = rpc.id.get();
    if rpc.method != "SendMessage" {
        return format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32001,"message":"no task is kept"}}}}"#
        );
    }
    let task = rand::random::<u64>();
    let end = match fails {
        true => {
            r#""status":{"state":"TASK_STATE_FAILED","message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"failed on purpose"}]}}"#
        }
        false => {
            r#""status":{"state":"TASK_STATE_COMPLETED"},"artifacts":[{"artifactId":"r","parts":[{"data":{"ok":true},"mediaType":"application/json"}]}]"#
        }
    };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"task":{{"id":"t{task:x}","contextId":"c",{end}}}}}}}"#)
}

impl Agent {
    fn shown(&self, path: &str) -> Result<Response<Full<Bytes>>, Infallible> {
        let base = path.strip_suffix("/.well-known/agent-card.json");
        Ok(match (base, path) {
            (Some(base), _) => {
                let card = card(&format!("http://{}{base}", self.address));
                respond(200, "application/json", card.to_string())
            }
            (None, "/trace") => respond(200, "application/json", json!(*self.last.borrow()).to_string()),
            _ => respond(404, "text/plain", "nothing here"),
        })
    }

    fn remember(&self, body: &[u8]) {
        let key = br#""orchestra.execution_id":""#;
        let at = body.windows(key.len()).position(|w| w == key);
        let Some(id) = at.and_then(|at| body.get(at + key.len()..at + key.len() + 36)) else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        self.last.borrow_mut().insert(String::from_utf8_lossy(id).into_owned(), now);
    }
}

fn respond(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(body.into()))
        .expect("a status and a type that are ones")
}

/// The card that says where and how it is called. No streaming: a call is one request and one answer.
fn card(url: &str) -> serde_json::Value {
    json!({
        "name": "bench", "description": "Does nothing", "version": "1.0.0",
        "supportedInterfaces": [{"protocolBinding": "JSONRPC", "protocolVersion": "1.0", "url": url}],
        "capabilities": {"streaming": false, "pushNotifications": false},
        "defaultInputModes": ["application/json"], "defaultOutputModes": ["application/json"],
        "skills": [{"id": "noop", "name": "noop", "description": "Does nothing", "tags": []}],
    })
}

/// The definition that registers it under `id`.
pub(crate) fn definition(id: &str, url: &str, capability: &str, capacity: u32) -> serde_json::Value {
    json!({
        "id": id, "name": id, "type": "noop_agent", "version": "1.0.0", "endpoint": url, "capacity": capacity,
        "interface": {"binding": "JSONRPC", "version": "1.0", "streaming": false},
        "capabilities": [{"id": capability, "name": capability, "description": "Does nothing", "effect": "pure"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_gets_an_answer_with_its_id() {
        for (request, want) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"SendMessage","params":{}}"#, "TASK_STATE_COMPLETED"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"GetTask","params":{}}"#, "-32001"),
        ] {
            let answer: serde_json::Value =
                serde_json::from_str(&called(request.as_bytes(), false)).expect("JSON");
            assert_eq!(answer["id"], 7);
            assert!(answer.to_string().contains(want), "{answer}");
        }
        let failed = called(br#"{"jsonrpc":"2.0","id":"x","method":"SendMessage"}"#, true);
        assert!(failed.contains("TASK_STATE_FAILED") && failed.contains(r#""id":"x""#), "{failed}");
    }
}
