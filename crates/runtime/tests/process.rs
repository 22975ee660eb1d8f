//! Start, listeners, health, reflection, metrics and drain of one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod common;

use std::time::Duration;

use common::{Probe, asking, client, config, needing, serving, until};
use runtime::{Listen, Options, Role, Service, StartError, call, start};
use tonic::Code;
use tonic_health::pb::health_client::HealthClient;

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_refused_before_any_role_starts() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let started = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&started);
    let eager = Role::new("registry", &[], move |_| {
        flag.store(true, std::sync::atomic::Ordering::SeqCst);
        async { Ok(Service::new()) }
    });
    let taken = config(|s| s.planner.grpc_port = port);
    let refused = start(&[eager, needing("planner", &[])], &taken, Options::default()).await.unwrap_err();
    assert!(matches!(refused, StartError::PortInUse(_)), "{refused}");
    let text = refused.to_string();
    let want = format!("planner grpc: 127.0.0.1:{port} is in use by process {} (", std::process::id());
    assert!(text.starts_with(&want) && text.ends_with("set planner.grpc_port to another port"), "{text}");
    assert!(!started.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn broken_rules_and_a_failing_role_are_named() {
    let broken = config(|s| s.executor.lease = Duration::from_secs(1));
    let refused = start(&[], &broken, Options::default()).await.unwrap_err().to_string();
    assert!(refused.contains("executor.lease: must be at least three times"), "{refused}");
    let failing = Role::new("registry", &[], |_| async { anyhow::bail!("no database") });
    let refused = start(&[failing], &config(|_| {}), Options::default()).await.unwrap_err().to_string();
    assert_eq!(refused, "registry did not start: no database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_internal_listener_tells_health_readiness_and_metrics() {
    let slow = Role::new("registry", &[], |ctx| async move {
        let flag = ctx.ready_flag("database");
        let later = flag.clone();
        ctx.metrics.counter("orchestra.executions.started", "Executions started").add(3);
        let router = ctx.ops_router().route(
            "/open",
            axum::routing::get(|| async move {
                later.ready();
            }),
        );
        // A role without a public HTTP port has no use for a router; this one serves it by itself.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        ctx.spawn("test router", async move { Ok(axum::serve(listener, router).await?) });
        flag.not_ready(format!("opening {at}"));
        Ok(Service::new())
    });
    let running = start(&[slow], &config(|_| {}), Options::default()).await.unwrap();
    let base = format!("http://{}", running.ports("registry").internal.unwrap());
    let (status, body) = get(&format!("{base}/health")).await;
    assert!(status == 200 && body.contains("\"status\":\"ok\""), "{body}");
    let (status, body) = get(&format!("{base}/ready")).await;
    assert!(status == 503 && body.contains("database: opening 127.0.0.1:"), "{body}");
    let own = body.split("opening ").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let grpc = format!("http://{}", running.ports("registry").grpc.unwrap());
    let mut health = HealthClient::new(running.peers().dial(&grpc).unwrap());
    assert_eq!(health.check(asking("registry")).await.unwrap().into_inner().status, 2);

    assert_eq!(get(&format!("http://{own}/open")).await.0, 200);
    assert_eq!(get(&format!("{base}/ready")).await.0, 200);
    until("gRPC health follows", async || health.check(asking("")).await.unwrap().into_inner().status == 1)
        .await;
    let unknown = health.check(asking("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let (status, body) = get(&format!("{base}/metrics")).await;
    assert_eq!(status, 200);
    assert!(body.contains("# HELP orchestra_executions_started_total Executions started"), "{body}");
    assert!(body.contains("\norchestra_executions_started_total 3\n"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turned_off_metrics_say_so() {
    for change in
        [(|s: &mut runtime::Settings| s.telemetry.enabled = false) as fn(&mut runtime::Settings), |s| {
            s.telemetry.prometheus_enabled = false
        }]
    {
        let running = start(&[needing("registry", &[])], &config(change), Options::default()).await.unwrap();
        let base = format!("http://{}", running.ports("registry").internal.unwrap());
        let (status, body) = get(&format!("{base}/metrics")).await;
        assert!(status == 404 && body.contains("telemetry.prometheus_enabled"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_what_the_role_serves_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let probe = Probe::default();
    let running = start(&[serving("registry", &probe)], &config(|_| {}), Options::default()).await.unwrap();
    let peer = running.peers().dial(&format!("http://{}", running.ports("registry").grpc.unwrap())).unwrap();

    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(peer.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    names.sort();
    assert_eq!(names, ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "test.Health"]);

    // A call through grpcurl needs the descriptor of what it calls.
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "grpc.health.v1.Health".into(),
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(peer);
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(files.file_descriptor_proto.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_for_all_opens_the_gateways_ports_only() {
    let probe = Probe::default();
    let gateway = Role::new("gateway", &["registry"], |ctx| async move {
        assert!(ctx.peer("registry")?.is_here());
        Ok(Service::new().http(ctx.ops_router()).public())
    });
    let options = Options { listen: Listen::GatewayOnly, ..Options::default() };
    let running = start(&[serving("registry", &probe), gateway], &config(|_| {}), options).await.unwrap();
    let registry = running.ports("registry");
    assert_eq!((registry.http, registry.grpc, registry.internal), (None, None, None));
    let gateway = running.ports("gateway");
    tokio::time::timeout(Duration::from_secs(20), running.ready()).await.unwrap();
    assert_eq!(get(&format!("http://{}/ready", gateway.http.unwrap())).await.0, 200);
    let mut health =
        HealthClient::new(running.peers().dial(&format!("http://{}", gateway.grpc.unwrap())).unwrap());
    for role in ["registry", "gateway", ""] {
        until(role, async || {
            health.check(asking(role)).await.is_ok_and(|answer| answer.into_inner().status == 1)
        })
        .await;
    }
    client(running.peers().get("registry").unwrap()).check(asking("")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_door_does_not_believe_who_a_caller_claims_to_be() {
    let probe = Probe::default();
    let inner = probe.clone();
    let gateway = Role::new("gateway", &[], move |_| {
        let probe = inner.clone();
        async move {
            let echo = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
                let headers = request.headers();
                let tenant = headers["x-orchestra-tenant"].to_str().unwrap().to_owned();
                let principal = headers.contains_key("x-orchestra-principal");
                let ctx = request.extensions().get::<base::CallContext>().cloned().unwrap();
                probe.seen.lock().unwrap().push(ctx);
                let text = format!("{tenant} {principal}");
                async move {
                    Ok::<_, std::convert::Infallible>(
                        tonic::Status::aborted(text).into_http::<tonic::body::Body>(),
                    )
                }
            });
            Ok(Service::new().grpc_fallback(&["test.Health"], echo).public())
        }
    });
    let running = start(&[gateway], &config(|_| {}), Options::default()).await.unwrap();
    let address = format!("http://{}", running.ports("gateway").grpc.unwrap());
    let ctx = base::CallContext {
        tenant: base::Tenant::new("acme").unwrap(),
        principal: "root".into(),
        request_id: "r-1".into(),
        ..Default::default()
    };
    let peer = running.peers().dial(&address).unwrap();
    let answer = client(peer).check(call::request(&ctx, asking(""))).await.unwrap_err();
    assert_eq!((answer.code(), answer.message()), (Code::Aborted, "default false"));
    let seen = probe.seen.lock().unwrap().pop().unwrap();
    assert_eq!(
        (seen.tenant.as_str(), seen.principal.as_str(), seen.request_id.as_str()),
        ("default", "", "r-1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_accepted_calls_and_takes_no_new_ones() {
    let probe = Probe::default();
    let running = start(&[serving("registry", &probe)], &config(|_| {}), Options::default()).await.unwrap();
    let (grpc, internal) =
        (running.ports("registry").grpc.unwrap(), running.ports("registry").internal.unwrap());
    let peer = running.peers().dial(&format!("http://{grpc}")).unwrap();
    let ctx = call::own_call("test", Duration::from_secs(60));
    let accepted = tokio::spawn(async move { client(peer).check(call::request(&ctx, asking("wait"))).await });
    probe.arrived.notified().await;

    let draining = tokio::spawn(running.drain());
    let ready = format!("http://{internal}/ready");
    until("not ready", async || {
        let (status, body) = get(&ready).await;
        status == 503 && body.contains("draining")
    })
    .await;
    until("no new connections", async || tokio::net::TcpStream::connect(grpc).await.is_err()).await;
    assert!(!accepted.is_finished() && !draining.is_finished());
    probe.go.notify_one();
    assert_eq!(accepted.await.unwrap().unwrap().into_inner().status, 1);
    assert!(draining.await.unwrap(), "all work ended by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_hooks_run_before_background_tasks_have_to_end_and_in_reverse_order_of_the_start() {
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let role = |name: &'static str| {
        let order = std::sync::Arc::clone(&order);
        Role::new(name, &[], move |ctx| {
            let (in_hook, in_task, drain) = (order.clone(), order.clone(), ctx.drain.clone());
            ctx.spawn("worker", async move {
                drain.stopped().await;
                in_task.lock().unwrap().push("task");
                Ok(())
            });
            let hook = move || async move { in_hook.lock().unwrap().push(name) };
            async { Ok(Service::new().on_drain(hook)) }
        })
    };
    let running =
        start(&[role("registry"), role("planner")], &config(|_| {}), Options::default()).await.unwrap();
    assert!(running.drain().await);
    assert_eq!(*order.lock().unwrap(), ["planner", "registry", "task", "task"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_does_not_end_is_cut_off_at_the_drain_timeout() {
    let probe = Probe::default();
    let short = config(|s| s.server.drain_timeout = Duration::from_millis(100));
    let running = start(&[serving("registry", &probe)], &short, Options::default()).await.unwrap();
    let peer = running.peers().dial(&format!("http://{}", running.ports("registry").grpc.unwrap())).unwrap();
    let ctx = call::own_call("test", Duration::from_secs(60));
    let stuck = tokio::spawn(async move { client(peer).check(call::request(&ctx, asking("never"))).await });
    probe.arrived.notified().await;
    assert!(!running.drain().await);
    stuck.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_or_panics_ends_the_process() {
    for (panics, want) in [(false, "task worker failed: disk is full"), (true, "task worker panicked")] {
        let role = Role::new("registry", &[], move |ctx| async move {
            ctx.spawn("worker", async move {
                assert!(!panics, "on purpose");
                anyhow::bail!("disk is full")
            });
            Ok(Service::new())
        });
        let running = start(&[role], &config(|_| {}), Options::default()).await.unwrap();
        let failed = tokio::time::timeout(Duration::from_secs(20), running.failed()).await.unwrap();
        assert_eq!((failed.role.as_str(), failed.reason.as_str()), ("registry", want));
    }
}
