//! What only a real Redis can do: die, hang, refuse.

mod common;

use std::{sync::Arc, time::Duration};

use bus::{
    Bus as _, BusError, CatchUp, Keys, Limits, Message, Position, PositionTracker, PublishError, Received,
    RedisBus, RedisOptions,
    Sharing::{Exclusive, Shared},
    Subscription, Verdict,
};
use testkit::{Redis, free_port, unique_name, wait_for};

use common::*;

/// A log with positions, a publisher that follows it, and a consumer that re-reads it: nothing is lost and nothing
/// takes effect twice, whatever happens to Redis.
#[tokio::test]
async fn redis_killed_and_restarted_empty_loses_nothing_that_stands_in_a_log() {
    let mut server = Redis::start();
    let bus = Arc::new(redis_bus(&server.url(), &Limits::default()));
    let stream = Keys::default().events(1);
    let entry = |pos: u64| {
        let at = Position { cluster: "c".into(), shard: 1, incarnation: 1, pos, previous: pos - 1 };
        Message::new(pos.to_string().into_bytes()).at(at)
    };
    let publish_all = async |positions: std::ops::RangeInclusive<u64>| {
        let messages: Vec<_> = positions.map(entry).collect();
        wait_for("Redis to take the messages", DEADLINE, async || bus.publish(&stream, &messages).await.ok())
            .await
    };
    let mut consumer = bus.subscribe(&stream, Subscription::new("g", "a").with(quick(Exclusive)));
    let mut tracker = PositionTracker::new();
    let mut effects: Vec<u64> = Vec::new();
    let mut group_created = 0;

    publish_all(1..=50).await;
    let mut killed = 0;
    while tracker.last("c", 1) < 300 {
        let received =
            tokio::time::timeout(DEADLINE, consumer.next()).await.expect("the stream goes on").unwrap();
        let batch = match received {
            Received::CatchUp(CatchUp::GroupCreated) => {
                group_created += 1;
                continue;
            }
            Received::CatchUp(CatchUp::Trimmed) => continue,
            Received::Batch(batch) => batch,
        };
        for delivery in &batch {
            let at = delivery.message.position().expect("every message has one");
            if let Verdict::Gap { after, until } = tracker.check(at) {
                effects.extend(after + 1..=until);
                tracker.restore("c", 1, until);
            }
            if tracker.check(at) == Verdict::InOrder {
                effects.push(at.pos);
                tracker.advance(at);
            }
        }
        // The acknowledgement may fail with the connection: the entries come again, as duplicates.
        let _ = consumer.acks().ack(&receipts(&batch)).await;
        if tracker.last("c", 1) == 50 && killed == 0 {
            // 51 to 100 are published and lost before anybody reads them.
            killed = 1;
            publish_all(51..=100).await;
            server.kill();
            server.restart_empty();
            publish_all(101..=200).await;
        } else if tracker.last("c", 1) == 200 && killed == 1 {
            killed = 2;
            server.command(&["FLUSHALL"]);
            publish_all(201..=300).await;
        }
    }
    assert_eq!(effects, (1..=300).collect::<Vec<_>>());
    assert_eq!(group_created, 3, "once at the start and once for each loss");
}

#[tokio::test]
async fn a_consumer_waits_for_a_redis_that_is_not_there_yet() {
    let port = free_port();
    let bus = redis_bus(&format!("redis://127.0.0.1:{port}"), &Limits::default());
    let stream = Keys::default().events(1);
    let refused = bus.publish(&stream, &[message(1)]).await;
    assert!(matches!(refused, Err(PublishError::Unavailable { .. })), "{refused:?}");
    assert!(matches!(bus.ping().await, Err(BusError::Unavailable(_))));
    let mut consumer = bus.subscribe(&stream, Subscription::new("g", "a"));
    assert!(is_quiet(&mut consumer).await);
}

#[tokio::test]
async fn a_redis_that_hangs_ends_calls_with_a_typed_error_and_is_used_again_when_it_wakes() {
    let server = Redis::start();
    let options = RedisOptions { command_timeout: Duration::from_millis(300), ..RedisOptions::default() };
    let bus = RedisBus::new(&server.url(), options).unwrap();
    let stream = Keys::default().events(1);
    bus.publish(&stream, &[message(0)]).await.unwrap();
    server.pause();
    let refused = bus.publish(&stream, &[message(1)]).await;
    assert!(matches!(refused, Err(PublishError::Unavailable { .. })), "{refused:?}");
    server.resume();
    wait_for("Redis to be used again", DEADLINE, async || bus.ping().await.ok()).await;
    bus.publish(&stream, &[message(2)]).await.unwrap();
}

