//! The tower layer around a server.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt as _;
use http::{Request, Response};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    body::CallBody,
    metadata::{Trust, read, read_timeout, write},
};
use crate::trace;

/// Puts [`CallService`] around a gRPC server.
#[derive(Clone, Copy, Debug)]
pub struct CallLayer {
    trust: Trust,
}

impl CallLayer {
    /// For a listener that `trust` describes.
    pub const fn new(trust: Trust) -> Self {
        Self { trust }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;
    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, trust: self.trust }
    }
}

/// Gives each call its context, ends it at its deadline (DEADLINE_EXCEEDED) and turns a panic into INTERNAL.
#[derive(Clone, Debug)]
pub struct CallService<S> {
    inner: S,
    trust: Trust,
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut ctx = match read(request.headers(), self.trust) {
            Ok(ctx) => ctx,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        // `read` has checked it.
        let timeout = read_timeout(request.headers()).ok().flatten();
        if timeout.is_some_and(|left| left.is_zero()) {
            // Nobody waits for the answer: no work is begun.
            return Box::pin(std::future::ready(Ok(deadline_exceeded().into_http())));
        }
        let method = request.uri().path().to_owned();
        // Below info: a line per call would cost more than the call.
        let span = tracing::debug_span!(target: "orchestra::rpc", "call", otel.name = %method, otel.kind = "server",
            request_id = %ctx.request_id, tenant = %ctx.tenant);
        ctx.trace = trace::adopt(&span, &ctx.trace);
        if self.trust == Trust::Outside {
            if ctx.trace.is_empty() {
                // From here on the call can be followed, even when nothing records spans.
                ctx.trace = trace::TraceParent::root().to_string();
            }
            // What is forwarded as it came must not carry what the door dropped.
            write(&ctx, request.headers_mut());
        }
        request.extensions_mut().insert(ctx);
        // The handler's first poll may panic as well as its construction.
        let inner = &mut self.inner;
        let answer = match std::panic::catch_unwind(AssertUnwindSafe(|| inner.call(request))) {
            Ok(answer) => answer,
            Err(panic) => {
                return Box::pin(std::future::ready(Ok(panicked(&method, &*panic).into_http())));
            }
        };
        Box::pin(within(answer, timeout, method).instrument(span))
    }
}

/// Runs `answer` to its head within `timeout`, and its body within what is left of it.
pub(crate) async fn within<F>(answer: F, timeout: Option<Duration>, method: String) -> Answer
where
    F: Future<Output = Answer>,
{
    let mut deadline: Option<Pin<Box<Sleep>>> = timeout.map(|left| Box::pin(sleep(left)));
    let guarded = AssertUnwindSafe(answer).catch_unwind();
    let caught = match deadline.as_mut() {
        None => guarded.await,
        Some(deadline) => tokio::select! {
            // An answer that is there at the last moment counts.
            biased;
            caught = guarded => caught,
            () = deadline => return Ok(deadline_exceeded().into_http()),
        },
    };
    Ok(match caught {
        Ok(Ok(response)) => response.map(|body| CallBody::wrap(body, deadline, &method)),
        Ok(Err(never)) => match never {},
        Err(panic) => panicked(&method, &*panic).into_http(),
    })
}

pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the deadline of the call has passed")
}

/// Logs a panic and answers without its text, which may hold anything.
pub(crate) fn panicked(method: &str, panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)");
    tracing::error!(method, panic = text, "a call panicked");
    Status::internal("the service failed on this call; its log has the cause")
}
