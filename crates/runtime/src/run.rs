//! The whole life of a service binary: flags, settings, roles, signals, exit code.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Config, ConfigArgs, Listen, Options, Role, Running, StartError, Telemetry, start};

/// Exit code after a second signal: 128 + SIGINT, as shells have it.
const ABORTED: u8 = 130;
/// Exit code when the settings are wrong or the process cannot start.
const NOT_STARTED: u8 = 2;
/// Exit code when a part of the process failed.
const FAILED: u8 = 1;

/// Flags of a service binary.
#[derive(Debug, clap::Parser)]
#[command(version, about = "A service of Orchestra", long_about = None)]
struct ServiceArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints the effective settings, secrets masked, and exits.
    #[arg(long)]
    print_config: bool,
}

/// Makes aws-lc-rs the process's TLS provider. Must come before anything that may speak TLS; repeating it is harmless.
pub fn install_tls_provider() {
    // Refused when one is installed already, which is then the embedding program's choice.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Runs `roles` as this binary: reads flags and settings, starts, drains on SIGTERM or SIGINT and returns the exit code:
/// 0 drained, 1 a part failed, 2 not started, 130 a second signal cut the drain short.
pub fn run(roles: &[Role]) -> ExitCode {
    install_tls_provider();
    let name = format!("orchestra-{}", roles.iter().map(|r| r.name).collect::<Vec<_>>().join("-"));
    let matches = ServiceArgs::command().display_name(name.clone()).bin_name(name).get_matches();
    let args = match ServiceArgs::from_arg_matches(&matches) {
        Ok(args) => args,
        Err(e) => e.exit(),
    };
    let config = match args.config.load() {
        Ok(config) => config,
        Err(errors) => return complain(&errors),
    };
    if args.print_config {
        let written = std::io::stdout().write_all(config.render(true).as_bytes());
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
    }
    run_with(roles, &config, Listen::EveryRole)
}

/// Runs `roles` with settings that are read already, until a signal ends them. See [`run`] for the exit codes.
pub fn run_with(roles: &[Role], config: &Config, listen: Listen) -> ExitCode {
    run_telling(roles, config, listen, |_| {})
}

/// The same; `tell` is called once, when every role is ready for the first time.
pub fn run_telling(
    roles: &[Role],
    config: &Config,
    listen: Listen,
    tell: impl FnOnce(&Running) + Send,
) -> ExitCode {
    install_tls_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return complain(&format!("the async runtime cannot start: {e}")),
    };
    let code = runtime.block_on(live(roles, config, listen, tell));
    // What ignored the end of the drain ends here.
    runtime.shutdown_background();
    code
}

async fn live(
    roles: &[Role],
    config: &Config,
    listen: Listen,
    tell: impl FnOnce(&Running) + Send,
) -> ExitCode {
    // Before anything starts: a signal during the start must not kill a process that has begun to write.
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return complain(&"signals cannot be received");
    };
    let names = roles.iter().map(|r| r.name).collect::<Vec<_>>().join("+");
    let telemetry = match Telemetry::new(&config.settings, &format!("orchestra-{names}")) {
        Ok(telemetry) => telemetry,
        Err(e) => return complain(&e),
    };
    telemetry.install();
    let starting = start(roles, config, Options { listen, telemetry: Some(telemetry) });
    let running = tokio::select! {
        started = starting => match started {
            Ok(running) => running,
            Err(e) => return complain_start(&e),
        },
        () = any(&mut term, &mut int) => return ExitCode::SUCCESS,
    };
    let telling = async {
        running.ready().await;
        tell(&running);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = any(&mut term, &mut int) => {}
        () = telling => {}
        failed = running.failed() => {
            tracing::error!(role = failed.role, reason = failed.reason, "a part of this process failed: it ends");
            return ExitCode::from(FAILED);
        }
    }
    tracing::info!("signal received: draining; a second one aborts");
    // Who pressed Ctrl-C wants to know why nothing seems to happen.
    if std::io::stderr().is_terminal() {
        let _ = writeln!(std::io::stderr(), "stopping: calls that run may end; a second signal aborts");
    }
    tokio::select! {
        _ = running.drain() => ExitCode::SUCCESS,
        () = any(&mut term, &mut int) => {
            tracing::warn!("second signal: aborted");
            ExitCode::from(ABORTED)
        }
    }
}

async fn any(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn complain_start(e: &StartError) -> ExitCode {
    complain(e)
}

fn complain(what: &dyn std::fmt::Display) -> ExitCode {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "error: {what}");
    ExitCode::from(NOT_STARTED)
}
