//! Calls to agents: one shared, cloneable client.

mod error;
mod operations;
mod outcome;
mod run;
mod stream;
mod transport;
mod write;

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

pub use error::CallError;
pub use outcome::{End, Outcome, output_of};
pub use run::{Mode, Notice, Notify};
pub use stream::EventStream;

use transport::Transport;

/// Settings of the whole client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Longest wait for a TCP connection; with TLS, twice this time for both. Default 3 s.
    pub connect_timeout: Duration,
    /// Unused connections are closed after this time. Default 4 s: common servers close theirs after 5 s, and a
    /// request that meets a closing connection has an unknown outcome.
    pub pool_idle_timeout: Duration,
    /// Unused connections kept per agent. Default 1,024: as many calls that leave together find one the next time.
    pub pool_max_idle_per_host: usize,
    /// First pause between two polls of a task. Default 50 ms; each pause is 1.5 times the one before.
    pub poll_first: Duration,
    /// Longest pause between two polls. Default 5 s.
    pub poll_max: Duration,
    /// Polls or subscriptions in a row that may fail before a followed task is given up as unknown. Default 8.
    pub follow_failures_max: u32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            pool_idle_timeout: Duration::from_secs(4),
            pool_max_idle_per_host: 1024,
            poll_first: Duration::from_millis(50),
            poll_max: Duration::from_secs(5),
            follow_failures_max: 8,
        }
    }
}

/// Limits of one call.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// Longest silence: until the head of an answer, and between two chunks of it; pings of a stream count as
    /// life. A blocking send is silent until the agent is done. Default 5 min.
    pub idle_timeout: Duration,
    /// The call ends here whatever happens.
    pub deadline: Option<Instant>,
    /// Largest answer, and largest sum of the events of a stream. Default 8 MiB.
    pub response_limit_bytes: usize,
    /// Headers of the request: `traceparent`, `tracestate`, `baggage`, credentials.
    pub headers: HeaderMap,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(300),
            deadline: None,
            response_limit_bytes: 8 << 20,
            headers: HeaderMap::new(),
        }
    }
}

/// Calls agents. Clones share their connections.
#[derive(Clone)]
pub struct A2aClient {
    transport: Transport,
}

impl A2aClient {
    /// A client with these settings.
    pub fn new(config: ClientConfig) -> Self {
        Self { transport: Transport::new(config) }
    }
}

impl Default for A2aClient {
    fn default() -> Self {
        Self::new(ClientConfig::default())
    }
}

impl std::fmt::Debug for A2aClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("A2aClient").field("config", self.transport.config()).finish()
    }
}
