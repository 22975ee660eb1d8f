//! An A2A server: JSON-RPC 1.0 and 0.3 on one endpoint, HTTP+JSON 1.0, agent cards, streams.
//!
//! A [`Handler`] does the work; the server keeps the tasks in memory, bounded, and answers a repeated message id with
//! the task that its first arrival made.

mod answer;
mod context;
mod dispatch;
mod door;
mod entry;
mod rest;
mod rpc;
mod store;
mod stream;

use std::{sync::Arc, time::Duration};

use axum::Router;
use futures::future::BoxFuture;
use http::HeaderMap;

pub use answer::{Answer, Failure};
pub use context::{Cancelled, TaskContext};

use crate::{AgentCard, Fault, Json, model::Message};
use store::Store;

/// Limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Tasks kept, running and ended. Default 10,000; the oldest ended ones go first, and when all are running a new
    /// message is refused as rate limited.
    pub tasks_max: usize,
    /// Ended tasks are forgotten after this time. Default 1 h. A message repeated later is worked on again.
    pub task_ttl: Duration,
    /// Largest request body. Default 8 MiB.
    pub body_limit_bytes: usize,
    /// Silence on a stream before a ping. Default 15 s.
    pub ping_every: Duration,
    /// Events that one slow subscriber may lag behind before its stream is closed. Default 1,024.
    pub subscriber_lag_max: usize,
    /// How long a cancelled handler may tidy up before it is dropped. Default 10 s.
    pub cancel_grace: Duration,
    /// Speak 0.3 too, and show hybrid cards. Default true.
    pub legacy: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            tasks_max: 10_000,
            task_ttl: Duration::from_secs(3600),
            body_limit_bytes: 8 << 20,
            ping_every: Duration::from_secs(15),
            subscriber_lag_max: 1024,
            cancel_grace: Duration::from_secs(10),
            legacy: true,
        }
    }
}

/// A message on its way to the handler.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The message.
    pub message: Message,
    /// Metadata of the request.
    pub metadata: Option<Json>,
    /// Headers of the request: trace context, credentials.
    pub headers: HeaderMap,
}

/// Does the work of an agent.
pub trait Handler: Send + Sync + 'static {
    /// Looks at a message before a task exists. What is refused here is answered as an error and leaves no trace.
    ///
    /// # Errors
    /// The answer.
    fn accept(&self, incoming: &Incoming) -> Result<(), Fault> {
        let _ = incoming;
        Ok(())
    }

    /// Works on a task. Runs to its end even when the client goes away. A panic fails the task.
    fn handle(
        self: Arc<Self>,
        incoming: Incoming,
        task: TaskContext,
    ) -> BoxFuture<'static, Result<Answer, Failure>>;
}

/// A server for one agent.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: ServerConfig,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) store: Store,
    pub(crate) card: door::Cards,
}

impl Server {
    /// A server that shows `card` and lets `handler` work. The card's interfaces must name where the router is
    /// reachable: JSON-RPC at its root, HTTP+JSON below it.
    pub fn new(card: &AgentCard, handler: Arc<dyn Handler>, config: ServerConfig) -> Self {
        let store = Store::new(config.clone());
        let card = door::Cards::new(card, config.legacy);
        Self { inner: Arc::new(Inner { config, handler, store, card }) }
    }

    /// All routes, to be served alone or nested under a path.
    pub fn router(&self) -> Router {
        Router::new().fallback(door::answer).with_state(self.clone())
    }

    /// Tasks that have not ended.
    pub fn running(&self) -> usize {
        self.inner.store.running()
    }

    /// Resolves when no task is running any more.
    pub async fn idle(&self) {
        self.inner.store.idle().await;
    }
}
