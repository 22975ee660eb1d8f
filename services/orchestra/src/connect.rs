//! The server that commands talk to.

use std::time::Duration;

use api::client::{Client, ClientOptions};
use clap::Args;

use crate::exit::Failure;

/// Where the server is, and how long to wait for it.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Orchestra's public gRPC address.
    #[arg(
        long,
        env = "ORCHESTRA_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:3014",
        global = true,
        help_heading = "Global options"
    )]
    server: String,
}

impl ServerArgs {
    /// Connects, or says what to do about it.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let options = ClientOptions { patience: Duration::from_secs(10), ..ClientOptions::default() };
        Ok(Client::connect_with(&self.server, options).await?)
    }
}
