//! Posts to webhooks: signed, repeated with backoff, and never to an address that is meant for the inside.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base::Clock;
use futures::StreamExt as _;
use hooks::{Answer, net, sign};
use reqwest::{
    Client, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use serde_json::Value;

use super::{Done, Failed, Task};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Webhooks.
#[derive(Clone)]
pub struct WebhookOptions {
    /// Signs requests; empty: there are no webhooks.
    pub secret: String,
    /// Tries in all.
    pub attempts: u32,
    /// Pause before the second try; doubled with each.
    pub base_delay: Duration,
    /// Whether loopback, private and link-local addresses may be reached.
    pub allow_private: bool,
    /// Bytes of an answer that are read.
    pub answer_bytes: usize,
}

impl std::fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { secret, attempts, base_delay, allow_private, answer_bytes } = self;
        let secret = if secret.is_empty() { "unset" } else { "****" };
        write!(f, "WebhookOptions({secret}, {attempts}, {base_delay:?}, {allow_private}, {answer_bytes})")
    }
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            secret: String::new(),
            attempts: 3,
            base_delay: Duration::from_millis(500),
            allow_private: false,
            answer_bytes: 64 << 10,
        }
    }
}

/// Gives addresses that were checked: what is connected to is what was looked at.
struct Guard {
    allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, allow) = (name.as_str().to_owned(), self.allow_private);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            for address in &found {
                // One address inside is enough: a name that mixes them is made to deceive.
                check(address.ip(), allow).map_err(|why| format!("{host} {why}"))?;
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

fn check(address: IpAddr, allow_private: bool) -> Result<(), String> {
    match net::inside(address) {
        Some(what) if !allow_private => {
            Err(format!("is {address}, {what}, which webhooks do not reach; hooks.webhook_private allows it"))
        }
        _ => Ok(()),
    }
}

/// Posts.
pub(super) struct Webhooks {
    client: Client,
    options: WebhookOptions,
    clock: Arc<dyn Clock>,
}

impl Webhooks {
    pub(super) fn new(options: WebhookOptions, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let client = Client::builder()
            .dns_resolver(Arc::new(Guard { allow_private: options.allow_private }))
            // A redirect would lead where nobody looked.
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("orchestra/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, options, clock })
    }

    /// Posts `body` until it is taken, the tries or the hook's time are used up.
    pub(super) async fn post(&self, task: &Task, url: &str, body: &Value) -> Result<Done, Failed> {
        net::check_url(url)?;
        let url = Url::parse(url).map_err(|e| format!("{url} is not a URL: {e}"))?;
        // A host that is an address is not looked up: it is judged here.
        let literal = url.host_str().map(|h| h.trim_start_matches('[').trim_end_matches(']'));
        if let Some(address) = literal.and_then(|host| host.parse::<IpAddr>().ok()) {
            check(address, self.options.allow_private).map_err(|why| format!("{url} {why}"))?;
        }
        let body = body.to_string();
        let mut pause = self.options.base_delay;
        let mut tries = 0;
        loop {
            tries += 1;
            let refused = match self.once(task, &url, &body).await {
                Ok(done) => return Ok(done),
                Err(refused) => refused,
            };
            if refused.final_ || tries >= self.options.attempts.max(1) {
                let tries = if tries > 1 { format!(" (try {tries})") } else { String::new() };
                return Err(Failed { why: format!("{}{tries}", refused.why), output: refused.output });
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn once(&self, task: &Task, url: &Url, body: &str) -> Result<Done, Refused> {
        let timestamp = self.clock.now().micros() / 1_000_000;
        let signature = sign::signature(self.options.secret.as_bytes(), timestamp, body.as_bytes());
        let request = self
            .client
            .post(url.clone())
            .header("content-type", "application/json")
            .header(sign::TIMESTAMP_HEADER, timestamp.to_string())
            .header(sign::SIGNATURE_HEADER, signature)
            .header(sign::RUN_HEADER, task.run_id.to_string())
            .timeout(task.timeout)
            .body(body.to_owned());
        let response = request.send().await.map_err(|e| Refused::away(&e))?;
        let status = response.status();
        let text = self.read(response).await?;
        let output = String::from_utf8_lossy(&text).into_owned();
        if status.is_success() {
            return match Answer::read(&text) {
                Ok(answer) => Ok(Done { answer, output }),
                Err(why) => Err(Refused { why: format!("its answer is none: {why}"), output, final_: true }),
            };
        }
        let again = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let why = match status.is_redirection() {
            true => format!("{} answered {status}; redirects are not followed", host(url)),
            false => format!("{} answered {status}", host(url)),
        };
        Err(Refused { why, output, final_: !again })
    }

    /// As much of the answer as is kept.
    async fn read(&self, response: reqwest::Response) -> Result<Vec<u8>, Refused> {
        let mut body = response.bytes_stream();
        let mut out = Vec::new();
        while let Some(chunk) = body.next().await {
            out.extend_from_slice(&chunk.map_err(|e| Refused::away(&e))?);
            if out.len() > self.options.answer_bytes {
                let why = format!("its answer has more than {} bytes", self.options.answer_bytes);
                return Err(Refused { why, output: String::new(), final_: true });
            }
        }
        Ok(out)
    }
}

/// The host alone: a path may hold a secret.
fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// One try that was not taken.
struct Refused {
    why: String,
    output: String,
    /// Another try would not help.
    final_: bool,
}

impl Refused {
    fn away(error: &reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let why = cause.to_string();
        // What the guard refused stays refused.
        let final_ = why.contains("hooks.webhook_private");
        Self { why, output: String::new(), final_ }
    }
}
