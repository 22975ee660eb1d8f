//! Measures the engine alone: one-task executions at several numbers in flight, on SQLite, against an agent behind
//! A2A in another process. `cargo run --release -p orchestra-executor --example spine -- http://127.0.0.1:PORT [SECONDS]`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, Payload, Tenant, WorkflowId};
use executor::{
    agents::{A2aCaller, A2aSettings},
    app::{App, Defaults, StartRequest},
    engine::{Engine, EngineMetrics, Limits, Parts},
    plans::{FoundPlan, PlanSource},
};
use store::{
    SqliteJournal, SqliteOptions,
    journal::{Executions as _, Join, MemberId, Members as _},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct OnePlan(u32);

#[async_trait]
impl PlanSource for OnePlan {
    async fn plan(
        &self,
        context: &CallContext,
        _: &str,
        _: Option<(&str, &str)>,
    ) -> Result<FoundPlan, Fault> {
        let tasks: Vec<_> = (0..self.0)
            .map(|n| {
                let after: Vec<u32> = n.checked_sub(1).into_iter().collect();
                serde_json::json!({"id": format!("t{n}"), "need": {"agent": "noop"}, "input": "execution", "after": after})
            })
            .collect();
        let plan = serde_json::json!({"schema": 1, "name": "w", "version": "1", "tasks": tasks});
        Ok(FoundPlan {
            edition: String::new(),
            workflow_id: WorkflowId::from_name(&context.tenant, "w"),
            name: "w".into(),
            version: "1".into(),
            plan_json: plan.to_string(),
        })
    }
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seconds: u64 = args.get(2).map_or(5, |s| s.parse().unwrap());
    let tasks: u32 = args.get(3).map_or(1, |s| s.parse().unwrap());
    let folder = tempfile::tempdir_in(".").unwrap();
    let journal =
        Arc::new(SqliteJournal::open(&SqliteOptions::new(folder.path().join("executor.db"))).unwrap());
    journal.ensure_shards(64).await.unwrap();
    let me = journal
        .join(Join {
            id: MemberId::new("spine").unwrap(),
            address: String::new(),
            lease: Duration::from_secs(3600),
            reads_up_to: 1,
            region: String::new(),
            cluster: String::new(),
        })
        .await
        .unwrap();
    let caller = A2aSettings { short_call: Duration::from_secs(2), response_bytes_max: 8 << 20 };
    let engine = Engine::start(Parts {
        journal: journal.clone(),
        clock: Arc::new(runtime::SystemClock),
        caller: Arc::new(A2aCaller::new(a2a::A2aClient::default(), caller)),
        plans: Arc::new(OnePlan(tasks)),
        publisher: None,
        limits: Limits { concurrent_max: 100_000, ..Limits::default() },
        me: me.clone(),
        metrics: Arc::new(EngineMetrics::new(&runtime::Metrics::detached())),
        fatal: Arc::new(|why: &str| panic!("{why}")),
    });
    for shard in 0..64 {
        journal.claim(&me, shard).await.unwrap();
        engine.acquire(shard).await.unwrap();
    }
    let agent = serde_json::json!({
        "id": "noop", "name": "noop", "type": "noop", "version": "1", "endpoint": args[1],
        "capabilities": [], "instances": [{"id": "a", "capacity": 1024}],
    });
    let entry = catalog::AgentEntry::from_json(&agent.to_string(), 1, catalog::AgentState::Active).unwrap();
    engine.set_fleet(Arc::new(catalog::Snapshot::of(1, [Arc::new(entry)])));
    let defaults = Defaults {
        timeout: Duration::from_secs(3600),
        allocation_timeout: Duration::from_secs(300),
        checkpoint_every: Duration::from_secs(300),
        event_ttl: Duration::from_secs(3600),
        compensation_timeout: Duration::ZERO,
        retry: workflow::plan::RetryPolicy::default(),
        payload_bytes_max: 8 << 20,
    };
    let bus = Arc::new(bus::InProcessBus::default());
    let app = App::new(engine, journal.clone(), Arc::new(runtime::SystemClock), bus, defaults);
    println!("in flight | executions/s |  p50 ms |  p99 ms");
    for in_flight in [1usize, 16, 64, 256] {
        measure(&app, in_flight, seconds).await;
    }
    let active = journal.count_active(&(0..64).collect::<Vec<_>>()).await.unwrap();
    println!("active afterwards: {active} ({})", Tenant::default());
}

async fn measure(app: &App, in_flight: usize, seconds: u64) {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (app, stop, done) = (app.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let request = StartRequest {
                        workflow: "w@1".into(),
                        input: Some(Payload::json_text("{\"n\":1}")),
                        wait: Some(Duration::from_secs(30)),
                        ..StartRequest::default()
                    };
                    let outcome = app.start(&CallContext::default(), request).await.unwrap();
                    let view = outcome.ended.unwrap();
                    assert!(view.output().is_some(), "{view:?}");
                    took.push(at.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                took
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await.unwrap());
    }
    let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{in_flight:>9} | {rate:>12.0} | {:>7.2} | {:>7.2}", at(0.5), at(0.99));
}
