//! The registry's events on a real Redis: consumers drop what they have and fetch what they miss.
#![allow(clippy::unwrap_used)] // a helper that fails is a test that fails

mod common;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bus::{
    Bus, ConsumerOptions, Keys, Position, PositionTracker, Received, RedisBus, RedisOptions, Subscription,
    Verdict,
};
use common::{Home, LONG, Registry, agent};
use prost::Message as _;
use proto::{
    event::v1::EventBatch,
    registry::{internal::v1::ReadLogRequest, v1::DeleteAgentRequest},
};
use serde_json::json;
use testkit::Redis;

/// A consumer as every service is one: positions decide, gaps are read from the registry.
struct Consumer {
    stream: Box<dyn bus::Consumer>,
    tracker: PositionTracker,
    /// What took effect, by position.
    seen: BTreeMap<u64, (String, String)>,
    duplicates: u32,
    gaps: u32,
    /// Acknowledges what it handled.
    acknowledges: bool,
}

impl Consumer {
    fn new(redis: &Redis) -> Self {
        let bus: Arc<dyn Bus> = Arc::new(RedisBus::new(&redis.url(), RedisOptions::default()).unwrap());
        let options = ConsumerOptions {
            claim_after: Duration::from_millis(100),
            claim_every: Duration::from_millis(20),
            ..ConsumerOptions::default()
        };
        let subscription = Subscription::new("test", "one").with(options);
        Self {
            stream: bus.subscribe(&Keys::default().events(0), subscription),
            tracker: PositionTracker::new(),
            seen: BTreeMap::new(),
            duplicates: 0,
            gaps: 0,
            acknowledges: true,
        }
    }

