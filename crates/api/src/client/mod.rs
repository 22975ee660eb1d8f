//! The typed client of the public gRPC door: register agents, define workflows, execute, watch, steer.
//!
//! ```no_run
//! use api::client::{Client, Source, Start};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), api::Fault> {
//! let client = Client::connect("http://127.0.0.1:3014").await?;
//! let text = std::fs::read_to_string("research.yaml").unwrap_or_default();
//! let defined = client.define(&Source::yaml(&text).named("research.yaml")).await?;
//! let start = Start::workflow(defined.workflow.reference()).input(&json!({"question": "why?"}));
//! let execution = client.run(&start).await?;
//! println!("{:?}", execution.output.and_then(|output| output.json()));
//! # Ok(()) }
//! ```
//!
//! Every error is a [`Fault`] with its stable code. What is safe to repeat is repeated while the server is away, for at
//! most [`ClientOptions::patience`]: a start carries an id that is drawn before its first try, so it happens once.

mod agents;
mod approvals;
mod budgets;
mod cache;
mod change;
mod control;
mod development;
mod events;
mod executions;
mod hooks;
mod insight;
mod many;
mod model;
mod patterns;
mod schedules;
mod sessions;
mod watch;
mod workflows;

use std::{future::Future, time::Duration};

use base::ErrorCode;
use proto::{
    executor::v1::executor_service_client::ExecutorServiceClient,
    planner::v1::planner_service_client::PlannerServiceClient,
    registry::v1::registry_service_client::RegistryServiceClient,
};
use tokio::time::{Instant, sleep};
use tonic::{
    Request, Response, Status, TimeoutExpired,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::Fault;

pub use agents::{Agent, AgentFilter, Removal};
pub use approvals::{Approval, ApprovalFilter};
pub use budgets::{Amounts, Budget};
pub use cache::{CacheEntry, CacheNumbers, CacheStats};
pub use change::{NewPlan, PlanChanged, PlanRefusal, PlanRevision};
pub use control::{ApprovalDecision, Reset, ResetTo};
pub use development::{CompleteWorkflow, DEVELOPMENT_PIPELINE, Developed};
pub use events::{EventFilter, EventStats, EventWatch, NewEvent, Published, Trigger, UserEvent};
pub use executions::{
    Capacity, CommandAnswer, DeadLetter, Decision, ExecutionFilter, History, Start, Started,
};
pub use hooks::{Hook, HookDefinition, HookFilter, HookRun, HookRunFilter};
pub use insight::{Insight, Wait};
pub use many::Ran;
pub use model::{
    AgentUse, Cause, ErrorDetails, Event, Execution, ExecutionStatus, Metrics, Page, Progress, StuckReason,
    Task,
};
pub use patterns::{Pattern, PatternParameter, RegisteredPattern};
pub use schedules::{Fire, NewSchedule, Schedule};
pub use sessions::{Session, SessionExecution, SessionTurn, SessionVariable};
pub use watch::{Update, Watch};
pub use workflows::{Defined, Explained, Source, Validated, Workflow, WorkflowFilter};

/// First pause between two tries while the server is away; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// One long poll for the end of an execution. Shorter than what proxies usually allow a silent request.
const POLL: Duration = Duration::from_secs(20);

/// How a client behaves. Every limit has a default.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Deadline of one call; waits and watches have their own. Default 30 s.
    pub timeout: Duration,
    /// How long connecting may take. Default 3 s.
    pub connect_timeout: Duration,
    /// How long a call that is safe to repeat is tried again while the server is away; zero never tries again.
    /// Default 15 s.
    pub patience: Duration,
    /// Largest message accepted or sent, in bytes. Default 64 MiB.
    pub message_bytes_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            patience: Duration::from_secs(15),
            message_bytes_max: 64 << 20,
        }
    }
}

/// A connection to Orchestra's public gRPC port. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    options: ClientOptions,
}

