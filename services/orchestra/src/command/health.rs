//! `orchestra health`: whether the server and its roles are ready.

use std::{process::ExitCode, time::Duration};

use base::ErrorCode;
use serde_json::{Map, Value};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Context, Done, run::time};
use crate::{
    exit::{Exit, Failure},
    roles,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra health
  orchestra health --wait 30s          until everything is ready, for scripts
  orchestra health -o json

Exit code 5 when nothing answers or a role is not ready.";

/// Between two looks of `--wait`.
const PAUSE: Duration = Duration::from_millis(200);

/// Arguments of `health`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Waits until everything is ready, at most so long.
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Done {
    let until = tokio::time::Instant::now() + args.wait.unwrap_or_default();
    let roles = loop {
        let looked = look(context).await;
        let ready = looked.as_ref().is_ok_and(|roles| roles.iter().all(|(_, state)| *state == "ready"));
        if ready || tokio::time::Instant::now() + PAUSE > until {
            break looked?;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let ready = roles.iter().all(|(_, state)| *state == "ready");
    let data: Map<String, Value> = roles.iter().map(|(name, s)| (name.clone(), Value::from(*s))).collect();
    context.out.result(&data, |out| {
        let rows = roles.iter().map(|(name, state)| vec![name.clone(), (*state).to_owned()]);
        out.table(&["role", "state"], rows.collect(), "no roles");
    });
    if ready {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Exit::Unavailable, ErrorCode::Unavailable, "not everything is ready")
        .remedy("GET /ready on the HTTP port names the reasons"))
}

/// The state of every role that the door knows.
async fn look(context: &Context) -> Result<Vec<(String, &'static str)>, Failure> {
    let channel = context.globals.server.connect().await?.channel();
    let mut health = HealthClient::new(channel);
    let mut found = Vec::new();
    for name in roles::all().iter().map(|role| role.name) {
        let mut request = tonic::Request::new(HealthCheckRequest { service: name.to_owned() });
        request.set_timeout(Duration::from_secs(5));
        match health.check(request).await {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => {
                found.push((name.to_owned(), "ready"));
            }
            Ok(_) => found.push((name.to_owned(), "not ready")),
            Err(status) if status.code() == tonic::Code::NotFound => {
                found.push((name.to_owned(), "unknown here"));
            }
            Err(status) => return Err(api::Fault::from_status(&status).into()),
        }
    }
    Ok(found)
}
