//! HTTP below the client: pooled connections, limits, and errors that say whether anything was sent.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::time::Instant;
use tower::{BoxError, timeout::Timeout, util::BoxCloneSyncService};

use super::{CallError, CallOptions, ClientConfig};

type Plain = Client<HttpConnector, Full<Bytes>>;
type SecureStream = MaybeHttpsStream<TokioIo<tokio::net::TcpStream>>;
type Secure = Client<BoxCloneSyncService<Uri, SecureStream, BoxError>, Full<Bytes>>;

/// Pooled HTTP/1.1. TLS is set up on the first `https` call: reading the system's certificates takes its time.
#[derive(Clone)]
pub(crate) struct Transport {
    plain: Plain,
    secure: Arc<OnceLock<Result<Secure, String>>>,
    config: Arc<ClientConfig>,
}

/// How long one call may take, and how long it may be silent.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    idle: Duration,
    deadline: Option<Instant>,
    began: Instant,
}

impl Patience {
    pub(crate) fn of(options: &CallOptions) -> Self {
        Self { idle: options.idle_timeout, deadline: options.deadline, began: Instant::now() }
    }
    /// Waits for `work`, at most the idle time and not beyond the deadline.
    pub(crate) async fn wait<F: Future>(&self, work: F) -> Result<F::Output, CallError> {
        let idle_end = Instant::now() + self.idle;
        let (end, which) = match self.deadline {
            Some(deadline) if deadline <= idle_end => (deadline, "deadline"),
            _ => (idle_end, "idle timeout"),
        };
        let late = |_| CallError::Timeout { which, after: self.began.elapsed() };
        tokio::time::timeout_at(end, work).await.map_err(late)
    }
    /// Sleeps, but fails at the deadline instead of sleeping beyond it.
    pub(crate) async fn pause(&self, time: Duration) -> Result<(), CallError> {
        let end = Instant::now() + time;
        match self.deadline {
            Some(deadline) if deadline < end => {
                tokio::time::sleep_until(deadline).await;
                Err(CallError::Timeout { which: "deadline", after: self.began.elapsed() })
            }
            _ => {
                tokio::time::sleep_until(end).await;
                Ok(())
            }
        }
    }
}

fn connector(config: &ClientConfig) -> HttpConnector {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(config.connect_timeout));
    http.set_keepalive(Some(Duration::from_secs(30)));
    http.enforce_http(false);
    http
}

fn secure(config: &ClientConfig) -> Result<Secure, String> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| err.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector(config));
    // The limit of the TCP connection does not cover the handshake after it.
    let bounded = BoxCloneSyncService::new(Timeout::new(https, config.connect_timeout * 2));
    Ok(pool(config).build(bounded))
}

fn pool(config: &ClientConfig) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    builder.pool_idle_timeout(config.pool_idle_timeout);
    builder.pool_max_idle_per_host(config.pool_max_idle_per_host);
    builder
}

impl Transport {
    pub(crate) fn new(config: ClientConfig) -> Self {
        let plain = pool(&config).build(connector(&config));
        Self { plain, secure: Arc::default(), config: Arc::new(config) }
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Sends and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        patience: &Patience,
    ) -> Result<Response<Incoming>, CallError> {
        let target = request.uri().authority().map_or_else(String::new, ToString::to_string);
        let not_sent = |cause: String| CallError::NotSent { to: target.clone(), cause };
        let sent = if request.uri().scheme_str() == Some("https") {
            let client = self.secure.get_or_init(|| secure(&self.config));
            let client = client.as_ref().map_err(|cause| not_sent(cause.clone()))?;
            client.request(request)
        } else {
            self.plain.request(request)
        };
        patience.wait(sent).await?.map_err(|err| match err.is_connect() {
            true => not_sent(whole_cause(&err)),
            false => CallError::broken(whole_cause(&err)),
        })
    }

    /// Sends and reads the whole answer, at most `limit_bytes`.
    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        options: &CallOptions,
    ) -> Result<Answer, CallError> {
        let patience = Patience::of(options);
        let response = self.send(request, &patience).await?;
        Answer::read(response, options.response_limit_bytes, &patience).await
    }
}

/// An answer read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(
        response: Response<Incoming>,
        limit_bytes: usize,
        patience: &Patience,
    ) -> Result<Self, CallError> {
        let (head, mut body) = response.into_parts();
        let too_big = || CallError::TooBig { limit_bytes };
        let announced = body.size_hint().exact();
        if announced.is_some_and(|n| n > limit_bytes as u64) {
            return Err(too_big());
        }
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = patience.wait(body.frame()).await? {
            let Ok(data) = frame.map_err(|err| CallError::broken(whole_cause(&err)))?.into_data() else {
                continue;
            };
            if first.len() + rest.len() + data.len() > limit_bytes {
                return Err(too_big());
            }
            // Most answers are one chunk: keep it instead of copying.
            match (first.is_empty(), rest.is_empty()) {
                (true, true) => first = data,
                (_, true) => {
                    rest.reserve(announced.map_or(first.len() + data.len(), |n| n as usize));
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&data);
                }
                (_, false) => rest.extend_from_slice(&data),
            }
        }
        let body = if rest.is_empty() { first } else { rest.freeze() };
        Ok(Self { status: head.status, headers: head.headers, body })
    }

    pub(crate) fn is_json(&self) -> bool {
        is_type(&self.headers, |t| t.ends_with("/json") || t.ends_with("+json"))
    }
}

/// Whether the content type, without parameters and in lower case, fulfils `wanted`.
pub(crate) fn is_type(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    wanted(&value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// `Retry-After` in seconds. The form with a date is ignored: it needs a clock that both sides agree on.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(24 * 3600)))
}

/// An error with its causes: hyper's own text names only the outermost.
pub(crate) fn whole_cause(err: &(dyn std::error::Error + 'static)) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