impl Client {
    /// Connects to `address`, `http://host:3014` (`https://` for TLS with the system's certificates).
    ///
    /// # Errors
    /// `invalid_argument` when the address is none, `unavailable` when nothing answers there.
    pub async fn connect(address: &str) -> Result<Self, Fault> {
        Self::connect_with(address, ClientOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(address: &str, options: ClientOptions) -> Result<Self, Fault> {
        let channel = endpoint(address, &options)?.connect().await;
        let channel = channel.map_err(|cause| {
            Fault::unavailable(format!("nothing answers at {address}: {}", deepest(&cause)))
        })?;
        Ok(Self { channel, options })
    }

    /// Connects at the first call, and again whenever the connection was lost.
    ///
    /// # Errors
    /// `invalid_argument` when the address is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn lazy(address: &str, options: ClientOptions) -> Result<Self, Fault> {
        let channel = endpoint(address, &options)?.connect_lazy();
        Ok(Self { channel, options })
    }

    /// The channel, for generated clients of contracts that have no typed form here.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn registry(&self) -> RegistryServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        RegistryServiceClient::new(self.channel())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    fn planner(&self) -> PlannerServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        PlannerServiceClient::new(self.channel())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    fn executor(&self) -> ExecutorServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        ExecutorServiceClient::new(self.channel())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    /// A request with the usual deadline.
    fn request<T>(&self, message: T) -> Request<T> {
        self.request_within(message, self.options.timeout)
    }

    fn request_within<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        request
    }

    /// Calls once.
    async fn once<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Fault> {
        call.await.map(Response::into_inner).map_err(|status| fault(&status))
    }

    /// Calls until the server answers; for calls that are safe to repeat.
    async fn safely<T, F>(&self, call: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let until = Instant::now() + self.options.patience;
        let mut pause = PAUSE;
        loop {
            match self.once(call()).await {
                Err(fault) if is_away(&fault) && Instant::now() + pause < until => sleep(pause).await,
                answer => return answer,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

fn is_away(fault: &Fault) -> bool {
    matches!(fault.code, ErrorCode::Unavailable | ErrorCode::NotOwner)
}

/// A status as a fault. A transport that broke says so in words of its own layers: only the cause is of use.
fn fault(status: &Status) -> Fault {
    let mut fault = Fault::from_status(status);
    if let Some(cause) = std::error::Error::source(status) {
        if cause.is::<TimeoutExpired>() {
            return Fault::new(ErrorCode::Timeout, "the server did not answer in time");
        }
        fault.message = format!("the connection failed: {}", deepest(cause));
        fault.code = ErrorCode::Unavailable;
    }
    fault
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    at.to_string()
}

fn endpoint(address: &str, options: &ClientOptions) -> Result<Endpoint, Fault> {
    let bad = || Fault::bad("server", format!("{address:?} is no address; write http://HOST:PORT"));
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| bad())?;
    let uri = endpoint.uri();
    let scheme = uri.scheme_str().map(str::to_owned);
    if uri.host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    let endpoint = match scheme.as_deref() {
        Some("http") => endpoint,
        Some("https") => {
            endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(|_| bad())?
        }
        _ => return Err(bad()),
    };
    Ok(endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .keep_alive_while_idle(false)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_none_names_what_to_write() {
        for address in ["", "localhost:3014", "ftp://x:1", "http://", "not an address"] {
            let fault = Client::connect(address).await.unwrap_err();
            assert_eq!(fault.code, ErrorCode::InvalidArgument, "{address}");
            assert!(fault.message.contains("write http://HOST:PORT"), "{fault}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_unavailable_and_says_where() {
        // Bound and never accepted from, then closed: nobody else gets the port in between.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let fault = Client::connect(&address).await.unwrap_err();
        assert_eq!(fault.code, ErrorCode::Unavailable);
        assert!(fault.message.contains(&address), "{fault}");
        let options = ClientOptions { patience: Duration::ZERO, ..ClientOptions::default() };
        let lazy = Client::lazy(&address, options).unwrap();
        assert_eq!(lazy.capacity().await.unwrap_err().code, ErrorCode::Unavailable);
    }
}
