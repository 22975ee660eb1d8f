//! BUS: published, handed to a consumer group, handled and acknowledged; 200 bytes each. In a process of its own.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{
    Bus, InProcessBus, InProcessOptions, Keys, Message, Received, RedisBus, RedisOptions, Stream,
    Subscription,
};
use serde::{Deserialize, Serialize};
use testkit::{Persistence, Redis};

use crate::{
    latency::{Latencies, Summary},
    options::Run,
    report::{Row, median},
    system::Backend,
    usage,
    work::tell,
};

const BODY_BYTES: usize = 200;
/// Streams, each with one publisher and one consumer: as many as a small service has partitions at work.
const STREAMS: u32 = 2;
/// Messages of one publish when nothing limits the rate.
const BATCH: usize = 256;

/// What the process is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Redis; in process without it.
    #[arg(long)]
    redis: Option<String>,
    /// Messages per second over all streams; as fast as it goes when 0.
    #[arg(long, default_value_t = 0)]
    per_second: u64,
    /// Milliseconds.
    #[arg(long)]
    time_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Said {
    per_second: f64,
    latency: Summary,
    cpu_us: f64,
}

/// Publishes and handles, and writes what it measured.
pub(crate) fn main(args: &Args) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let said = runtime.expect("a runtime can be made").block_on(measure(args));
    println!("{}", serde_json::to_string(&said).expect("numbers are JSON"));
}

async fn measure(args: &Args) -> Said {
    let bus: Arc<dyn Bus> = match &args.redis {
        None => Arc::new(InProcessBus::new(InProcessOptions::default())),
        Some(url) => Arc::new(RedisBus::new(url, RedisOptions::default()).expect("a Redis")),
    };
    let began = Instant::now();
    let until = began + Duration::from_millis(args.time_ms);
    let mut pairs = Vec::new();
    for partition in 0..STREAMS {
        let stream = Keys::default().events(partition);
        let publisher = tokio::spawn(publish(
            Arc::clone(&bus),
            stream.clone(),
            args.per_second / u64::from(STREAMS),
            began,
            until,
        ));
        let consumer = tokio::spawn(consume(Arc::clone(&bus), stream, began, publisher));
        pairs.push(consumer);
    }
    let mut all = Latencies::default();
    let mut seconds = 0.0_f64;
    for pair in pairs {
        let (latencies, last) = pair.await.expect("a consumer does not panic");
        seconds = seconds.max((last - began).as_secs_f64());
        all.extend(latencies);
    }
    let latency = all.summary();
    let cpu_us = usage::of(std::process::id()).cpu_seconds * 1e6 / latency.count.max(1) as f64;
    Said { per_second: latency.count as f64 / seconds, latency, cpu_us }
}

/// How many were published.
async fn publish(bus: Arc<dyn Bus>, stream: Stream, per_second: u64, began: Instant, until: Instant) -> u64 {
    let mut sent = 0_u64;
    let mut each = tokio::time::interval(Duration::from_millis(2));
    let mut owed = 0.0;
    loop {
        let now = Instant::now();
        if now >= until {
            return sent;
        }
        let count = match per_second {
            0 => BATCH,
            rate => {
                each.tick().await;
                owed = rate as f64 * began.elapsed().as_secs_f64() - sent as f64;
                (owed.max(0.0) as usize).min(BATCH)
            }
        };
        let message = |_| {
            let mut body = vec![b'x'; BODY_BYTES];
            body[..8].copy_from_slice(&(began.elapsed().as_micros() as u64).to_le_bytes());
            Message::new(body)
        };
        let messages: Vec<_> = (0..count).map(message).collect();
        if !messages.is_empty() {
            bus.publish(&stream, &messages).await.expect("the bus takes it");
            sent += count as u64;
        }
        let _ = owed;
    }
}

async fn consume(
    bus: Arc<dyn Bus>,
    stream: Stream,
    began: Instant,
    publisher: tokio::task::JoinHandle<u64>,
) -> (Latencies, Instant) {
    let mut consumer = bus.subscribe(&stream, Subscription::new("bench", "one"));
    let acks = consumer.acks();
    let mut latencies = Latencies::default();
    let (mut got, mut sent, mut last) = (0_u64, None, began);
    let mut publisher = Some(publisher);
    while sent.is_none_or(|sent| got < sent) {
        tokio::select! {
            received = consumer.next() => if let Received::Batch(batch) = received.expect("the bus gives it") {
                let receipts: Vec<_> = batch.iter().map(|d| d.receipt).collect();
                acks.ack(&receipts).await.expect("the bus takes it");
                last = Instant::now();
                for delivery in &batch {
                    let at = delivery.message.body()[..8].try_into().map(u64::from_le_bytes).unwrap_or(0);
                    latencies.add((last - began).saturating_sub(Duration::from_micros(at)));
                }
                got += batch.len() as u64;
            },
            done = async { publisher.as_mut().expect("asked only while it is there").await }, if publisher.is_some() => {
                sent = Some(done.expect("a publisher does not panic"));
                publisher = None;
            }
        }
    }
    (latencies, last)
}

pub(super) fn run(options: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, persistence) in [
        ("in process", None),
        ("Redis without AOF", Some(Persistence::None)),
        ("Redis AOF everysec", Some(Persistence::AofEverySecond)),
    ] {
        for (load, per_second) in [("saturated", 0), ("open, 500/s", 500)] {
            tell(&format!("BUS {name}, {load}"));
            let all: Vec<_> = (0..options.runs).map(|_| once(options, persistence, per_second)).collect();
            let mut row = Row::new("BUS", Backend::Embedded, &format!("{load}, {BODY_BYTES} B"), "events/s");
            (row.backend, row.durability) = (name.into(), "the bus is never the record".into());
            row.runs = all.iter().map(|(said, _)| said.per_second).collect();
            let of =
                |pick: fn(&Summary) -> f64| Some(median(all.iter().map(|(said, _)| pick(&said.latency))));
            row.p50_ms = of(|s| s.p50_ms);
            row.p99_ms = of(|s| s.p99_ms);
            row.cpu_us.insert("bench".into(), median(all.iter().map(|(said, _)| said.cpu_us)));
            if persistence.is_some() {
                row.cpu_us.insert("redis".into(), median(all.iter().map(|(_, redis)| *redis)));
            }
            rows.push(row);
        }
    }
    rows
}

/// One run on a Redis of its own; its CPU microseconds per event beside it.
fn once(options: &Run, persistence: Option<Persistence>, per_second: u64) -> (Said, f64) {
    let redis = persistence.map(Redis::start_with);
    let own = std::env::current_exe().expect("a process knows its program");
    let mut command = Command::new(own);
    command.args(["bus", "--time-ms", &options.measure_ms().to_string()]);
    command.args(["--per-second", &per_second.to_string()]);
    if let Some(redis) = &redis {
        command.args(["--redis", &redis.url()]);
    }
    let output = command.stderr(Stdio::inherit()).output().expect("an own program can be started");
    let said: Said = serde_json::from_slice(&output.stdout).expect("it says what it measured");
    let redis =
        redis.map_or(0.0, |r| usage::of(r.pid()).cpu_seconds) * 1e6 / said.latency.count.max(1) as f64;
    (said, redis)
}
