//! Prints how many rows a second the journal commits in groups of 1, 100 and 1,000, every group on disk before the next.
//!
//! `cargo run --release -p orchestra-store --example commit_rate [-- postgres | sqlite:FOLDER | postgres://…]`
//! Without an address it uses a temporary folder; `postgres` is a throwaway server. What it writes stays in a database
//! that is named.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

use std::time::{Duration, Instant};

use base::{ExecutionId, Tenant, Timestamp, WorkflowId};
use bytes::Bytes;
use store::{
    Database, DatabaseOptions, Journal,
    journal::{
        ExecutionInsert, ExecutionUpdate, ExecutionWrite, Group, Item, Join, LogRow, MemberId, Membership,
        Summary, Wake,
    },
};
use uuid::Uuid;

const BODY_BYTES: usize = 300;
const ROUND: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = None;
    let database = match std::env::args().nth(1).as_deref() {
        Some("postgres") => {
            let started = tokio::task::spawn_blocking(testkit::Postgres::start).await.unwrap();
            Database::Postgres(server.insert(started).fresh_database())
        }
        Some(address) => address.parse().unwrap(),
        None => Database::Folder(folder.path().to_path_buf()),
    };
    let (journal, _) = database.open_journal(&DatabaseOptions::default()).await.unwrap();
    journal.ensure_shards(64).await.unwrap();
    let join = Join {
        id: MemberId::new("bench").unwrap(),
        address: String::new(),
        lease: Duration::from_secs(3600),
        reads_up_to: 1,
        region: String::new(),
        cluster: String::new(),
    };
    let me = journal.join(join).await.unwrap();
    println!("{}, bodies of {BODY_BYTES} bytes", journal.backend());
    for size in [1, 100, 1000] {
        rate(&*journal, &me, 0, size, "log rows", |pos| {
            vec![events(ExecutionId::new(Uuid::now_v7()), 1, pos)]
        })
        .await;
    }
    for size in [1, 100, 1000] {
        rate(&*journal, &me, 1, size, "executions (start, then end)", |pos| {
            let id = ExecutionId::new(Uuid::now_v7());
            vec![start(id, pos), end(id, pos + 1)]
        })
        .await;
    }
    journal.close().await;
}

/// `make` gives the rows of one unit at a position; unit after unit, row number n of all units of a group is one commit.
async fn rate(
    journal: &dyn Journal,
    me: &Membership,
    shard: u16,
    size: usize,
    what: &str,
    make: impl Fn(i64) -> Vec<Item>,
) {
    let mut pos = journal.last_pos(shard).await.unwrap() + 1;
    let cpu_before = cpu_us();
    let (begun, mut units, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while begun.elapsed() < ROUND {
        let mut commits: Vec<Vec<Item>> = Vec::new();
        for _ in 0..size {
            for (n, item) in make(pos).into_iter().enumerate() {
                pos += 1;
                match commits.get_mut(n) {
                    Some(commit) => commit.push(item),
                    None => commits.push(vec![item]),
                }
            }
        }
        for items in commits {
            let commit = Instant::now();
            journal.commit(Group { by: me.clone(), shard, items }).await.unwrap();
            slowest = slowest.max(commit.elapsed());
        }
        units += size;
    }
    let rate = units as f64 / begun.elapsed().as_secs_f64();
    let cpu_us = (cpu_us() - cpu_before) / units as f64;
    println!(
        "groups of {size:5}: {rate:9.0} {what}/s, {cpu_us:6.1} us of CPU each, slowest commit {slowest:?}"
    );
}

/// CPU time of this process so far, user and system, all threads (Linux; a hundredth of a second fine).
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let times = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10_000.0
}

fn events(id: ExecutionId, first_seq: i64, pos: i64) -> Item {
    let mut item = Item::new(id, Tenant::default());
    let body = Bytes::from(vec![7; BODY_BYTES]);
    item.log = Some(LogRow { first_seq, count: 3, pos, schema: 1, body });
    item
}

fn start(id: ExecutionId, pos: i64) -> Item {
    let mut item = events(id, 1, pos);
    item.write = Some(ExecutionWrite::Insert(Box::new(ExecutionInsert {
        workflow_id: WorkflowId::from_name(&Tenant::default(), "bench"),
        workflow_name: "bench".into(),
        workflow_version: "1".into(),
        status: "executing".into(),
        current_phase: String::new().into(),
        request_hash: None,
        correlation_id: None,
        priority: 0,
        started_at: Timestamp::from_micros(pos),
        wake: Wake::Hot,
        completed_at: None,
        summary: Summary::default(),
        exclusive: None,
    })));
    item
}

fn end(id: ExecutionId, pos: i64) -> Item {
    let mut item = events(id, 4, pos);
    item.write = Some(ExecutionWrite::Update(Box::new(ExecutionUpdate {
        status: "completed".into(),
        current_phase: None,
        wake: Wake::Hot,
        completed_at: Some(Timestamp::from_micros(pos)),
        summary: Summary {
            allocated_agents: Some("[\"writer\"]".into()),
            task_states: Some("{\"a\":\"completed\"}".into()),
            performance_metrics: Some("{\"ms\":5}".into()),
        },
        snapshot: None,
        release_exclusive: None,
        stuck: None,
    })));
    item
}
