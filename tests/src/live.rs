//! Following live: WebSocket and server-sent events.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::{Api, PATIENCE};

/// What a stream told until it ended by itself.
#[derive(Debug, Default)]
pub struct Live {
    /// The messages, in order.
    pub messages: Vec<Value>,
    /// The close code of a WebSocket.
    pub close: Option<u16>,
}

impl Live {
    /// The sequence numbers of its messages; those without one are left out.
    pub fn seqs(&self) -> Vec<u64> {
        self.messages.iter().filter_map(|m| m["seq"].as_u64()).collect()
    }

    /// The types of its messages.
    pub fn kinds(&self) -> Vec<&str> {
        self.messages.iter().filter_map(|m| m["type"].as_str()).collect()
    }
}

async fn within<T>(what: &str, stream: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    let next = tokio::time::timeout(PATIENCE, stream.next()).await;
    next.unwrap_or_else(|_| panic!("{what} told nothing for {PATIENCE:?}"))
}

/// Follows `/ws` + `path` until it is closed, or until `most` messages have come.
///
/// # Panics
/// When it cannot be opened, or is silent for a minute.
pub async fn follow_websocket(api: &Api, path: &str, most: usize) -> Live {
    let url = format!("{}/ws{path}", api.base().replacen("http", "ws", 1));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("the WebSocket opens");
    let mut live = Live::default();
    while live.messages.len() < most {
        match within("the WebSocket", &mut socket).await {
            Some(Ok(Message::Text(text))) => live.messages.push(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(frame))) => {
                live.close = frame.map(|f| f.code.into());
                break;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
    live
}

/// Follows `/api/v1` + `path` as server-sent events until the stream ends, or until `most` messages have come.
/// `last_event_id` is where a browser would go on.
///
/// # Panics
/// When it cannot be opened, or is silent for a minute.
pub async fn follow_sse(api: &Api, path: &str, last_event_id: Option<u64>, most: usize) -> Live {
    let mut request = api.request(reqwest::Method::GET, path).timeout(Duration::from_secs(600));
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id.to_string());
    }
    let answer = request.send().await.expect("the stream opens");
    assert_eq!(answer.status(), 200);
    let mut bytes = answer.bytes_stream();
    let (mut live, mut text) = (Live::default(), String::new());
    while live.messages.len() < most {
        let Some(Ok(chunk)) = within("the stream", &mut bytes).await else { break };
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let data = event.lines().filter_map(|line| line.strip_prefix("data:")).collect::<String>();
            if !data.is_empty() {
                live.messages.push(serde_json::from_str(&data).expect("JSON"));
            }
        }
    }
    live
}
