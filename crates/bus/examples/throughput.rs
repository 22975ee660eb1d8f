//! Measures a bus by hand: published → handed to a group → acknowledged, 200-byte bodies.
//!
//! `cargo run --release -p orchestra-bus --example throughput -- memory|redis://127.0.0.1:6379 [events] [publishers]`
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a tool for people: it prints, and stops when something fails"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{
    Bus, Consumer, ConsumerOptions, InProcessBus, Keys, Message, Received, RedisBus, RedisOptions, Sharing,
    Stream, Subscription,
};

const BATCH: usize = 100;
const LOW_RATE_SAMPLES: usize = 500;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let backend = args.next().unwrap_or_else(|| "memory".into());
    let mut number = |default| args.next().map_or(default, |text| text.parse().expect("a number"));
    let (events, publishers): (usize, usize) = (number(300_000), number(2));
    let bus: Arc<dyn Bus> = match backend.as_str() {
        "memory" => Arc::new(InProcessBus::default()),
        url => Arc::new(RedisBus::new(url, RedisOptions::default()).expect("a Redis URL")),
    };
    let keys = Keys::new(&format!("throughput-{}", std::process::id()));
    saturated(&bus, &keys.events(0), events / publishers / BATCH, publishers).await;
    low_rate(&bus, &keys.events(1)).await;
}

async fn join(bus: &Arc<dyn Bus>, stream: &Stream) -> Box<dyn Consumer> {
    let options =
        ConsumerOptions { sharing: Sharing::Exclusive, batch_max: 500, ..ConsumerOptions::default() };
    let mut consumer = bus.subscribe(stream, Subscription::new("measure", "one").with(options));
    consumer.next().await.expect("the group is created");
    consumer
}

async fn saturated(bus: &Arc<dyn Bus>, stream: &Stream, batches: usize, publishers: usize) {
    let mut consumer = join(bus, stream).await;
    let begun = Instant::now();
    for _ in 0..publishers {
        let (bus, stream) = (bus.clone(), stream.clone());
        tokio::spawn(async move {
            let batch = vec![Message::new(vec![b'x'; 200]); BATCH];
            for _ in 0..batches {
                bus.publish(&stream, &batch).await.expect("published");
            }
        });
    }
    let wanted = batches * BATCH * publishers;
    let mut handled = 0;
    while handled < wanted {
        if let Received::Batch(batch) = consumer.next().await.expect("read") {
            let receipts: Vec<_> = batch.iter().map(|delivery| delivery.receipt).collect();
            consumer.acks().ack(&receipts).await.expect("acknowledged");
            handled += batch.len();
        }
    }
    let rate = wanted as f64 / begun.elapsed().as_secs_f64();
    println!("saturated: {wanted} events of 200 B, {publishers} publishers: {rate:.0} events/s");
}

async fn low_rate(bus: &Arc<dyn Bus>, stream: &Stream) {
    let mut consumer = join(bus, stream).await;
    let mut took_us = Vec::with_capacity(LOW_RATE_SAMPLES);
    for _ in 0..LOW_RATE_SAMPLES {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let begun = Instant::now();
        let message = [Message::new(vec![b'x'; 200])];
        let (published, received) = tokio::join!(bus.publish(stream, &message), consumer.next());
        published.expect("published");
        if let Ok(Received::Batch(batch)) = received {
            took_us.push(begun.elapsed().as_micros());
            let receipts: Vec<_> = batch.iter().map(|delivery| delivery.receipt).collect();
            consumer.acks().ack(&receipts).await.expect("acknowledged");
        }
    }
    took_us.sort_unstable();
    let at = |share: usize| took_us.get(took_us.len() * share / 100).copied().unwrap_or(0);
    println!("500/s: publish → handled p50 {} µs, p99 {} µs", at(50), at(99));
}
