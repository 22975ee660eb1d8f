//! Connections to Redis, and what its errors mean to us.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo as _, Pipeline, ProtocolVersion,
    RedisError, Value, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::{sync::Mutex, time::Instant};

use crate::BusError;

/// What a caller does about an error of Redis.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Make the group again: the key or the group is gone.
    NoGroup,
    /// Redis is at its memory limit.
    Memory(String),
    /// The stream has no such key: it is empty.
    NoKey,
    /// A retry does not help.
    Misconfigured(String),
    /// Connect again and retry.
    Unavailable(String),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        let in_pipeline = error.clone().into_server_errors().and_then(|errors| errors.first().cloned());
        let code =
            in_pipeline.map_or(error.code().map(str::to_owned), |(_, first)| Some(first.code().to_owned()));
        match (error.kind(), code.as_deref()) {
            // A reader that blocks on a key which is deleted gets UNBLOCKED, any other one NOGROUP.
            (_, Some("NOGROUP" | "UNBLOCKED")) => Self::NoGroup,
            (_, Some("OOM")) => Self::Memory(text),
            (_, Some("ERR")) if text.contains("no such key") => Self::NoKey,
            (_, Some("WRONGTYPE" | "NOAUTH" | "WRONGPASS" | "NOPERM")) => Self::Misconfigured(text),
            (ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig, _) => {
                Self::Misconfigured(text)
            }
            _ => Self::Unavailable(text),
        }
    }
}

impl From<Failure> for BusError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Misconfigured(cause) => Self::Misconfigured(cause),
            Failure::Unavailable(cause) | Failure::Memory(cause) => Self::Unavailable(cause),
            Failure::NoGroup | Failure::NoKey => Self::Unavailable("the stream was deleted meanwhile".into()),
        }
    }
}

/// A client of one Redis.
pub(super) struct Link {
    client: Client,
    command_timeout: Duration,
    shared: Mutex<Option<(u64, MultiplexedConnection)>>,
    generation: AtomicU64,
}

impl Link {
    pub(super) fn new(url: &str, command_timeout: Duration) -> Result<Arc<Self>, BusError> {
        let refuse = |error: RedisError| {
            // The URL may hold a password: it stays out of messages.
            BusError::Misconfigured(format!(
                "redis.url: {error}; write redis://[user:password@]host:port[/db]"
            ))
        };
        let info = url.into_connection_info().map_err(refuse)?;
        // Nagle doubles the latency of small commands; our parser reads the older protocol, which is the default.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let info =
            info.set_tcp_settings(TcpSettings::default().set_nodelay(true)).set_redis_settings(settings);
        let client = Client::open(info).map_err(refuse)?;
        Ok(Arc::new(Self {
            client,
            command_timeout,
            shared: Mutex::new(None),
            generation: AtomicU64::new(0),
        }))
    }

    /// A connection of one's own, whose replies may take `patience` longer than those of plain commands.
    pub(super) async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection, Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.command_timeout))
            .set_response_timeout(Some(self.command_timeout + patience));
        Ok(self.client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    /// Runs one command on the connection that all callers share.
    pub(super) async fn run(&self, command: &Cmd) -> Result<Value, Failure> {
        let (generation, mut connection) = self.shared().await?;
        let reply = connection.send_packed_command(command).await.and_then(Value::extract_error);
        self.settle(generation, reply).await
    }

    /// Runs commands in one go, in a transaction where the pipeline says so.
    pub(super) async fn run_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let (generation, mut connection) = self.shared().await?;
        let replies = commands.query_async(&mut connection).await;
        self.settle(generation, replies).await
    }

    /// Runs a script, loading it where Redis does not know it.
    pub(super) async fn run_script(&self, script: &redis::ScriptInvocation<'_>) -> Result<Value, Failure> {
        let (generation, mut connection) = self.shared().await?;
        let reply = script.invoke_async(&mut connection).await;
        self.settle(generation, reply).await
    }

    async fn shared(&self) -> Result<(u64, MultiplexedConnection), Failure> {
        let deadline = Instant::now() + self.command_timeout;
        let busy = || Failure::Unavailable("still connecting".into());
        let mut slot = tokio::time::timeout_at(deadline, self.shared.lock()).await.map_err(|_| busy())?;
        if let Some(connected) = &*slot {
            return Ok(connected.clone());
        }
        let connection = self.connect(Duration::ZERO).await?;
        let connected = (self.generation.fetch_add(1, Relaxed), connection);
        *slot = Some(connected.clone());
        Ok(connected)
    }

    /// Drops a connection that failed, unless somebody has replaced it already.
    async fn settle<T>(&self, generation: u64, reply: Result<T, RedisError>) -> Result<T, Failure> {
        let Err(error) = reply else { return reply.map_err(Failure::from) };
        if error.is_unrecoverable_error() || error.is_io_error() {
            let mut slot = self.shared.lock().await;
            if slot.as_ref().is_some_and(|(current, _)| *current == generation) {
                *slot = None;
            }
        }
        Err(error.into())
    }
}
