//! Running an agent: listen, announce, drain.

use std::{io::Write, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use a2a::server::Server;
use axum::serve::ListenerExt;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{Agent, DefinitionError, Registration, call_log::CallLog, handler::Skills};

/// How an agent runs.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address to listen on. Default `127.0.0.1:0`: loopback, a free port.
    pub listen: SocketAddr,
    /// URL under which others reach the agent; made from the address when `None`.
    pub public_url: Option<String>,
    /// Gateway to register with.
    pub register: Option<String>,
    /// Id to register under; the agent's name when `None`.
    pub id: Option<String>,
    /// Calls at once; what the agent says when `None`.
    pub capacity: Option<u32>,
    /// File that grows by one line for each call that is worked on.
    pub call_log: Option<PathBuf>,
    /// How long running calls may go on after the signal to stop. Default 30 s.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            register: None,
            id: None,
            capacity: None,
            call_log: None,
            drain: Duration::from_secs(30),
        }
    }
}

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is described wrongly.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// What was asked.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The call log cannot be written.
    #[error("cannot write the call log {path}: {cause}")]
    CallLog {
        /// What was asked.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// No way to register.
    #[error("cannot register: {0}")]
    Register(String),
    /// The server ended by itself, or a signal handler could not be set.
    #[error("the server failed: {0}")]
    Server(#[from] std::io::Error),
}

/// An agent that runs. Dropped, it goes on; stop it with [`Running::stop`].
pub struct Running {
    /// Where it answers.
    pub url: String,
    server: Server,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    registration: Option<(Registration, JoinHandle<bool>)>,
    drain: Duration,
}

impl Agent {
    /// Listens and answers from now on.
    ///
    /// # Errors
    /// See [`ServeError`]; nothing runs then.
    pub async fn start(mut self, options: ServeOptions) -> Result<Running, ServeError> {
        if let Some(capacity) = options.capacity {
            self.capacity = capacity.max(1);
        }
        let id = options.id.clone().unwrap_or_else(|| self.name.clone());
        let log = options.call_log.as_ref().map(|path| {
            CallLog::open(path, &id).map_err(|cause| ServeError::CallLog { path: path.clone(), cause })
        });
        let skills = Skills::new(&self, log.transpose()?)?;
        let failed = |cause| ServeError::Listen { address: options.listen, cause };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let url = options.public_url.clone().unwrap_or_else(|| format!("http://{}", reachable(address)));
        let register = options.register.as_ref().map(|gateway| {
            Registration::new(gateway, &id, self.definition(&id, &url)).map_err(ServeError::Register)
        });
        let register = register.transpose()?;
        let server = Server::new(&self.card(&url), Arc::new(skills), self.server.clone());
        let stop = CancellationToken::new();
        let listener = listener.tap_io(|socket| {
            // Without this small answers on a stream wait for the client's acknowledgement.
            let _ = socket.set_nodelay(true);
        });
        let serving =
            axum::serve(listener, server.router()).with_graceful_shutdown(stop.clone().cancelled_owned());
        let serving = tokio::spawn(async move { serving.await });
        let registration = register.map(|registration| {
            let (own, stop) = (registration.clone(), stop.clone());
            (registration, tokio::spawn(async move { own.register(&stop).await }))
        });
        Ok(Running { url, server, stop, serving, registration, drain: options.drain })
    }

    /// Runs until SIGTERM or SIGINT: prints one line with the URL when ready, drains, returns.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn serve(self, options: ServeOptions) -> Result<(), ServeError> {
        let name = options.id.clone().unwrap_or_else(|| self.name.clone());
        let running = self.start(options).await?;
        // A reader that has gone away must not stop the agent.
        let _ = writeln!(std::io::stdout(), "{name} ready at {}", running.url);
        let _ = std::io::stdout().flush();
        asked_to_stop().await?;
        running.stop().await
    }
}

impl Running {
    /// Waits until the gateway has accepted the registration; false when it refused it or none was asked.
    pub async fn registered(&mut self) -> bool {
        match &mut self.registration {
            Some((_, task)) => task.await.unwrap_or(false),
            None => false,
        }
    }

    /// Deregisters, lets running calls end within the drain time, and stops.
    ///
    /// # Errors
    /// When the server had failed before.
    pub async fn stop(self) -> Result<(), ServeError> {
        if let Some((registration, task)) = self.registration {
            if !task.is_finished() {
                task.abort();
            }
            registration.deregister().await;
        }
        let waited = tokio::time::timeout(self.drain, self.server.idle()).await;
        if waited.is_err() {
            tracing::warn!(running = self.server.running(), "drain time is over: calls are cut");
        }
        self.stop.cancel();
        // Kept-alive connections may stay open for as long as their clients like.
        match tokio::time::timeout(Duration::from_secs(1), self.serving).await {
            Ok(Ok(ended)) => Ok(ended?),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// An address that others can dial: "any" becomes loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        done = tokio::signal::ctrl_c() => done,
    }
}
