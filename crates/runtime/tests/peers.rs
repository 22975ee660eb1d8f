//! A peer in this process and one elsewhere behave the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod common;

use std::time::Duration;

use base::{CallContext, Clock as _, Tenant};
use common::{Probe, asking, client, config, misdirected, needing, serving, until};
use runtime::{
    Options, PeerChannel, PeerError, Running, StartError, SystemClock, call, config::PeerAddress, start,
    trace::TraceParent,
};
use tonic::Code;

/// A role in this process, and the same role in another: the channel to it, and what must live meanwhile.
async fn both_kinds(probe: &Probe) -> Vec<(&'static str, PeerChannel, Vec<Running>)> {
    let roles = [serving("registry", probe), needing("planner", &["registry"])];
    let here = start(&roles, &config(|_| {}), Options::default()).await.unwrap();
    let peer = here.peers().get("registry").unwrap();
    assert!(peer.is_here());
    let mut kinds = vec![("here", peer, vec![here])];

    let server = start(&roles[..1], &config(|_| {}), Options::default()).await.unwrap();
    let address = format!("http://{}", server.ports("registry").grpc.unwrap());
    let away = config(|s| s.peers.registry = PeerAddress::At(vec![address]));
    let caller = start(&roles[1..], &away, Options::default()).await.unwrap();
    let peer = caller.peers().get("registry").unwrap();
    assert!(!peer.is_here());
    kinds.push(("elsewhere", peer, vec![server, caller]));
    kinds
}

