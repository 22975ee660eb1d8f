//! Telling an orchestrator that this agent exists.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Registers one agent with a gateway, and takes it back.
#[derive(Clone, Debug)]
pub struct Registration {
    /// `{gateway}/api/v1/agents`.
    agents: String,
    id: String,
    definition: Value,
    http: reqwest::Client,
}

/// What the gateway said to one try.
enum Said {
    Accepted,
    /// The definition is wrong: trying again changes nothing.
    Refused(String),
    Later(String),
}

impl Registration {
    /// `gateway` is its base URL (`http://127.0.0.1:3013`).
    ///
    /// # Errors
    /// When no HTTP client can be made (no certificates on this machine).
    pub fn new(gateway: &str, id: &str, definition: Value) -> Result<Self, String> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
        let http = http.map_err(|err| format!("no HTTP client: {err}"))?;
        let agents = format!("{}/api/v1/agents", gateway.trim_end_matches('/'));
        Ok(Self { agents, id: id.to_owned(), definition, http })
    }

    /// Tries until the gateway accepts, with pauses from 0.2 s to 5 s. False when it refuses the definition, or when
    /// `stop` comes first.
    pub async fn register(&self, stop: &CancellationToken) -> bool {
        let mut pause = Duration::from_millis(200);
        loop {
            let said = tokio::select! {
                said = self.attempt() => said,
                () = stop.cancelled() => return false,
            };
            match said {
                Said::Accepted => return true,
                Said::Refused(why) => {
                    tracing::error!(agent = self.id, gateway = self.agents, "registration refused: {why}");
                    return false;
                }
                Said::Later(why) => {
                    tracing::info!(agent = self.id, gateway = self.agents, "not registered yet: {why}");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return false,
            }
            pause = pause.mul_f64(1.5).min(Duration::from_secs(5));
        }
    }

    async fn attempt(&self) -> Said {
        match self.send(self.http.post(&self.agents)).await {
            // Known under this id with another definition: an earlier run of this agent, at another address.
            Ok((409, _)) => match self.send(self.http.put(format!("{}/{}", self.agents, self.id))).await {
                Ok(answer) => judge(answer),
                Err(why) => Said::Later(why),
            },
            Ok(answer) => judge(answer),
            Err(why) => Said::Later(why),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, String), String> {
        let response = request.json(&self.definition).send().await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap_or_default();
        Ok((status, text.chars().take(1000).collect()))
    }

    /// Takes the agent back: the orchestrator sends no new calls. Best effort.
    pub async fn deregister(&self) {
        let url = format!("{}/{}", self.agents, self.id);
        if let Err(err) = self.http.delete(url).timeout(Duration::from_secs(2)).send().await {
            tracing::info!(agent = self.id, "not deregistered: {err}");
        }
    }
}

fn judge((status, text): (u16, String)) -> Said {
    let why = format!("HTTP {status}: {text}");
    match status {
        200..300 => Said::Accepted,
        400 | 413 | 415 | 422 => Said::Refused(why),
        _ => Said::Later(why),
    }
}
