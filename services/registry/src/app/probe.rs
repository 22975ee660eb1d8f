//! Active health probes: each instance is asked at an interval, many at the same time, none for long.

use std::{sync::Arc, time::Duration};

use a2a::{A2aClient, CallError, client::CallOptions};
use catalog::definition::FullInstance;
use tokio::{sync::Semaphore, time::Instant};

use super::{App, board::Due};

/// Longest sleep when nothing is due: new agents are noticed by then at the latest.
const IDLE_MAX: Duration = Duration::from_millis(250);

/// Asks an instance for a sign of life. `Err` says what happened instead, for the log.
///
/// With a health path that path must answer 2xx. Without one the card is asked for, and whatever answers below 500 is
/// alive: an agent that was registered by hand need not have a card.
pub(crate) async fn probe(
    http: &reqwest::Client,
    a2a: &A2aClient,
    instance: &FullInstance,
    health_path: Option<&str>,
    timeout: Duration,
) -> Result<(), String> {
    let asked = async {
        match health_path {
            Some(path) => ask_path(http, &instance.endpoint, path).await,
            None => ask_card(a2a, instance, timeout).await,
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

async fn ask_path(http: &reqwest::Client, endpoint: &str, path: &str) -> Result<(), String> {
    let url = url::Url::parse(endpoint).and_then(|base| base.join(path)).map_err(|e| e.to_string())?;
    let answer = http.get(url).send().await.map_err(|e| e.without_url().to_string())?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}

async fn ask_card(a2a: &A2aClient, instance: &FullInstance, timeout: Duration) -> Result<(), String> {
    let at = instance.card_url.as_deref().unwrap_or(&instance.endpoint);
    let options = CallOptions {
        idle_timeout: timeout,
        deadline: Some(Instant::now() + timeout),
        response_limit_bytes: super::import::CARD_BYTES_MAX,
        ..CallOptions::default()
    };
    match a2a.fetch_card(at, &options).await {
        Ok(_) => Ok(()),
        Err(error) if is_alive(&error) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a failed card request shows that somebody is there.
fn is_alive(error: &CallError) -> bool {
    match error {
        CallError::NotSent { .. } | CallError::Timeout { .. } | CallError::Broken { .. } => false,
        CallError::InvalidAnswer { .. } | CallError::TooBig { .. } => true,
        CallError::Fault(fault) => fault.http_status < 500,
    }
}

/// Probes what is due until the process stops.
pub(crate) async fn run(app: Arc<App>) -> anyhow::Result<()> {
    let slots = Arc::new(Semaphore::new(app.options.probe_concurrency.max(1)));
    let drain = app.drain.clone();
    loop {
        let (due, next) = app.board.take_due(slots.available_permits());
        for one in due {
            let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
            let app = app.clone();
            tokio::spawn(async move {
                probe_one(&app, &one).await;
                drop(slot);
            });
        }
        let idle = Instant::now() + IDLE_MAX;
        let until = next.map_or(idle, |at| at.clamp(Instant::now() + Duration::from_millis(5), idle));
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = drain.draining() => return Ok(()),
        }
    }
}

async fn probe_one(app: &App, due: &Due) {
    let Some(known) = app.feed.get(&due.agent.0, &due.agent.1) else { return };
    let Some(found) = known.entry.instances.iter().find(|i| i.instance.id == due.instance) else { return };
    let path = known.entry.definition.health_path.as_deref();
    let asked = probe(&app.http, &app.a2a, &found.instance, path, app.options.probe_timeout).await;
    app.metrics.probed(asked.is_ok());
    if let Err(why) = &asked
        && found.status.takes_calls()
    {
        tracing::info!(agent = %due.agent.1, instance = %due.instance, %why, "a probe failed");
    }
    // A first failure is looked at again soon: it may have been the network, and calls wait for the answer.
    let next = app.options.next_probe(asked.is_ok() && found.status.takes_calls(), rand::random());
    app.board.probed(due, asked.is_ok(), app.now(), Instant::now() + next);
    app.judge_later(&due.agent);
}