fn within(timeout: Duration) -> CallContext {
    call::own_call("test", timeout)
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kinds_of_peer_answer_with_the_same_status_codes() {
    let probe = Probe::default();
    for (kind, peer, _alive) in both_kinds(&probe).await {
        let mut client = client(peer.clone());
        for (service, timeout, want) in [
            ("", LONG, Code::Ok),
            ("refused", LONG, Code::ResourceExhausted),
            ("panic", LONG, Code::Internal),
            ("never", SHORT, Code::DeadlineExceeded),
            ("", Duration::ZERO, Code::DeadlineExceeded),
        ] {
            let got = client.check(call::request(&within(timeout), asking(service))).await;
            let code = got.as_ref().map_or_else(tonic::Status::code, |_| Code::Ok);
            assert_eq!(code, want, "{kind}: {service:?}: {got:?}");
            let text = got.err().map(|s| s.message().to_owned()).unwrap_or_default();
            assert!(!text.contains("secret"), "{kind}: {text}");
        }
        let unknown = misdirected(peer).check(asking("")).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unimplemented, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_both_kinds_end_the_same_way() {
    let probe = Probe::default();
    for (kind, peer, _alive) in both_kinds(&probe).await {
        let mut client = client(peer);
        for (service, timeout, want) in [
            ("", LONG, None),
            ("panic", LONG, Some(Code::Internal)),
            ("never", Duration::from_millis(300), Some(Code::DeadlineExceeded)),
        ] {
            let request = call::request(&within(timeout), asking(service));
            let mut stream = client.watch(request).await.unwrap().into_inner();
            assert!(stream.message().await.unwrap().is_some(), "{kind}: {service}");
            let end = stream.message().await;
            assert_eq!(end.as_ref().err().map(tonic::Status::code), want, "{kind}: {service}: {end:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_call_context_arrives_as_it_was_sent() {
    let probe = Probe::default();
    for (kind, peer, _alive) in both_kinds(&probe).await {
        let sent = CallContext {
            tenant: Tenant::new("acme").unwrap(),
            principal: "jürgen".into(),
            request_id: "r-1".into(),
            trace: TraceParent::root().to_string(),
            deadline: Some(SystemClock.now().plus(LONG)),
        };
        client(peer).check(call::request(&sent, asking(""))).await.unwrap();
        let got = probe.seen.lock().unwrap().pop().unwrap();
        let (wanted, deadline) = (sent.deadline.unwrap(), got.deadline.unwrap());
        assert!(wanted.since(deadline) + deadline.since(wanted) < Duration::from_secs(10), "{kind}");
        assert_eq!(CallContext { deadline: sent.deadline, ..got }, sent, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_metadata_is_an_invalid_argument_with_both_kinds() {
    let probe = Probe::default();
    for (kind, peer, _alive) in both_kinds(&probe).await {
        let mut request = tonic::Request::new(asking(""));
        request.metadata_mut().insert("x-orchestra-tenant", "a b".parse().unwrap());
        let refused = client(peer).check(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{kind}");
        assert!(refused.message().contains("x-orchestra-tenant"), "{kind}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_starts_without_its_peer_and_is_ready_once_it_was_seen() {
    let probe = Probe::default();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = config(|s| s.peers.registry = PeerAddress::At(vec![format!("http://{free}")]));
    let caller = start(&[needing("planner", &["registry"])], &away, Options::default()).await.unwrap();
    let peer = caller.peers().get("registry").unwrap();
    let refused = client(peer.clone()).check(asking("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("peer registry is not reachable"), "{refused:?}");
    assert_eq!(caller.readiness()["planner"], ["peer registry has not been seen yet"]);

    let there = config(|s| s.registry.grpc_port = free.port());
    let server = start(&[serving("registry", &probe)], &there, Options::default()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), caller.ready())
        .await
        .expect("ready once the peer is there");
    client(peer.clone()).check(asking("")).await.unwrap();

    assert!(server.drain().await);
    let gone =
        async || client(peer.clone()).check(asking("")).await.is_err_and(|s| s.code() == Code::Unavailable);
    until("the peer is gone", gone).await;
    assert!(caller.readiness()["planner"].is_empty(), "a peer that goes away does not make a role unready");
    let again = start(&[serving("registry", &probe)], &there, Options::default()).await.unwrap();
    until("reconnected", async || client(peer.clone()).check(asking("")).await.is_ok()).await;
    drop(again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_replicas_those_that_answer_are_used() {
    let probe = Probe::default();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = start(&[serving("registry", &probe)], &config(|_| {}), Options::default()).await.unwrap();
    let live = server.ports("registry").grpc.unwrap();
    let both = vec![format!("http://{dead}"), format!("http://{live}")];
    let away = config(|s| s.peers.registry = PeerAddress::At(both));
    let caller = start(&[needing("planner", &["registry"])], &away, Options::default()).await.unwrap();
    let peer = caller.peers().get("registry").unwrap();
    let mut failures = 0;
    for _ in 0..10 {
        failures += usize::from(client(peer.clone()).check(asking("")).await.is_err());
    }
    assert!(failures <= 1, "{failures} of 10 calls went to the dead replica");
}

#[tokio::test]
async fn a_peer_that_cannot_be_found_is_refused_at_the_start() {
    let here = config(|s| s.peers.registry = PeerAddress::Here);
    let refused = start(&[needing("planner", &["registry"])], &here, Options::default()).await.unwrap_err();
    assert!(
        matches!(&refused, StartError::Peer(PeerError::NotHere(name)) if name == "registry"),
        "{refused}"
    );
    assert!(refused.to_string().contains("set peers.registry to its address"), "{refused}");
    let refused =
        start(&[needing("planner", &["scaler"])], &config(|_| {}), Options::default()).await.unwrap_err();
    assert!(matches!(refused, StartError::Peer(PeerError::Unknown(_))), "{refused}");
    let roles = [needing("planner", &[])];
    let running = start(&roles, &config(|_| {}), Options::default()).await.unwrap();
    for address in ["nonsense", "planner:3022", "ftp://planner", "http://", ""] {
        let refused = running.peers().dial(address);
        assert!(matches!(&refused, Err(PeerError::BadAddress(given)) if given == address), "{refused:?}");
    }
}
