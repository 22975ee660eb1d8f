//! `orchestra dev`: every role in one process.

use std::{fmt::Write as _, path::PathBuf, time::Instant};

use base::ErrorCode;
use runtime::{
    Config, ConfigArgs, Listen, Running,
    config::{Layer, LogFormat},
};
use serde_json::json;

use super::{Context, Done};
use crate::{
    exit::{Exit, Failure},
    out::{Out, duration},
    roles,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra dev
  orchestra dev --data /tmp/orchestra --port 8080
  orchestra dev --port 0 --grpc-port 0 --ready-file ready.json   free ports, for scripts
  orchestra dev --set executor.max_concurrent_workflows=100 --log-level info

Data lies in ./orchestra-data: stop it in the middle, start it again, and running work goes on.
Ctrl-C lets running calls end; a second one aborts.";

/// Arguments of `dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the data (database.url).
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Port of REST and WebSocket (gateway.http_port); 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Port of gRPC (gateway.grpc_port); 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    grpc_port: Option<u16>,
    /// Writes the addresses to this file as JSON, once everything is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Args {
    fn load(&self) -> Result<Config, Failure> {
        let mut sources = self.config.sources();
        let mut flag = |name: &str, path: &str, value: Option<String>| {
            sources.flags.extend(value.map(|value| (name.to_owned(), path.to_owned(), value)));
        };
        flag("--data", "database.url", self.data.as_ref().map(|p| p.display().to_string()));
        flag("--port", "gateway.http_port", self.port.map(|p| p.to_string()));
        flag("--grpc-port", "gateway.grpc_port", self.grpc_port.map(|p| p.to_string()));
        let mut config = load(&sources)?;
        // A person looks on: what is worth reading stands out, and looks like it.
        if *config.origin("telemetry.log_level") == Layer::Default {
            config.settings.telemetry.log_level = "warn".into();
        }
        if *config.origin("telemetry.log_format") == Layer::Default {
            config.settings.telemetry.log_format = LogFormat::Pretty;
        }
        Ok(config)
    }
}

/// Reads settings; what is wrong with them is wrong with the command line.
pub(super) fn load(sources: &runtime::config::Sources) -> Result<Config, Failure> {
    Config::load(sources).map_err(|errors| {
        Failure::new(Exit::Usage, ErrorCode::InvalidConfig, errors.to_string())
            .remedy("`orchestra config` shows every setting; docs/configuration.md explains them")
    })
}

pub(crate) fn run(context: &Context, args: &Args) -> Done {
    let config = args.load()?;
    let started = Instant::now();
    let out = context.out.clone();
    let ready_file = args.ready_file.clone();
    let data = config.settings.database.url.to_string();
    let tell = move |running: &Running| {
        tell(&out, running, &data, started);
        if let Some(file) = &ready_file {
            write_ready(&out, file, running);
        }
    };
    Ok(runtime::run_telling(&roles::all(), &config, Listen::GatewayOnly, tell))
}

fn tell(out: &Out, running: &Running, data: &str, started: Instant) {
    let ports = running.ports("gateway");
    let shown =
        |at: Option<std::net::SocketAddr>| at.map_or_else(|| "off".into(), |at| format!("http://{at}"));
    let loopback = [ports.http, ports.grpc].into_iter().flatten().all(|at| at.ip().is_loopback());
    let reach = if loopback {
        "these addresses are loopback only: nothing outside of this machine reaches them"
    } else {
        "WARNING: reachable from outside of this machine, and there is no authentication"
    };
    let mut text = String::new();
    let _ = writeln!(text, "  REST and WebSocket  {}/api/v1", shown(ports.http));
    let _ = writeln!(text, "  gRPC                {}", shown(ports.grpc));
    let _ = writeln!(text, "  data                {data}");
    let _ = writeln!(text, "  {reach}");
    let took = duration(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    out.raw(format_args!("{text}{} in {took}; Ctrl-C stops it\n", out.green("orchestra dev is ready")));
}

fn write_ready(out: &Out, file: &PathBuf, running: &Running) {
    let ports = running.ports("gateway");
    let url = |at: Option<std::net::SocketAddr>| at.map(|at| format!("http://{at}"));
    let ready = json!({"http": url(ports.http), "grpc": url(ports.grpc), "pid": std::process::id()});
    // Whole or not at all: a script may be waiting for it.
    let part = file.with_extension("part");
    let written = std::fs::write(&part, format!("{ready}\n")).and_then(|()| std::fs::rename(&part, file));
    if let Err(cause) = written {
        out.error_line(format_args!("{} --ready-file {}: {cause}", out.red("error:"), file.display()));
    }
}