    fn take(&mut self, batch: EventBatch) {
        let event = &batch.events[0];
        let data: serde_json::Value = serde_json::from_str(&event.data_json).unwrap();
        let told = (event.r#type.clone(), data["agent_id"].as_str().unwrap().to_owned());
        assert_eq!(self.seen.insert(batch.pos, told), None, "position {} took effect twice", batch.pos);
    }

    async fn read_log(&mut self, registry: &Registry) {
        loop {
            let request = ReadLogRequest { from_pos: self.last() + 1, limit: 2 };
            let answer = registry.internal().read_log(request).await.unwrap().into_inner();
            assert!(!answer.gone);
            if answer.batches.is_empty() {
                return;
            }
            for batch in answer.batches {
                let batch = EventBatch::decode(batch.as_slice()).unwrap();
                self.tracker.restore("local", Position::REGISTRY, batch.pos);
                self.take(batch);
            }
        }
    }

    fn last(&self) -> u64 {
        self.tracker.last("local", Position::REGISTRY)
    }

    async fn handle(&mut self, registry: &Registry, message: &bus::Message) {
        let Some(at) = message.position().cloned() else { return };
        let mut verdict = self.tracker.check(&at);
        if matches!(verdict, Verdict::Gap { .. }) {
            self.gaps += 1;
            self.read_log(registry).await;
            verdict = self.tracker.check(&at);
        }
        match verdict {
            Verdict::InOrder => {
                self.tracker.advance(&at);
                self.take(EventBatch::decode(message.body().clone()).unwrap());
            }
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::Gap { .. } => unreachable!("a fetched gap is closed"),
        }
    }

    /// Follows until `done`.
    async fn until(&mut self, registry: &Registry, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + LONG;
        let acks = self.stream.acks();
        while !done(self) {
            let received = tokio::time::timeout_at(deadline, self.stream.next()).await;
            let received = received.unwrap_or_else(|_| panic!("never: {what}; {:?}", self.seen)).unwrap();
            match received {
                Received::CatchUp(_) => self.read_log(registry).await,
                Received::Batch(batch) => {
                    for delivery in &batch {
                        self.handle(registry, &delivery.message).await;
                    }
                    if self.acknowledges {
                        let receipts: Vec<_> = batch.iter().map(|d| d.receipt).collect();
                        acks.ack(&receipts).await.unwrap();
                    }
                }
            }
        }
    }

    fn told(&self) -> Vec<(&str, &str)> {
        self.seen.values().map(|(kind, id)| (kind.as_str(), id.as_str())).collect()
    }
}

async fn start(home: &Home, redis: &Redis) -> Registry {
    let url = redis.url();
    Registry::start_alone(home, move |s| {
        s.bus.url = Some(runtime::config::SecretUrl::new(url));
        s.registry.health_check_interval = Duration::from_secs(3600);
    })
    .await
}

async fn force_delete(registry: &Registry, id: &str) {
    let request = DeleteAgentRequest { agent_id: id.into(), force: true, refuse_if_busy: false };
    registry.client().delete_agent(request).await.unwrap();
}

/// Waits until the stream holds `count` messages that have a position, and gives their ids.
async fn entries(bus: &RedisBus, count: usize) -> Vec<bus::EntryId> {
    testkit::wait_for("the events on the stream", LONG, async || {
        let read = bus.read(&Keys::default().events(0), None, 1000).await.unwrap();
        let told: Vec<_> = read.iter().filter(|(_, m)| m.position().is_some()).map(|(id, _)| *id).collect();
        (told.len() >= count).then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_gives_no_double_and_a_gap_is_fetched() {
    for home in Home::both() {
        let redis = Redis::start();
        let bus = RedisBus::new(&redis.url(), RedisOptions::default()).unwrap();
        let registry = start(&home, &redis).await;
        for id in ["a", "b", "c"] {
            registry.register(agent(id, json!({}))).await.unwrap();
        }

        // Nothing is acknowledged, so everything comes again and again.
        let mut consumer = Consumer::new(&redis);
        consumer.acknowledges = false;
        consumer.until(&registry, "three events", |c| c.seen.len() == 3).await;
        consumer.until(&registry, "a redelivery", |c| c.duplicates >= 3).await;
        consumer.acknowledges = true;
        let registered = [("agent.registered", "a"), ("agent.registered", "b"), ("agent.registered", "c")];
        assert_eq!(consumer.told(), registered, "{}", home.name());

        // One event is lost from the stream before it was read: the next one shows the gap.
        entries(&bus, 3).await;
        force_delete(&registry, "a").await;
        let lost = entries(&bus, 4).await[3];
        redis.command(&["XDEL", Keys::default().events(0).key(), &lost.to_string()]);
        force_delete(&registry, "b").await;
        consumer.until(&registry, "both removals", |c| c.seen.len() == 5).await;
        assert_eq!(consumer.told()[3..], [("agent.removed", "a"), ("agent.removed", "b")]);
        assert_eq!(consumer.gaps, 1, "{}", home.name());

        // All is lost from the bus, and the registry starts again: it goes on where it was.
        registry.stop().await;
        redis.command(&["FLUSHALL"]);
        let registry = start(&home, &redis).await;
        force_delete(&registry, "c").await;
        consumer.until(&registry, "the last removal", |c| c.seen.len() == 6).await;
        assert_eq!(consumer.told()[5], ("agent.removed", "c"));

        // Who reads for the first time has a gap from the beginning on, and fetches it.
        let mut late = Consumer::new(&redis);
        late.stream = {
            let bus: Arc<dyn Bus> = Arc::new(bus.clone());
            bus.subscribe(&Keys::default().events(0), Subscription::new("late", "one"))
        };
        late.until(&registry, "everything", |c| c.seen.len() == 6).await;
        assert_eq!(late.seen, consumer.seen);
        registry.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_gives_is_what_was_published() {
    let (home, redis) = (Home::postgres(), Redis::start());
    let bus = RedisBus::new(&redis.url(), RedisOptions::default()).unwrap();
    let registry = start(&home, &redis).await;
    for id in ["a", "b"] {
        registry.register(agent(id, json!({}))).await.unwrap();
        force_delete(&registry, id).await;
    }
    entries(&bus, 4).await;
    let read = bus.read(&Keys::default().events(0), None, 1000).await.unwrap();
    let published: Vec<_> = read.iter().filter(|(_, m)| m.position().is_some()).map(|(_, m)| m).collect();
    let request = ReadLogRequest { from_pos: 1, limit: 0 };
    let log = registry.internal().read_log(request).await.unwrap().into_inner();
    let bodies: Vec<_> = published.iter().map(|m| m.body().to_vec()).collect();
    assert_eq!(log.batches.iter().map(|b| b.to_vec()).collect::<Vec<_>>(), bodies);
    let positions: Vec<_> =
        published.iter().filter_map(|m| m.position()).map(|p| (p.previous, p.pos)).collect();
    assert_eq!(positions, [(0, 1), (1, 2), (2, 3), (3, 4)]);
    assert_eq!((log.last_pos, log.gone), (4, false));
    registry.stop().await;
}