#[tokio::test]
async fn a_redis_out_of_memory_is_a_full_stream() {
    let server = Redis::start();
    let bus = redis_bus(&server.url(), &Limits::default());
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = bus.publish(&Keys::default().events(1), &[message(1)]).await;
    assert!(is_full(&refused), "{refused:?}");
}

#[tokio::test]
async fn what_a_retry_cannot_mend_is_said_at_once() {
    for url in ["", "http://x", "redis://:secret@host:notaport"] {
        let Err(BusError::Misconfigured(text)) = RedisBus::new(url, RedisOptions::default()) else {
            panic!("{url:?} is accepted")
        };
        assert!(!text.contains("secret"), "{text}");
    }

    let server = Redis::shared();
    let bus = redis_bus(&server.url(), &Limits::default());
    let stream = Keys::new(&unique_name("bus")).events(1);
    server.command(&["SET", stream.key(), "not a stream"]);
    let refused = bus.publish(&stream, &[message(1)]).await;
    assert!(matches!(refused, Err(PublishError::Misconfigured { .. })), "{refused:?}");
    let mut consumer = bus.subscribe(&stream, Subscription::new("g", "a"));
    let refused = tokio::time::timeout(DEADLINE, consumer.next()).await.expect("no retry");
    assert!(matches!(refused, Err(BusError::Misconfigured(_))), "{refused:?}");

    let locked = Redis::start();
    let open = redis_bus(&locked.url(), &Limits::default());
    locked.command(&["CONFIG", "SET", "requirepass", "secret"]);
    assert!(matches!(open.ping().await, Err(BusError::Misconfigured(_))));
}

#[tokio::test]
async fn entries_of_a_lost_reply_come_after_the_reconnect() {
    let server = Redis::start();
    let bus = redis_bus(&server.url(), &Limits::default());
    let stream = Keys::default().events(1);
    let mut consumer = bus.subscribe(&stream, Subscription::new("g", "a").with(patient(Exclusive)));
    assert!(matches!(consumer.next().await, Ok(Received::CatchUp(CatchUp::GroupCreated))));
    // Redis hands an entry to our name, and we never hear of it: as if the connection broke under the reply.
    bus.publish(&stream, &[message(1)]).await.unwrap();
    server.command(&["XREADGROUP", "GROUP", "g", "a", "STREAMS", stream.key(), ">"]);
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    let received = tokio::time::timeout(DEADLINE, consumer.next()).await.expect("it comes");
    let Ok(Received::Batch(batch)) = received else { panic!("{received:?}") };
    assert_eq!(numbers(&batch), [1]);
}

#[tokio::test]
async fn consumers_that_were_given_up_leave_the_group_unless_they_hold_something() {
    let server = Redis::shared();
    let options = RedisOptions { forget_consumer_after: Duration::from_millis(1), ..RedisOptions::default() };
    let bus = RedisBus::new(&server.url(), options).unwrap();
    let stream = Keys::new(&unique_name("bus")).tasks("pool");
    let join = |name: &str| bus.subscribe(&stream, Subscription::new("workers", name).with(patient(Shared)));
    let mut holder = join("holder");
    assert!(matches!(holder.next().await, Ok(Received::CatchUp(CatchUp::GroupCreated))));
    bus.publish(&stream, &[message(1)]).await.unwrap();
    assert!(matches!(holder.next().await, Ok(Received::Batch(_))));
    server.command(&["XGROUP", "CREATECONSUMER", stream.key(), "workers", "gone"]);
    assert_eq!(bus.stats(&stream, "workers").await.unwrap().consumers, 2);
    wait_for("the one that holds nothing to be forgotten", DEADLINE, async || {
        assert!(is_quiet(&mut join("new")).await, "the holder keeps its entry");
        let list = server.command(&["XINFO", "CONSUMERS", stream.key(), "workers"]);
        (!list.contains("gone") && list.contains("holder")).then_some(())
    })
    .await;
    assert_eq!(bus.stats(&stream, "workers").await.unwrap().pending, 1);
}
