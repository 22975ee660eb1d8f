//! The spans of an execution, read where a collector gets them.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use base::{CallContext, FailureClass};
use executor::app::StartRequest;
use futures::future::{BoxFuture, FutureExt as _};
use runtime::{
    Config, Options, Role, Service, Settings, Telemetry, config::SecretUrl, start, trace::TraceParent,
};
use serde_json::json;
use tonic::{Request, Response, Status, body::Body, codec::CompressionEncoding, server::UnaryService};
use tonic_prost::ProstCodec;

use crate::{
    agents::Act,
    kit::{SOON, World, me, request, retry, task},
};

/// What the test reads of the OTLP messages, by their published numbers.
mod otlp {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Export {
        #[prost(message, repeated, tag = "1")]
        pub(super) resources: Vec<Resource>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "2")]
        pub(super) scopes: Vec<Scope>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Scope {
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(fixed64, tag = "7")]
        pub(super) start_ns: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) end_ns: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<Attribute>,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Outcome>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Attribute {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<Text>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Text {
        #[prost(string, tag = "1")]
        pub(super) text: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Outcome {
        #[prost(string, tag = "2")]
        pub(super) message: String,
        /// 2 = error.
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Answer {}
}

/// Takes spans as a collector does.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<otlp::Span>>>);

impl UnaryService<otlp::Export> for Collector {
    type Response = otlp::Answer;
    type Future = BoxFuture<'static, Result<Response<otlp::Answer>, Status>>;
    fn call(&mut self, request: Request<otlp::Export>) -> Self::Future {
        let scopes = request.into_inner().resources.into_iter().flat_map(|r| r.scopes);
        self.0.lock().unwrap().extend(scopes.flat_map(|s| s.spans));
        async { Ok(Response::new(otlp::Answer {})) }.boxed()
    }
}

fn collecting(collector: &Collector) -> Role {
    let collector = collector.clone();
    Role::new("gateway", &[], move |_| {
        let collector = collector.clone();
        let serve = tower::service_fn(move |request: http::Request<Body>| {
            let collector = collector.clone();
            async move {
                let codec = ProstCodec::<otlp::Answer, otlp::Export>::default();
                let grpc = tonic::server::Grpc::new(codec);
                let mut grpc = grpc.accept_compressed(CompressionEncoding::Gzip);
                Ok::<_, Infallible>(grpc.unary(collector, request).await)
            }
        });
        async { Ok(Service::new().grpc_fallback(&[], serve)) }
    })
}

fn attribute<'a>(span: &'a otlp::Span, key: &str) -> &'a str {
    let found = span.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_ref());
    found.map_or("", |value| value.text.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_its_tasks_and_each_attempt_reach_the_collector_as_one_tree_of_the_callers_trace() {
    let collector = Collector::default();
    let config = Config::from_settings(Settings::default().on_free_ports());
    let sink = start(&[collecting(&collector)], &config, Options::default()).await.unwrap();
    let mut settings = Settings::default();
    let address = format!("http://{}", sink.ports("gateway").grpc.unwrap());
    settings.telemetry.otlp_endpoint = Some(SecretUrl::new(address));
    let telemetry = Telemetry::new(&settings, "orchestra-executor").unwrap();

    let world = World::sqlite();
    world.agents.script(|seen, nth| match (seen.task.as_str(), nth) {
        ("a", 1) => Act::Fail { class: FailureClass::Error, known: true, after: None },
        _ => Act::Answer(json!(1)),
    });
    let tasks = json!([task("a", json!({"retry": retry(2)})), task("b", json!({"after": [0]}))]);
    world.plans.put("two", json!({"tasks": tasks}));
    let node = world.node().await;
    node.engine.use_spans(telemetry.spans());
    let sent = TraceParent { sampled: true, ..TraceParent::root() };
    let context = CallContext { trace: sent.to_string(), ..me() };
    let wait = Some(SOON);
    let traced = StartRequest { wait, ..request("two", json!(1)) };
    let id = node.app.start(&context, traced).await.unwrap().id;
    // A trace that is not sampled leaves nothing.
    node.run(request("two", json!(1))).await;
    node.idle().await;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await.unwrap();

    let spans = collector.0.lock().unwrap().clone();
    let name = |span: &otlp::Span| match span.name.as_str() {
        "call" => format!("call {} {}", attribute(span, "task.id"), attribute(span, "attempt")),
        "task" => format!("task {}", attribute(span, "task.id")),
        other => other.to_owned(),
    };
    let by_name: BTreeMap<String, &otlp::Span> = spans.iter().map(|span| (name(span), span)).collect();
    assert_eq!(by_name.len(), spans.len(), "each once: {spans:?}");
    let names: Vec<&str> = by_name.keys().map(String::as_str).collect();
    assert_eq!(names, ["call a 1", "call a 2", "call b 1", "execution", "task a", "task b"]);
    let whole = by_name["execution"];
    let parent = |span: &otlp::Span| hex(&span.parent_span_id);
    assert_eq!(parent(whole), format!("{:016x}", sent.span_id));
    for (part, of) in [
        ("task a", "execution"),
        ("task b", "execution"),
        ("call a 1", "task a"),
        ("call a 2", "task a"),
        ("call b 1", "task b"),
    ] {
        let span = by_name[part];
        assert_eq!(parent(span), hex(&by_name[of].span_id), "{part} is a part of {of}");
        assert!(span.start_ns <= span.end_ns && span.end_ns <= whole.end_ns, "{part}");
    }
    for span in &spans {
        assert_eq!(hex(&span.trace_id), format!("{:032x}", sent.trace_id), "{}", span.name);
        assert_eq!(attribute(span, "execution.id"), id.to_string());
        assert_eq!(attribute(span, "workflow"), "two@1");
    }
    let failed = by_name["call a 1"].status.clone().unwrap();
    assert_eq!((failed.code, attribute(by_name["call a 1"], "status")), (2, "failed"));
    assert!(failed.message.contains("of call 1"), "{failed:?}");
    assert_eq!(
        (attribute(whole, "status"), attribute(by_name["call b 1"], "agent.id")),
        ("completed", "worker")
    );
    node.fall().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
