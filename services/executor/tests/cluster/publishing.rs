//! The log on the bus: in order, complete, again after every loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base::ExecutionId;
use bus::{PositionTracker, Received, RedisBus, RedisOptions, Subscription, Verdict};
use executor::cluster::Options;
use prost::Message as _;
use proto::{event::v1::EventBatch, executor::internal::v1::ReadLogRequest};
use testkit::wait_for;

use crate::kit::{Replica, SHARDS, SOON, World, all_completed, keys};

/// A consumer as every service is one: positions decide, gaps are read from the log.
#[derive(Default)]
struct Consumer {
    tracker: PositionTracker,
    /// Event types and seqs by execution, in the order in which they took effect.
    seen: BTreeMap<String, Vec<(u64, String)>>,
    /// Positions by shard, to prove that none took effect twice.
    positions: BTreeSet<(u32, u64)>,
    gaps: u32,
    duplicates: u32,
}

impl Consumer {
    fn take(&mut self, batch: EventBatch) {
        assert!(self.positions.insert((batch.shard, batch.pos)), "position {} twice", batch.pos);
        for event in batch.events {
            self.seen.entry(event.execution_id).or_default().push((event.seq, event.r#type));
        }
    }

    async fn read_log(&mut self, replica: &Replica, shard: u32) {
        loop {
            let after = self.tracker.last("test", shard);
            let request = ReadLogRequest { shard, from_pos: after + 1, limit: 7 };
            let answer = replica.cluster.read_log(&request).await.unwrap();
            if answer.batches.is_empty() {
                return;
            }
            for batch in answer.batches {
                let batch = EventBatch::decode(batch).unwrap();
                self.tracker.restore("test", shard, batch.pos);
                self.take(batch);
            }
        }
    }

    async fn deliver(&mut self, replica: &Replica, message: &bus::Message) {
        let at = message.position().unwrap().clone();
        if matches!(self.tracker.check(&at), Verdict::Gap { .. }) {
            self.gaps += 1;
            self.read_log(replica, at.shard).await;
        }
        match self.tracker.check(&at) {
            Verdict::InOrder => {
                self.tracker.advance(&at);
                self.take(EventBatch::decode(message.body().clone()).unwrap());
            }
            _ => self.duplicates += 1,
        }
    }

    /// Follows all partitions until every one of `ids` was seen to end.
    async fn follow(&mut self, world: &World, replica: &Replica, partitions: u32, ids: &[ExecutionId]) {
        let mut consumers: Vec<_> = (0..partitions)
            .map(|p| world.bus.subscribe(&world.keys.events(p), Subscription::new("test", "t")))
            .collect();
        let done = |consumer: &Self| {
            ids.iter().all(|id| {
                let seen = consumer.seen.get(&id.to_string());
                seen.is_some_and(|s| {
                    s.last().is_some_and(|(_, kind)| kind == "workflow.status_changed") && s.len() >= 14
                })
            })
        };
        let deadline = tokio::time::Instant::now() + SOON;
        while !done(self) {
            assert!(tokio::time::Instant::now() < deadline, "not everything arrived: {:?}", self.seen);
            for consumer in &mut consumers {
                let acks = consumer.acks();
                match tokio::time::timeout(Duration::from_millis(20), consumer.next()).await {
                    Ok(Ok(Received::Batch(batch))) => {
                        for delivery in &batch {
                            self.deliver(replica, &delivery.message).await;
                        }
                        let receipts: Vec<_> = batch.iter().map(|d| d.receipt).collect();
                        let _ = acks.ack(&receipts).await;
                    }
                    Ok(Ok(Received::CatchUp(_))) => {
                        for shard in 0..u32::from(SHARDS) {
                            self.read_log(replica, shard).await;
                        }
                    }
                    Ok(Err(e)) => panic!("{e}"),
                    Err(_) => {}
                }
            }
        }
    }

    fn check(&self, ids: &[ExecutionId]) {
        for id in ids {
            let seen = &self.seen[&id.to_string()];
            assert!(seen.windows(2).all(|w| w[0].0 <= w[1].0), "out of order: {seen:?}");
            let kinds: Vec<&str> = seen.iter().map(|(_, kind)| kind.as_str()).collect();
            assert_eq!(kinds.iter().filter(|k| **k == "task.completed").count(), 3, "{kinds:?}");
            assert_eq!(kinds.iter().filter(|k| **k == "agent.task_assigned").count(), 3, "{kinds:?}");
            assert_eq!(kinds[0], "workflow.execution_started");
        }
    }
}

async fn start_all(replica: &Replica, each: usize) -> Vec<ExecutionId> {
    let mut ids = Vec::new();
    for key in keys(each) {
        ids.push(replica.start(&key).await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_reaches_the_bus_in_order_and_reads_back_the_same() {
    let world = World::sqlite();
    let a = world.replica("a").await;
    let ids = start_all(&a, 3).await;
    let mut live = Consumer::default();
    live.follow(&world, &a, 3, &ids).await;
    live.check(&ids);
    all_completed(&a.journal, &ids).await;
    // What was published is what the log gives back, byte for byte.
    let mut published: BTreeMap<(u32, u64), EventBatch> = BTreeMap::new();
    for partition in 0..3 {
        for (_, message) in world.bus.read(&world.keys.events(partition), None, 100_000).await.unwrap() {
            let batch = EventBatch::decode(message.body().clone()).unwrap();
            published.insert((batch.shard, batch.pos), batch);
        }
    }
    assert!(!published.is_empty());
    for ((shard, pos), batch) in &published {
        let request = ReadLogRequest { shard: *shard, from_pos: *pos, limit: 1 };
        let answer = a.cluster.read_log(&request).await.unwrap();
        let read = EventBatch::decode(answer.batches[0].clone()).unwrap();
        assert_eq!(read.events, batch.events, "shard {shard} position {pos}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_in_mid_run_loses_nothing() {
    let redis = testkit::Redis::start();
    let mut world = World::postgres().await;
    world.bus = Arc::new(RedisBus::new(&redis.url(), RedisOptions::default()).unwrap());
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let flushed = start_all(&a, 2).await;
    all_completed(&a.journal, &flushed).await;
    wait_for("events on the bus", SOON, async || {
        (!world.bus.read(&world.keys.events(0), None, 10).await.unwrap().is_empty()).then_some(())
    })
    .await;
    redis.command(&["FLUSHALL"]);
    let more: Vec<ExecutionId> = {
        let mut ids = Vec::new();
        for n in 0..16 {
            ids.push(a.start(&format!("after{n}")).await);
        }
        ids
    };
    let ids: Vec<ExecutionId> = flushed.into_iter().chain(more).collect();
    let mut consumer = Consumer::default();
    consumer.follow(&world, &a, 3, &ids).await;
    consumer.check(&ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_and_a_new_owner_go_on_from_the_log() {
    let world = World::postgres().await;
    // One row fits: nearly everything is read back from the log.
    let options = Options { publish_rows_max: 1, ..world.options("a") };
    let a = world.replica_with(options).await;
    a.owns(SHARDS.into()).await;
    let mut ids = start_all(&a, 3).await;
    all_completed(&a.journal, &ids).await;
    a.die().await;
    let b = world.replica("b").await;
    b.owns(SHARDS.into()).await;
    for n in 0..8 {
        ids.push(b.start(&format!("b{n}")).await);
    }
    let mut consumer = Consumer::default();
    consumer.follow(&world, &b, 3, &ids).await;
    consumer.check(&ids);
    b.drain(SOON).await;
    let shards: Vec<u16> = (0..SHARDS).collect();
    let journal = world.journal().await;
    let published = journal.read_published(&shards).await.unwrap();
    for at in published {
        assert_eq!(at.pos, journal.last_pos(at.shard).await.unwrap(), "marked at drain");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_away_holds_nobody_up() {
    let mut redis = testkit::Redis::start();
    let mut world = World::sqlite();
    world.bus = Arc::new(RedisBus::new(&redis.url(), RedisOptions::default()).unwrap());
    let a = world.replica("a").await;
    redis.kill();
    let ids = start_all(&a, 2).await;
    all_completed(&a.journal, &ids).await;
    redis.restart();
    let mut consumer = Consumer::default();
    consumer.follow(&world, &a, 3, &ids).await;
    consumer.check(&ids);
}
