//! W3C trace context (`traceparent`): in from callers, out to peers and agents.

use std::{fmt, str::FromStr};

use base::CallContext;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Header of the trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A parsed `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace, never 0.
    pub trace_id: u128,
    /// The caller's span, never 0.
    pub span_id: u64,
    /// Whether the caller records this trace.
    pub sampled: bool,
}

impl TraceParent {
    /// The start of a new, unsampled trace: it ties log lines together even when nothing records spans.
    pub fn root() -> Self {
        Self { trace_id: uuid::Uuid::now_v7().as_u128(), span_id: new_span_id(), sampled: false }
    }
    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: new_span_id(), ..self }
    }
    pub(crate) fn context(self) -> Context {
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from_bytes(self.trace_id.to_be_bytes()),
            SpanId::from_bytes(self.span_id.to_be_bytes()),
            if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED },
            true,
            TraceState::NONE,
        ))
    }
}

fn new_span_id() -> u64 {
    // The low half of a v7 UUID is random but for its two variant bits, which keep it from being 0.
    uuid::Uuid::now_v7().as_u64_pair().1
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// A text that is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: must be 00-<32 hex>-<16 hex>-<2 hex>")]
pub struct BadTraceParent;

impl FromStr for TraceParent {
    type Err = BadTraceParent;
    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let mut parts = text.split('-');
        let mut hex = |len: usize| {
            let part = parts.next().filter(|p| p.len() == len)?;
            let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            part.bytes().all(lower).then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let version = hex(2).ok_or(BadTraceParent)?;
        let trace_id = hex(32).filter(|id| *id != 0).ok_or(BadTraceParent)?;
        let span_id = hex(16).filter(|id| *id != 0).ok_or(BadTraceParent)?;
        let flags = hex(2).ok_or(BadTraceParent)?;
        // A later version may append parts; version 00 has exactly four, and ff is forbidden.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return Err(BadTraceParent);
        }
        let span_id = u64::try_from(span_id).map_err(|_| BadTraceParent)?;
        Ok(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

/// The caller's `traceparent` when it is well-formed, else an empty text.
pub fn extract(headers: &HeaderMap) -> String {
    let text = headers.get(TRACEPARENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if text.parse::<TraceParent>().is_ok() { text.to_owned() } else { String::new() }
}

/// Writes trace context and request id of `ctx` into the headers of a request that leaves (to an agent, say).
pub fn inject(ctx: &CallContext, headers: &mut HeaderMap) {
    for (name, text) in [(TRACEPARENT, &ctx.trace), (REQUEST_ID, &ctx.request_id)] {
        if !text.is_empty()
            && let Ok(value) = HeaderValue::from_str(text)
        {
            headers.insert(name, value);
        }
    }
}

/// Makes `span` a child of the caller's `traceparent` and returns the `traceparent` that calls made within it carry:
/// the span's own when it is recorded, else the caller's, so that a trace goes through processes that record nothing.
pub fn adopt(span: &tracing::Span, traceparent: &str) -> String {
    if span.is_disabled() {
        return traceparent.to_owned();
    }
    if let Ok(parent) = traceparent.parse::<TraceParent>()
        && span.set_parent(parent.context()).is_err()
    {
        // Spans exist for the log only: nothing exports them.
        return traceparent.to_owned();
    }
    current(span).unwrap_or_else(|| traceparent.to_owned())
}

/// The `traceparent` of `span`, when it is recorded by OpenTelemetry.
pub fn current(span: &tracing::Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let own = span.span_context();
    own.is_valid().then(|| {
        let parent = TraceParent {
            trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(own.span_id().to_bytes()),
            sampled: own.is_sampled(),
        };
        parent.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_trace_context_is_taken_over() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, want) in [
            (good, true),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", false),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", true),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, text.parse().unwrap());
            assert_eq!(extract(&headers), if want { text } else { "" }, "{text:?}");
        }
        let parsed: TraceParent = good.parse().unwrap();
        assert_eq!(parsed.to_string(), good);
        assert_eq!(parsed.child().trace_id, parsed.trace_id);
        assert_ne!(parsed.child().span_id, parsed.span_id);
        assert!(!TraceParent::root().to_string().parse::<TraceParent>().unwrap().sampled);
    }

    #[test]
    fn a_request_that_leaves_carries_trace_and_request_id() {
        let ctx = CallContext {
            trace: TraceParent::root().to_string(),
            request_id: "r1".into(),
            ..Default::default()
        };
        let mut headers = HeaderMap::new();
        inject(&ctx, &mut headers);
        assert_eq!(extract(&headers), ctx.trace);
        assert_eq!(headers[REQUEST_ID], "r1");
        inject(&CallContext { request_id: "bad\nid".into(), ..Default::default() }, &mut headers);
        assert_eq!(headers[REQUEST_ID], "r1", "what cannot be a header is left out");
    }
}
