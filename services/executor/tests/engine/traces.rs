//! What a collector gets of executions, tasks and calls that ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base::{CallContext, FailureClass};
use executor::app::StartRequest;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use runtime::Spans;
use serde_json::json;

use crate::{
    agents::Act,
    kit::{SOON, World, me, request, retry, task},
};

const CALLER: &str = "b7ad6b7169203331";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// A span as a person reads it in the collector.
#[derive(Clone, Debug)]
struct Read {
    id: String,
    parent: String,
    trace: String,
    name: String,
    attributes: BTreeMap<String, String>,
    error: bool,
    micros: u128,
}

impl Collector {
    fn read(&self) -> Vec<Read> {
        let read = |span: &SpanData| Read {
            id: span.span_context.span_id().to_string(),
            parent: span.parent_span_id.to_string(),
            trace: span.span_context.trace_id().to_string(),
            name: span.name.to_string(),
            attributes: span.attributes.iter().map(|kv| (kv.key.to_string(), kv.value.to_string())).collect(),
            error: format!("{:?}", span.status).starts_with("Error"),
            micros: span.end_time.duration_since(span.start_time).unwrap().as_micros(),
        };
        self.0.lock().unwrap().iter().map(read).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_reaches_the_collector_under_the_callers_trace_with_its_time_and_its_error() {
    let collector = Collector::default();
    let mut world = World::sqlite();
    world.spans = Spans::to_exporter(collector.clone());
    let tasks = [task("a", json!({"retry": retry(2)})), task("b", json!({"after": [0]}))];
    world.plans.put("two", json!({"tasks": tasks}));
    world.agents.script(|seen, nth| match (&*seen.task, nth) {
        ("a", 1) => Act::Fail { class: FailureClass::Unavailable, known: true, after: None },
        _ => Act::Answer(json!({})),
    });
    let node = world.node().await;
    let traced = CallContext { trace: format!("00-{TRACE}-{CALLER}-01"), ..me() };
    let start = StartRequest { wait: Some(SOON), ..request("two", json!({})) };
    let id = node.app.start(&traced, start).await.unwrap().id;
    testkit::wait_for("a span for each", SOON, async || (collector.read().len() >= 6).then_some(())).await;

    let spans = collector.read();
    let named = |name: &str| -> Vec<Read> { spans.iter().filter(|s| s.name == name).cloned().collect() };
    let [whole] = &named("execution")[..] else { panic!("{spans:#?}") };
    let (tasks, calls) = (named("task"), named("call"));
    assert_eq!((tasks.len(), calls.len()), (2, 3), "{spans:#?}");
    assert_eq!(whole.parent, CALLER, "the execution stands under who started it");
    for span in &spans {
        assert_eq!(span.trace, TRACE);
        assert_eq!(span.attributes["operation"], span.name);
        assert_eq!(span.attributes["execution.id"], id.to_string());
        assert_eq!(span.attributes["duration_ms"], (span.micros / 1000).to_string(), "{span:#?}");
        assert_eq!(span.error, span.attributes["status"] == "failed", "{span:#?}");
    }
    assert!(tasks.iter().all(|t| t.parent == whole.id));
    for call in &calls {
        let own = tasks.iter().find(|t| t.attributes["task.id"] == call.attributes["task.id"]).unwrap();
        assert_eq!(call.parent, own.id);
        assert_eq!(call.attributes["agent.id"], "worker");
    }
    let failed: Vec<_> = calls.iter().filter(|call| call.error).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((&*failed[0].attributes["task.id"], &*failed[0].attributes["attempt"]), ("a", "1"));
    // What an agent traces by itself stands under its call.
    let given: Vec<String> = world.agents.calls().into_iter().map(|seen| seen.trace).collect();
    let ids: Vec<String> = calls.iter().map(|call| format!("00-{TRACE}-{}-01", call.id)).collect();
    assert_eq!(given, ids);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_outside_of_a_sampled_trace_makes_no_spans() {
    let collector = Collector::default();
    let mut world = World::sqlite();
    world.spans = Spans::to_exporter(collector.clone());
    let node = world.node().await;
    for trace in [String::new(), format!("00-{TRACE}-{CALLER}-00")] {
        let context = CallContext { trace: trace.clone(), ..me() };
        let start = StartRequest { wait: Some(SOON), ..request("one", json!({})) };
        node.app.start(&context, start).await.unwrap();
        assert_eq!(world.agents.calls().pop().unwrap().trace, trace, "the agent gets what there is");
    }
    node.idle().await;
    assert!(collector.read().is_empty());
    node.die().await;
}
