//! Flags that all example agents share.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use agent::{Agent, ServeOptions};

/// Flags of an example agent.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "AGENT_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// URL under which others reach this agent, when it is not the address.
    #[arg(long, env = "AGENT_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Gateway to register with, such as http://127.0.0.1:3013; tried until it accepts.
    #[arg(long, env = "AGENT_REGISTER")]
    pub register: Option<String>,
    /// Id to register under; the agent's name otherwise.
    #[arg(long, env = "AGENT_ID")]
    pub id: Option<String>,
    /// Calls taken at once.
    #[arg(long, env = "AGENT_CAPACITY")]
    pub capacity: Option<u32>,
    /// File that grows by one JSON line for each call that is worked on.
    #[arg(long, env = "AGENT_CALL_LOG")]
    pub call_log: Option<PathBuf>,
}

impl Options {
    /// As the SDK wants them.
    pub fn serve(&self) -> ServeOptions {
        ServeOptions {
            listen: self.listen,
            public_url: self.public_url.clone(),
            register: self.register.clone(),
            id: self.id.clone(),
            capacity: self.capacity,
            call_log: self.call_log.clone(),
            ..ServeOptions::default()
        }
    }
}

/// Serves until a signal. Log lines go to standard error, the line that says "ready" to standard output.
pub async fn run(agent: Agent, options: &Options) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    match agent.serve(options.serve()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: {err}");
            ExitCode::FAILURE
        }
    }
}
