//! Both backends behind one door, and short ways to say what the tests do.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part, and a test may panic")]

use std::{sync::Arc, time::Duration};

use bus::{
    Bus, CatchUp, Consumer, ConsumerOptions, Delivery, InProcessBus, InProcessOptions, Keys, Limits, Message,
    PublishError, Receipt, Received, RedisBus, RedisOptions, Sharing, Stream, Subscription,
};
use testkit::{Redis, unique_name};

/// Long enough for a slow machine, short enough for a hang to be noticed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// One backend under test.
pub(crate) struct Bed {
    pub(crate) name: &'static str,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) keys: Keys,
    memory: Option<InProcessBus>,
    server: Option<Redis>,
}

impl Bed {
    /// Forgets everything at once: FLUSHALL, or what a crash does to the in-process bus.
    pub(crate) fn wipe(&self) {
        if let Some(memory) = &self.memory {
            memory.wipe();
        }
        if let Some(server) = &self.server {
            server.command(&["FLUSHALL"]);
        }
    }
}

fn memory(limits: &Limits) -> Bed {
    let bus = InProcessBus::new(InProcessOptions { limits: limits.clone(), ..InProcessOptions::default() });
    Bed { name: "memory", bus: Arc::new(bus.clone()), keys: Keys::default(), memory: Some(bus), server: None }
}

pub(crate) fn redis_bus(url: &str, limits: &Limits) -> RedisBus {
    let options = RedisOptions {
        limits: limits.clone(),
        command_timeout: Duration::from_secs(5),
        reconnect_delay_max: Duration::from_millis(100),
        ..RedisOptions::default()
    };
    RedisBus::new(url, options).unwrap()
}

/// Both backends; Redis is shared with other tests under a prefix of its own.
pub(crate) fn beds(limits: &Limits) -> [Bed; 2] {
    let bus = redis_bus(&Redis::shared().url(), limits);
    let keys = Keys::new(&unique_name("bus"));
    [memory(limits), Bed { name: "redis", bus: Arc::new(bus), keys, memory: None, server: None }]
}

/// Both backends with default bounds.
pub(crate) fn every_bed() -> [Bed; 2] {
    beds(&Limits::default())
}

/// Both backends, with a Redis of their own that may be wiped.
pub(crate) fn wipeable_beds() -> [Bed; 2] {
    let limits = Limits::default();
    let server = Redis::start();
    let bus = redis_bus(&server.url(), &limits);
    let redis =
        Bed { name: "redis", bus: Arc::new(bus), keys: Keys::default(), memory: None, server: Some(server) };
    [memory(&limits), redis]
}

/// Claims what is idle for a moment, and looks often.
pub(crate) fn quick(sharing: Sharing) -> ConsumerOptions {
    ConsumerOptions {
        sharing,
        claim_after: Duration::from_millis(50),
        claim_every: Duration::from_millis(20),
        ..ConsumerOptions::default()
    }
}

/// Claims nothing within the time of a test, other than at its start.
pub(crate) fn patient(sharing: Sharing) -> ConsumerOptions {
    ConsumerOptions { sharing, claim_after: Duration::from_secs(3600), ..quick(sharing) }
}

pub(crate) fn join(
    bed: &Bed,
    stream: &Stream,
    group: &str,
    name: &str,
    options: ConsumerOptions,
) -> Box<dyn Consumer> {
    bed.bus.subscribe(stream, Subscription::new(group, name).with(options))
}

/// A group that exists: its only consumer has been told that it is new.
pub(crate) async fn join_new(
    bed: &Bed,
    stream: &Stream,
    group: &str,
    name: &str,
    options: ConsumerOptions,
) -> Box<dyn Consumer> {
    let mut consumer = join(bed, stream, group, name, options);
    assert_eq!(catch_up(bed, &mut consumer).await, CatchUp::GroupCreated, "{}", bed.name);
    consumer
}

pub(crate) fn message(n: usize) -> Message {
    Message::new(n.to_string().into_bytes())
}

pub(crate) async fn publish(bed: &Bed, stream: &Stream, numbers: std::ops::Range<usize>) {
    let messages: Vec<_> = numbers.map(message).collect();
    bed.bus.publish(stream, &messages).await.unwrap_or_else(|error| panic!("{}: {error}", bed.name));
}

pub(crate) fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(delivery.message.body()).unwrap().parse().unwrap()
}

pub(crate) fn numbers(batch: &[Delivery]) -> Vec<usize> {
    batch.iter().map(number).collect()
}

pub(crate) fn receipts(batch: &[Delivery]) -> Vec<Receipt> {
    batch.iter().map(|delivery| delivery.receipt).collect()
}

/// The next thing, whatever it is.
pub(crate) async fn next(bed: &Bed, consumer: &mut Box<dyn Consumer>) -> Received {
    match tokio::time::timeout(DEADLINE, consumer.next()).await {
        Ok(received) => received.unwrap_or_else(|error| panic!("{}: {error}", bed.name)),
        Err(_) => panic!("{}: the consumer got nothing within {DEADLINE:?}", bed.name),
    }
}

/// The next batch; a notice fails the test.
pub(crate) async fn batch(bed: &Bed, consumer: &mut Box<dyn Consumer>) -> Vec<Delivery> {
    match next(bed, consumer).await {
        Received::Batch(batch) => batch,
        Received::CatchUp(notice) => panic!("{}: a batch was due, not {notice:?}", bed.name),
    }
}

/// The next notice; a batch fails the test.
pub(crate) async fn catch_up(bed: &Bed, consumer: &mut Box<dyn Consumer>) -> CatchUp {
    match next(bed, consumer).await {
        Received::CatchUp(notice) => notice,
        Received::Batch(batch) => panic!("{}: a notice was due, not {:?}", bed.name, numbers(&batch)),
    }
}

/// The next `count` entries, over as many batches as it takes.
pub(crate) async fn take(bed: &Bed, consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(batch(bed, consumer).await);
    }
    assert_eq!(taken.len(), count, "{}: more entries than expected", bed.name);
    taken
}

/// True when the consumer has nothing to say for a moment in which it looks several times.
pub(crate) async fn is_quiet(consumer: &mut Box<dyn Consumer>) -> bool {
    tokio::time::timeout(Duration::from_millis(150), consumer.next()).await.is_err()
}

pub(crate) fn is_full<T>(outcome: &Result<T, PublishError>) -> bool {
    matches!(outcome, Err(PublishError::Full { .. }))
}
