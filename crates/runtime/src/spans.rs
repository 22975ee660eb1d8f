//! Spans of what has already happened: nothing is held open meanwhile, the times are those that were recorded, and the
//! ids are known beforehand, so that parts name their whole before it has ended, in this process or in another.

use std::{
    cell::Cell,
    time::{Duration, SystemTime},
};

use base::Timestamp;
use opentelemetry::{
    KeyValue, SpanId, TraceId,
    trace::{Span as _, SpanBuilder, Status, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider, SpanExporter,
};

use crate::trace::TraceParent;

thread_local! {
    static NEXT_ID: Cell<Option<SpanId>> = const { Cell::new(None) };
}

/// Gives the span that is made now the id that was chosen for it; all others have random ones.
#[derive(Debug, Default)]
pub(crate) struct ChosenIds(RandomIdGenerator);

impl IdGenerator for ChosenIds {
    fn new_trace_id(&self) -> TraceId {
        self.0.new_trace_id()
    }
    fn new_span_id(&self) -> SpanId {
        NEXT_ID.take().unwrap_or_else(|| self.0.new_span_id())
    }
}

/// Something that began and ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PastSpan {
    /// What kind of thing it is.
    pub name: &'static str,
    /// Its id, never 0.
    pub id: u64,
    /// What it is a part of.
    pub parent: TraceParent,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What is to be known about it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed; `None` = it did not.
    pub error: Option<String>,
}

/// Exports spans of the past, when there is a collector.
#[derive(Clone, Debug, Default)]
pub struct Spans(Option<SdkTracer>);

impl Spans {
    /// Makes them with `provider`, which must draw ids with [`ChosenIds`].
    pub(crate) fn of(provider: Option<&SdkTracerProvider>) -> Self {
        Self(provider.map(|p| p.tracer("orchestra")))
    }

    /// Spans that go to `exporter`, each as it ends: for programs that embed a part and collect on their own.
    pub fn to_exporter(exporter: impl SpanExporter + 'static) -> Self {
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        let provider = SdkTracerProvider::builder()
            .with_id_generator(ChosenIds::default())
            .with_sampler(sampler)
            .with_simple_exporter(exporter)
            .build();
        Self::of(Some(&provider))
    }

    /// The trace that spans of work started under `traceparent` belong to; `None` when nothing is exported or the
    /// trace is not sampled.
    pub fn sampled(&self, traceparent: &str) -> Option<TraceParent> {
        self.0.as_ref()?;
        traceparent.parse::<TraceParent>().ok().filter(|trace| trace.sampled)
    }

    /// Hands a span to the exporter. Does not wait for it.
    pub fn record(&self, past: PastSpan) {
        let Some(tracer) = &self.0 else { return };
        let attributes = past.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
        let mut builder = SpanBuilder::from_name(past.name)
            .with_start_time(system_time(past.start))
            .with_attributes(attributes);
        builder.span_kind = Some(opentelemetry::trace::SpanKind::Internal);
        NEXT_ID.set(Some(SpanId::from_bytes(past.id.to_be_bytes())));
        let mut span = tracer.build_with_context(builder, &past.parent.context());
        NEXT_ID.set(None);
        if let Some(error) = past.error {
            span.set_status(Status::error(error));
        }
        span.end_with_timestamp(system_time(past.end));
    }
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.micros()).unwrap_or_default())
}
