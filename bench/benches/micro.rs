//! Micro-benchmarks, so that a slower engine can be traced to a part: `cargo bench -p orchestra-bench`.
#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a set-up that fails ends it, and the macros document nothing"
)]

mod subject;

use std::{hint::black_box, sync::Arc, time::Duration};

use base::{ExecutionId, Tenant, Timestamp, WorkflowId};
use bus::{Bus, InProcessBus, InProcessOptions, Keys, Message, Received, Subscription};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use expr::{Expr, Scope};
use serde_json::{Value, json};
use store::{
    SqliteJournal, SqliteOptions,
    journal::{
        ExecutionInsert, ExecutionWrite, Group, Item, Join, Log as _, LogRow, MemberId, Members as _,
        Summary, Wake,
    },
};

fn engine(c: &mut Criterion) {
    let source = subject::chain();
    let plan = subject::plan(&source);
    let log = subject::execution(&plan);
    let rows = subject::encode(&log);
    let mut group = c.benchmark_group("execution of ten tasks");
    group.throughput(Throughput::Elements(subject::TASKS as u64));
    group.bench_function("steps of the state machine", |b| b.iter(|| subject::execution(black_box(&plan))));
    group.bench_function("fold of its log", |b| {
        let id = ExecutionId::from_key(&Tenant::default(), "x");
        b.iter(|| workflow::fold(id, Arc::clone(&plan), black_box(&log)));
    });
    group.bench_function("codec: to bytes", |b| b.iter(|| subject::encode(black_box(&log))));
    group.bench_function("codec: from bytes", |b| b.iter(|| subject::decode(black_box(&rows))));
    group.bench_function("text to compiled plan", |b| b.iter(|| subject::plan(black_box(&source))));
    group.finish();
}

fn expressions(c: &mut Criterion) {
    let expression =
        Expr::compile("input.depth > 2 && input.tags.exists(t, t == 'b')").expect("an expression");
    let input: Value = json!({"depth": 3, "tags": ["a", "b"]});
    let scope = Scope::new().with("input", input.clone());
    c.bench_function("expression, compiled once", |b| b.iter(|| expression.eval(black_box(&scope))));
    let schema = json!({"type": "object", "required": ["depth"], "properties": {
        "depth": {"type": "integer", "minimum": 1}, "tags": {"type": "array", "items": {"type": "string"}}}});
    let validator = catalog::schema::compile(&schema).expect("a schema");
    c.bench_function("schema check, compiled once", |b| {
        b.iter(|| catalog::schema::check(&validator, black_box(&input)));
    });
}

fn start(n: u64, pos: i64) -> Item {
    let tenant = Tenant::default();
    let mut item = Item::new(ExecutionId::from_key(&tenant, &n.to_string()), tenant.clone());
    item.log = Some(LogRow { first_seq: 1, count: 4, pos, schema: 1, body: Bytes::from(vec![7; 400]) });
    item.write = Some(ExecutionWrite::Insert(Box::new(ExecutionInsert {
        workflow_id: WorkflowId::from_name(&tenant, "w"),
        workflow_name: "w".into(),
        workflow_version: "1".into(),
        status: "executing".into(),
        current_phase: "".into(),
        request_hash: None,
        correlation_id: None,
        priority: 0,
        started_at: Timestamp::from_millis(1_000_000),
        wake: Wake::Hot,
        completed_at: None,
        summary: Summary::default(),
        exclusive: None,
    })));
    item
}

/// One durable transaction on SQLite: of one row, and of a group of a hundred.
fn commits(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let journal =
        SqliteJournal::open(&SqliteOptions::new(folder.path().join("executor.db"))).expect("a journal");
    let me = runtime.block_on(async {
        journal.ensure_shards(8).await.expect("shards");
        let join = Join {
            id: MemberId::new("bench").expect("a name"),
            address: "http://127.0.0.1:1".into(),
            lease: Duration::from_secs(3600),
            reads_up_to: 2,
            region: "here".into(),
            cluster: "one".into(),
        };
        journal.join(join).await.expect("a member")
    });
    let mut next = 0;
    let mut group = c.benchmark_group("store commit, SQLite, synced");
    for rows in [1_u64, 100] {
        group.throughput(Throughput::Elements(rows));
        group.bench_function(format!("group of {rows}"), |b| {
            b.iter_batched(
                || {
                    let items = (0..rows).map(|n| start(next + n, (next + n) as i64 + 1)).collect();
                    next += rows;
                    Group { by: me.clone(), shard: 1, items }
                },
                |group| runtime.block_on(journal.commit(group)).expect("it is written"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Published, handed to a group, acknowledged: in process.
fn hops(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bus = InProcessBus::new(InProcessOptions::default());
    let stream = Keys::default().events(1);
    let mut consumer = bus.subscribe(&stream, Subscription::new("bench", "one"));
    let acks = consumer.acks();
    let message = [Message::new(vec![b'x'; 200])];
    c.bench_function("bus hop, in process", |b| {
        b.iter(|| {
            runtime.block_on(async {
                bus.publish(&stream, &message).await.expect("room");
                loop {
                    if let Received::Batch(batch) = consumer.next().await.expect("the bus is there") {
                        let receipts: Vec<_> = batch.iter().map(|d| d.receipt).collect();
                        return acks.ack(&receipts).await.expect("the bus is there");
                    }
                }
            });
        });
    });
}

criterion_group!(micro, engine, expressions, commits, hops);
criterion_main!(micro);
