//! Spans, metrics and log lines reach a collector, and a trace goes through the process. One test: it installs the
//! process's subscriber.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod common;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Probe, asking, client, config, serving, until};
use http::Request;
use runtime::{Options, Role, Service, Telemetry, call, config::SecretUrl, start, trace::TraceParent};
use tonic::body::Body;

type Paths = Arc<Mutex<BTreeSet<String>>>;

fn collector(paths: &Paths) -> Role {
    let paths = Arc::clone(paths);
    Role::new("gateway", &[], move |_| {
        let paths = Arc::clone(&paths);
        let keep = tower::service_fn(move |request: Request<Body>| {
            let method = request.uri().path().rsplit('.').next().unwrap_or_default().to_owned();
            paths.lock().unwrap().insert(method);
            async { Ok::<_, Infallible>(tonic::Status::ok("").into_http::<Body>()) }
        });
        async { Ok(Service::new().grpc_fallback(&[], keep)) }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_reaches_the_collector_and_spans_continue_the_callers_trace() {
    let paths = Paths::default();
    let sink = start(&[collector(&paths)], &config(|_| {}), Options::default()).await.unwrap();
    let endpoint = format!("http://{}", sink.ports("gateway").grpc.unwrap());

    let probe = Probe::default();
    let config = config(|s| s.telemetry.otlp_endpoint = Some(SecretUrl::new(endpoint)));
    let telemetry = Telemetry::new(&config.settings, "orchestra-registry").unwrap();
    telemetry.install();
    let options = Options { telemetry: Some(telemetry), ..Options::default() };
    let running = start(&[serving("registry", &probe)], &config, options).await.unwrap();
    running.metrics().counter("orchestra.executions.started", "help").inc();
    let address = format!("http://{}", running.ports("registry").grpc.unwrap());
    for peer in [running.peers().get("registry").unwrap(), running.peers().dial(&address).unwrap()] {
        let sent = TraceParent { sampled: true, ..TraceParent::root() };
        let mut ctx = call::own_call("test", Duration::from_secs(60));
        ctx.trace = sent.to_string();
        client(peer).check(call::request(&ctx, asking(""))).await.unwrap();
        let seen = probe.seen.lock().unwrap().pop().unwrap();
        let seen: TraceParent = seen.trace.parse().unwrap();
        assert_eq!((seen.trace_id, seen.sampled), (sent.trace_id, true));
        assert_ne!(seen.span_id, sent.span_id, "calls made within carry the span of this process");
    }
    tracing::info!("one line");
    // The last batch leaves with the process.
    assert!(running.drain().await);
    let want: BTreeSet<String> =
        ["LogsService/Export", "MetricsService/Export", "TraceService/Export"].map(str::to_owned).into();
    until("all three signals", async || *paths.lock().unwrap() == want).await;
}
