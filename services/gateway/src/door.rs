//! What every HTTP request passes: ids, origin rules, call context, CORS, metrics, and the one place that writes errors.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    response::{IntoResponse as _, Response},
};
use base::{CallContext, Clock as _, ErrorCode, Tenant};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority};
use runtime::{SystemClock, call, trace};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    metrics::{DoorMetrics, RouteSeries},
    origin::{Origins, Verdict},
    problem::Problem,
};

/// Ties several requests of one caller together; echoed.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const ID_BYTES_MAX: usize = 128;
const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
const REQUEST_HEADERS: &str = "content-type, accept, idempotency-key, if-match, last-event-id, x-request-id, \
    x-correlation-id, traceparent, tracestate";
const EXPOSED: &str = "x-request-id, x-correlation-id, location, etag, retry-after";
const PREFLIGHT_SECONDS: &str = "600";

/// What all doors share.
#[derive(Debug)]
pub(crate) struct DoorRules {
    pub origins: Origins,
    pub metrics: DoorMetrics,
    /// Deadline of calls made for a request that does not wait.
    pub timeout: Duration,
}

/// Puts a [`Door`] before each route.
#[derive(Clone, Debug)]
pub(crate) struct DoorLayer(pub Arc<DoorRules>);

impl<S> Layer<S> for DoorLayer {
    type Service = Door<S>;
    fn layer(&self, inner: S) -> Door<S> {
        Door { inner, rules: Arc::clone(&self.0), series: Arc::default() }
    }
}

/// Before one route.
#[derive(Clone, Debug)]
pub(crate) struct Door<S> {
    inner: S,
    rules: Arc<DoorRules>,
    /// The instruments of this route, found once.
    series: Arc<OnceLock<RouteSeries>>,
}

fn given(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    let ok = (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    ok.then(|| text.to_owned())
}

/// The caller's own correlation id; `None` when it sent none that can be used.
pub(crate) fn sent_correlation(headers: &HeaderMap) -> Option<String> {
    given(headers, &CORRELATION_ID)
}

/// How a request is named in answers and logs.
struct Ids {
    request: String,
    correlation: String,
}

impl Ids {
    fn of(headers: &HeaderMap) -> Self {
        let request = given(headers, &trace::REQUEST_ID).unwrap_or_else(call::new_request_id);
        let correlation = sent_correlation(headers).unwrap_or_else(|| request.clone());
        Self { request, correlation }
    }

    fn write(&self, headers: &mut HeaderMap) {
        for (name, id) in [(trace::REQUEST_ID, &self.request), (CORRELATION_ID, &self.correlation)] {
            if let Ok(value) = HeaderValue::from_str(id) {
                headers.insert(name, value);
            }
        }
    }
}

impl<S> Service<Request> for Door<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let ids = Ids::of(request.headers());
        let series = self.series(&request);
        let path = request.uri().path().to_owned();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let verdict = self.judge(&request);
        let rules = Arc::clone(&self.rules);
        if let Some(early) = early_answer(verdict, &request) {
            let early = finish(early, &path, &ids, verdict, origin);
            rules.metrics.record(&series, early.status(), started.elapsed());
            return Box::pin(std::future::ready(Ok(early)));
        }
        let span = tracing::debug_span!(target: "orchestra::http", "request", otel.name = %path, otel.kind = "server",
            http.request.method = %request.method(), request_id = %ids.request, correlation_id = %ids.correlation);
        let context = CallContext {
            tenant: Tenant::default(),
            // Anonymous: nothing that a caller says about itself is believed.
            principal: String::new(),
            request_id: ids.request.clone(),
            trace: trace::adopt(&span, &trace::extract(request.headers())),
            deadline: Some(SystemClock.now().plus(rules.timeout)),
        };
        request.extensions_mut().insert(context);
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        let work = async move {
            let response = match answer.await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => Problem::internal("a request handler panicked", &path).into_response(),
            };
            let response = finish(response, &path, &ids, verdict, origin);
            rules.metrics.record(&series, response.status(), started.elapsed());
            Ok(response)
        };
        Box::pin(work.instrument(span))
    }
}

impl<S> Door<S> {
    fn judge(&self, request: &Request) -> Verdict {
        // A header that is not text cannot name us.
        let text = |name| request.headers().get(name).map(|v: &HeaderValue| v.to_str().unwrap_or("?"));
        let host = text(header::HOST).or_else(|| request.uri().authority().map(Authority::as_str));
        self.rules.origins.judge(text(header::ORIGIN), host)
    }

    fn series(&self, request: &Request) -> RouteSeries {
        let path = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str);
        let known = self.series.get_or_init(|| self.rules.metrics.route(request.method(), path));
        // One door may stand before a fallback that several methods and paths reach.
        if known.is(request.method(), path) {
            known.clone()
        } else {
            self.rules.metrics.route(request.method(), path)
        }
    }
}

/// Refusals and preflights: answered before anything is read.
fn early_answer(verdict: Verdict, request: &Request) -> Option<Response> {
    match verdict {
        Verdict::ForeignHost => {
            let rule = "the Host header does not name this machine; a listener on loopback answers to localhost, \
                127.0.0.1 and hosts of gateway.allowed_origins only";
            Some(Problem::new(ErrorCode::PermissionDenied, rule).field("Host").into_response())
        }
        Verdict::ForeignOrigin => {
            let rule = "requests from pages of this origin are refused; name it in gateway.allowed_origins \
                (ALLOWED_ORIGINS) to allow them";
            Some(Problem::new(ErrorCode::PermissionDenied, rule).field("Origin").into_response())
        }
        Verdict::Same | Verdict::Allowed => {
            let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
            let preflight = request.method() == Method::OPTIONS && asks;
            (preflight && request.headers().contains_key(header::ORIGIN)).then(|| {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                let headers = response.headers_mut();
                for (name, value) in [
                    (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                    (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
                    (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
                ] {
                    headers.insert(name, HeaderValue::from_static(value));
                }
                response
            })
        }
    }
}

/// Writes what every answer carries; an error becomes its document.
fn finish(
    mut response: Response,
    path: &str,
    ids: &Ids,
    verdict: Verdict,
    origin: Option<HeaderValue>,
) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem.render(path, &ids.request);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    ids.write(headers);
    if let (Verdict::Allowed, Some(origin)) = (verdict, origin) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}
