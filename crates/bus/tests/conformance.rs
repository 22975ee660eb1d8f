//! The contract of the bus, run on both backends.

mod common;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bus::{
    CatchUp, ConsumerOptions, DeadLetter, Family, GroupStats, Limits, Message, Position, PublishError,
    Received,
    Sharing::{Exclusive, Shared},
    header,
};
use testkit::wait_for;

use common::*;

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    for bed in every_bed() {
        let stream = bed.keys.events(1);
        let position = Position { cluster: "eu west".into(), shard: 7, incarnation: 3, pos: 9, previous: 7 };
        let sent = Message::new(vec![0u8, 255, 13, 10])
            .with_header(header::TENANT, "acme")
            .with_header("raw", vec![0u8, 200])
            .at(position);
        let ids = bed.bus.publish(&stream, &[sent.clone(), Message::new("")]).await.unwrap();
        let mut consumer = join_new(&bed, &stream, "g", "a", patient(Exclusive)).await;
        let got = take(&bed, &mut consumer, 2).await;
        assert_eq!(got[0].message, sent, "{}", bed.name);
        assert!(got[1].message.body().is_empty(), "{}", bed.name);
        assert_eq!(got.iter().map(|d| d.id()).collect::<Vec<_>>(), ids, "{}", bed.name);
        assert_eq!((got[0].deliveries, got[0].exhausted), (1, false), "{}", bed.name);
    }
}

#[tokio::test]
async fn a_stream_keeps_its_order() {
    for bed in every_bed() {
        let stream = bed.keys.events(1);
        let mut consumer = join_new(&bed, &stream, "g", "a", patient(Exclusive)).await;
        for start in (0..3000).step_by(700) {
            publish(&bed, &stream, start..(start + 700).min(3000)).await;
        }
        let got = take(&bed, &mut consumer, 3000).await;
        assert_eq!(numbers(&got), (0..3000).collect::<Vec<_>>(), "{}", bed.name);
        assert!(got.is_sorted_by_key(|d| d.id()), "{}", bed.name);
    }
}

#[tokio::test]
async fn every_group_gets_everything_and_each_entry_goes_to_one_of_its_consumers() {
    for bed in every_bed() {
        let stream = bed.keys.events(1);
        let mut alone = join_new(&bed, &stream, "alone", "a", patient(Exclusive)).await;
        let mut first = join_new(&bed, &stream, "team", "a", patient(Shared)).await;
        let options = ConsumerOptions { batch_max: 5, ..patient(Shared) };
        let mut second = join(&bed, &stream, "team", "b", options);
        publish(&bed, &stream, 0..20).await;
        assert_eq!(numbers(&take(&bed, &mut alone, 20).await), (0..20).collect::<Vec<_>>(), "{}", bed.name);
        let half = batch(&bed, &mut second).await;
        assert_eq!(half.len(), 5, "{}", bed.name);
        let rest = take(&bed, &mut first, 15).await;
        let both: BTreeSet<_> = numbers(&half).into_iter().chain(numbers(&rest)).collect();
        assert_eq!(both, (0..20).collect(), "{}", bed.name);
    }
}

#[tokio::test]
async fn a_group_that_comes_late_reads_from_the_start() {
    for bed in every_bed() {
        let stream = bed.keys.topics(1);
        let mut early = join_new(&bed, &stream, "early", "a", patient(Exclusive)).await;
        publish(&bed, &stream, 0..3).await;
        let got = take(&bed, &mut early, 3).await;
        early.acks().ack(&receipts(&got)).await.unwrap();
        let mut late = join_new(&bed, &stream, "late", "a", patient(Exclusive)).await;
        assert_eq!(numbers(&take(&bed, &mut late, 3).await), [0, 1, 2], "{}", bed.name);
    }
}

#[tokio::test]
async fn what_a_dead_consumer_held_goes_to_another_once_it_is_idle() {
    for bed in every_bed() {
        let stream = bed.keys.tasks("pool");
        let mut dead = join_new(&bed, &stream, "workers", "dead", patient(Shared)).await;
        publish(&bed, &stream, 0..3).await;
        let held = take(&bed, &mut dead, 3).await;
        dead.acks().ack(&receipts(&held[..1])).await.unwrap();
        drop(dead);
        let mut heir = join(&bed, &stream, "workers", "heir", quick(Shared));
        let again = take(&bed, &mut heir, 2).await;
        assert_eq!(numbers(&again), [1, 2], "{}", bed.name);
        assert!(again.iter().all(|d| d.deliveries == 2 && !d.exhausted), "{}", bed.name);
        heir.acks().ack(&receipts(&again)).await.unwrap();
        assert!(is_quiet(&mut heir).await, "{}: what is acknowledged does not come again", bed.name);
    }
}

#[tokio::test]
async fn entries_that_are_being_handled_stay_where_they_are() {
    for bed in every_bed() {
        let stream = bed.keys.tasks("pool");
        let mut busy = join_new(&bed, &stream, "workers", "busy", patient(Shared)).await;
        publish(&bed, &stream, 0..1).await;
        let held = take(&bed, &mut busy, 1).await;
        let mut other = join(&bed, &stream, "workers", "other", patient(Shared));
        assert!(is_quiet(&mut other).await, "{}", bed.name);
        busy.acks().ack(&receipts(&held)).await.unwrap();
    }
}

#[tokio::test]
async fn an_exclusive_consumer_claims_all_that_is_pending_before_it_reads_on() {
    for bed in every_bed() {
        let stream = bed.keys.events(1);
        let mut first = join_new(&bed, &stream, "g", "first", patient(Exclusive)).await;
        publish(&bed, &stream, 0..600).await;
        let held = take(&bed, &mut first, 600).await;
        first.acks().ack(&receipts(&held[..100])).await.unwrap();
        publish(&bed, &stream, 600..700).await;
        let mut next_owner = join(&bed, &stream, "g", "second", patient(Exclusive));
        let got = take(&bed, &mut next_owner, 600).await;
        assert_eq!(numbers(&got), (100..700).collect::<Vec<_>>(), "{}", bed.name);
        let again = got.iter().filter(|d| d.deliveries == 2).count();
        assert_eq!(again, 500, "{}", bed.name);
    }
}

#[tokio::test]
async fn a_restarted_consumer_gets_its_own_pending_entries_first() {
    for bed in every_bed() {
        let stream = bed.keys.tasks("pool");
        let mut before = join_new(&bed, &stream, "workers", "same", patient(Shared)).await;
        publish(&bed, &stream, 0..2).await;
        take(&bed, &mut before, 2).await;
        drop(before);
        publish(&bed, &stream, 2..3).await;
        let mut after = join(&bed, &stream, "workers", "same", patient(Shared));
        assert_eq!(numbers(&take(&bed, &mut after, 3).await), [0, 1, 2], "{}", bed.name);
    }
}

#[tokio::test]
async fn a_released_entry_comes_again_soon() {
    for bed in every_bed() {
        let stream = bed.keys.tasks("pool");
        let mut consumer = join_new(&bed, &stream, "workers", "a", patient(Shared)).await;
        publish(&bed, &stream, 0..2).await;
        let held = take(&bed, &mut consumer, 2).await;
        consumer.acks().release(&receipts(&held[1..])).await.unwrap();
        let again = take(&bed, &mut consumer, 1).await;
        assert_eq!((number(&again[0]), again[0].deliveries), (1, 2), "{}", bed.name);
    }
}

#[tokio::test]
async fn an_extended_entry_is_not_claimed_and_only_its_holder_extends() {
    for bed in every_bed() {
        let stream = bed.keys.tasks("pool");
        let mut slow = join_new(&bed, &stream, "workers", "slow", patient(Shared)).await;
        publish(&bed, &stream, 0..1).await;
        let held = receipts(&take(&bed, &mut slow, 1).await);
        let acks = slow.acks();
        acks.release(&held).await.unwrap();
        acks.extend(&held).await.unwrap();
        let options = ConsumerOptions { claim_after: Duration::from_secs(3600), ..quick(Shared) };
        let mut other = join(&bed, &stream, "workers", "other", options);
        assert!(is_quiet(&mut other).await, "{}: extending takes a release back", bed.name);
        acks.release(&held).await.unwrap();
        assert_eq!(take(&bed, &mut other, 1).await.len(), 1, "{}", bed.name);
        acks.release(&held).await.unwrap();
        assert!(
            is_quiet(&mut other).await,
            "{}: a loser's release does not touch the winner's entry",
            bed.name
        );
    }
}

#[tokio::test]
async fn a_next_that_is_dropped_loses_nothing() {
    for bed in every_bed() {
        let stream = bed.keys.events(1);
        let mut consumer = join_new(&bed, &stream, "g", "a", patient(Exclusive)).await;
        let mut got = Vec::new();
        for n in 0..50 {
            publish(&bed, &stream, n..n + 1).await;
            if let Ok(Ok(Received::Batch(batch))) =
                tokio::time::timeout(Duration::from_micros(n as u64 * 20), consumer.next()).await
            {
                got.extend(numbers(&batch));
            }
        }
        while got.len() < 50 {
            got.extend(numbers(&batch(&bed, &mut consumer).await));
        }
        assert_eq!(got, (0..50).collect::<Vec<_>>(), "{}", bed.name);
    }
}

#[tokio::test]
async fn an_emptied_backend_is_noticed_and_the_stream_goes_on() {
    for bed in wipeable_beds() {
        let stream = bed.keys.events(1);
        let mut waiting = join_new(&bed, &stream, "g", "a", quick(Exclusive)).await;
        publish(&bed, &stream, 0..2).await;
        let held = take(&bed, &mut waiting, 2).await;
        // Once while it waits for entries, once while it is busy elsewhere.
        let waiter = tokio::spawn(async move { (waiting.next().await, waiting) });
        bed.wipe();
        let (woken, mut busy) = tokio::time::timeout(DEADLINE, waiter).await.expect("it wakes").unwrap();
        assert!(matches!(woken, Ok(Received::CatchUp(CatchUp::GroupCreated))), "{}: {woken:?}", bed.name);
        bed.wipe();
        publish(&bed, &stream, 2..4).await;
        assert_eq!(catch_up(&bed, &mut busy).await, CatchUp::GroupCreated, "{}", bed.name);
        assert_eq!(numbers(&take(&bed, &mut busy, 2).await), [2, 3], "{}", bed.name);
        busy.acks().ack(&receipts(&held)).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_queue_holds_publishers_back_until_something_is_acknowledged() {
    let limits =
        Limits { queue_len_max: 10, publish_timeout: Duration::from_millis(100), ..Limits::default() };
    for bed in beds(&limits) {
        let stream = bed.keys.commands(1);
        let mut consumer = join_new(&bed, &stream, "executor", "a", patient(Exclusive)).await;
        let too_many: Vec<_> = (0..14).map(message).collect();
        let refused = bed.bus.publish(&stream, &too_many).await.unwrap_err();
        let PublishError::Full { accepted, .. } = refused else { panic!("{}: {refused}", bed.name) };
        assert_eq!(accepted, 10, "{}", bed.name);
        assert_eq!(
            bed.bus.metrics().family(Family::Commands).full.load(std::sync::atomic::Ordering::Relaxed),
            1
        );

        let held = take(&bed, &mut consumer, 10).await;
        let refused = bed.bus.publish(&stream, &too_many[10..]).await;
        assert!(is_full(&refused), "{}: what is handed out and not acknowledged counts", bed.name);
        consumer.acks().ack(&receipts(&held)).await.unwrap();
        bed.bus.publish(&stream, &too_many[10..]).await.unwrap();
        assert_eq!(numbers(&take(&bed, &mut consumer, 4).await), [10, 11, 12, 13], "{}", bed.name);
    }
}

#[tokio::test]
async fn a_publisher_that_waits_goes_on_when_room_comes_up() {
    let limits = Limits { queue_len_max: 5, publish_timeout: DEADLINE, ..Limits::default() };
    for bed in beds(&limits) {
        let stream = bed.keys.tasks("pool");
        let mut consumer = join_new(&bed, &stream, "workers", "a", patient(Shared)).await;
        let (bus, to) = (bed.bus.clone(), stream.clone());
        let publisher = tokio::spawn(async move {
            let messages: Vec<_> = (0..200).map(message).collect();
            bus.publish(&to, &messages).await
        });
        let mut got = Vec::new();
        while got.len() < 200 {
            let batch = batch(&bed, &mut consumer).await;
            consumer.acks().ack(&receipts(&batch)).await.unwrap();
            got.extend(numbers(&batch));
        }
        assert_eq!(publisher.await.unwrap().unwrap().len(), 200, "{}", bed.name);
        assert_eq!(got, (0..200).collect::<Vec<_>>(), "{}", bed.name);
    }
}

#[tokio::test]
async fn a_lagging_group_holds_a_bounded_log_back_and_a_dead_one_is_told_what_it_missed() {
    let limits = Limits {
        log_len_max: 10,
        publish_timeout: Duration::from_millis(100),
        live_within: Duration::from_secs(2),
        ..Limits::default()
    };
    for bed in beds(&limits) {
        let stream = bed.keys.events(1);
        let mut live = join_new(&bed, &stream, "live", "a", patient(Exclusive)).await;
        let dead = join_new(&bed, &stream, "dead", "a", patient(Exclusive)).await;
        drop(dead);
        publish(&bed, &stream, 0..10).await;
        let held = take(&bed, &mut live, 10).await;
        let refused = bed.bus.publish(&stream, &[message(10)]).await;
        assert!(is_full(&refused), "{}: a live group has handled nothing", bed.name);
        live.acks().ack(&receipts(&held)).await.unwrap();
        wait_for("room once the live group has handled its entries", DEADLINE, async || {
            bed.bus.publish(&stream, &[message(10)]).await.ok()
        })
        .await;
        assert_eq!(numbers(&take(&bed, &mut live, 1).await), [10], "{}", bed.name);
        let mut back = join(&bed, &stream, "dead", "a", patient(Exclusive));
        let mut seen = Vec::new();
        let mut told = false;
        while seen.last() != Some(&10) {
            match next(&bed, &mut back).await {
                Received::CatchUp(notice) => told |= notice == CatchUp::Trimmed,
                Received::Batch(batch) => seen.extend(numbers(&batch)),
            }
        }
        if !told {
            assert_eq!(catch_up(&bed, &mut back).await, CatchUp::Trimmed, "{}", bed.name);
        }
        assert!(seen.len() < 11 && seen.is_sorted(), "{}: {seen:?}", bed.name);
    }
}

#[tokio::test]
async fn the_smallest_bounds_still_let_a_stream_work() {
    let limits = Limits { log_len_max: 1, queue_len_max: 1, ..Limits::default() };
    for bed in beds(&limits) {
        for stream in [bed.keys.events(1), bed.keys.commands(1)] {
            let options = ConsumerOptions { batch_max: 0, claim_every: Duration::ZERO, ..quick(Exclusive) };
            let mut consumer = join_new(&bed, &stream, "g", "a", options).await;
            for n in 0..3 {
                publish(&bed, &stream, n..n + 1).await;
                let got = take(&bed, &mut consumer, 1).await;
                assert_eq!(numbers(&got), [n], "{} {stream}", bed.name);
                consumer.acks().ack(&receipts(&got)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn trimming_by_age_tells_the_groups_that_had_not_handled_an_entry() {
    let limits = Limits { retention: Duration::from_millis(1), ..Limits::default() };
    for bed in beds(&limits) {
        let stream = bed.keys.events(1);
        let mut done = join_new(&bed, &stream, "done", "a", patient(Exclusive)).await;
        let mut pending = join_new(&bed, &stream, "pending", "a", patient(Exclusive)).await;
        let mut unread = join_new(&bed, &stream, "unread", "a", patient(Exclusive)).await;
        // A publish may trim what lies there already, never what it adds.
        publish(&bed, &stream, 0..3).await;
        let handled = take(&bed, &mut done, 3).await;
        done.acks().ack(&receipts(&handled)).await.unwrap();
        take(&bed, &mut pending, 3).await;
        let mut removed = 0;
        wait_for("the entries to grow old", DEADLINE, async || {
            removed += bed.bus.trim(&stream).await.unwrap();
            (removed == 3).then_some(())
        })
        .await;
        assert_eq!(catch_up(&bed, &mut pending).await, CatchUp::Trimmed, "{}", bed.name);
        assert_eq!(catch_up(&bed, &mut unread).await, CatchUp::Trimmed, "{}", bed.name);
        assert!(is_quiet(&mut done).await, "{}: who had handled them is not disturbed", bed.name);
        assert_eq!(bed.bus.read(&stream, None, 10).await.unwrap(), [], "{}", bed.name);
    }
}

#[tokio::test]
async fn queues_are_never_trimmed() {
    let limits = Limits { retention: Duration::ZERO, ..Limits::default() };
    for bed in beds(&limits) {
        let stream = bed.keys.tasks("pool");
        publish(&bed, &stream, 0..3).await;
        assert_eq!(bed.bus.trim(&stream).await, Ok(0), "{}", bed.name);
        let mut consumer = join_new(&bed, &stream, "workers", "a", patient(Shared)).await;
        assert_eq!(take(&bed, &mut consumer, 3).await.len(), 3, "{}", bed.name);
    }
}

#[tokio::test]
async fn poison_is_flagged_announced_and_out_of_the_way() {
    for bed in every_bed() {
        let stream = bed.keys.events(1);
        let options = ConsumerOptions { deliveries_max: 2, ..quick(Exclusive) };
        let mut consumer = join_new(&bed, &stream, "scaler", "a", options).await;
        let poison = Message::new("poison").with_header(header::TENANT, "acme");
        let ids = bed.bus.publish(&stream, &[poison]).await.unwrap();
        for expected in [(1, false), (2, false), (3, true)] {
            let got = take(&bed, &mut consumer, 1).await;
            assert_eq!((got[0].deliveries, got[0].exhausted), expected, "{}", bed.name);
            if !got[0].exhausted {
                continue;
            }
            let letter = DeadLetter::of(&stream, "scaler", &got[0], "cannot be read");
            bed.bus.publish(&bed.keys.dead_letters(), &[letter.to_message()]).await.unwrap();
            consumer.acks().ack(&receipts(&got)).await.unwrap();
        }
        assert!(is_quiet(&mut consumer).await, "{}", bed.name);
        let announced = bed.bus.read(&bed.keys.dead_letters(), None, 10).await.unwrap();
        let letter = DeadLetter::from_message(&announced[0].1).unwrap();
        assert_eq!(
            (letter.tenant.as_str(), letter.id, letter.deliveries),
            ("acme", ids[0], 3),
            "{}",
            bed.name
        );
        let counted = bed.bus.metrics().family(Family::Events);
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((of(&counted.delivered), of(&counted.redelivered), of(&counted.exhausted)), (3, 2, 1));
        assert_eq!((of(&counted.published), of(&counted.acknowledged)), (1, 1), "{}", bed.name);
        assert_eq!(counted.handling().buckets.iter().sum::<u64>(), 1, "{}", bed.name);
    }
}

#[tokio::test]
async fn lag_and_pending_are_counted() {
    for bed in every_bed() {
        for stream in [bed.keys.events(1), bed.keys.commands(1)] {
            let stats = async || bed.bus.stats(&stream, "g").await.unwrap();
            assert_eq!(stats().await, GroupStats::default(), "{} {stream}", bed.name);
            publish(&bed, &stream, 0..10).await;
            assert_eq!((stats().await.lag, stats().await.length), (10, 10), "{} {stream}", bed.name);
            let options = ConsumerOptions { batch_max: 4, ..patient(Exclusive) };
            let mut consumer = join_new(&bed, &stream, "g", "a", options).await;
            let got = batch(&bed, &mut consumer).await;
            let seen = stats().await;
            assert_eq!((seen.lag, seen.pending, seen.consumers), (6, 4, 1), "{} {stream}", bed.name);
            consumer.acks().ack(&receipts(&got[..3])).await.unwrap();
            let seen = stats().await;
            assert_eq!((seen.lag, seen.pending), (6, 1), "{} {stream}", bed.name);
            wait_for("the idle time to grow", DEADLINE, async || {
                (stats().await.oldest_pending_ms > 0).then_some(())
            })
            .await;
            let kept = bed.bus.metrics().groups();
            let kept = kept.iter().find(|((of, group), _)| *of == stream && group == "g");
            assert_eq!(kept.map(|(_, stats)| stats.pending), Some(1), "{} {stream}", bed.name);
            let key = (stream.clone(), "g".to_owned());
            assert!(bed.bus.metrics().followed().contains(&key), "{} {stream}", bed.name);
            // Whoever follows it next gives the figures.
            drop(consumer);
            wait_for("the group to be followed no longer", DEADLINE, async || {
                (!bed.bus.metrics().followed().contains(&key)).then_some(())
            })
            .await;
            assert!(bed.bus.metrics().groups().iter().all(|(of, _)| *of != key), "{} {stream}", bed.name);
        }
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_before_anything_is_sent() {
    let limits = Limits { message_bytes_max: 1000, ..Limits::default() };
    for bed in beds(&limits) {
        let stream = bed.keys.events(1);
        let refused = bed.bus.publish(&stream, &[message(0), Message::new(vec![0; 1000])]).await;
        let Err(PublishError::TooLarge { index, bytes_max, .. }) = refused else {
            panic!("{}: {refused:?}", bed.name)
        };
        assert_eq!((index, bytes_max), (1, 1000), "{}", bed.name);
        assert_eq!(bed.bus.read(&stream, None, 10).await.unwrap(), [], "{}", bed.name);
    }
}

#[tokio::test]
async fn a_stream_can_be_read_in_pages_outside_of_any_group() {
    for bed in every_bed() {
        let stream = bed.keys.dead_letters();
        publish(&bed, &stream, 0..5).await;
        let first = bed.bus.read(&stream, None, 2).await.unwrap();
        let second = bed.bus.read(&stream, first.last().map(|(id, _)| *id), 10).await.unwrap();
        let bodies: Vec<_> = first.iter().chain(&second).map(|(_, m)| m.body().to_vec()).collect();
        assert_eq!(bodies, [b"0", b"1", b"2", b"3", b"4"], "{}", bed.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publishers_and_consumers_lose_and_double_nothing() {
    for bed in every_bed() {
        let stream = bed.keys.tasks("pool");
        drop(join_new(&bed, &stream, "workers", "first", patient(Shared)).await);
        let publishers = (0..4).map(|p| {
            let (bus, stream) = (bed.bus.clone(), stream.clone());
            tokio::spawn(async move {
                for start in (0..1000).step_by(50) {
                    let messages: Vec<_> = (start..start + 50).map(|n| message(p * 1000 + n)).collect();
                    bus.publish(&stream, &messages).await.unwrap();
                }
            })
        });
        let publishers: Vec<_> = publishers.collect();
        let handled = Arc::new(std::sync::Mutex::new(Vec::new()));
        let consumers: Vec<_> = (0..4)
            .map(|c| {
                let mut consumer = join(&bed, &stream, "workers", &format!("c{c}"), patient(Shared));
                let handled = handled.clone();
                tokio::spawn(async move {
                    while let Ok(Received::Batch(batch)) = consumer.next().await {
                        consumer.acks().ack(&receipts(&batch)).await.unwrap();
                        handled.lock().unwrap().extend(numbers(&batch));
                    }
                })
            })
            .collect();
        for publisher in publishers {
            publisher.await.unwrap();
        }
        wait_for("all to be handled", DEADLINE, async || {
            (handled.lock().unwrap().len() >= 4000).then_some(())
        })
        .await;
        consumers.iter().for_each(|consumer| consumer.abort());
        let mut handled = handled.lock().unwrap().clone();
        handled.sort_unstable();
        assert_eq!(handled, (0..4000).collect::<Vec<_>>(), "{}", bed.name);
        let stats = bed.bus.stats(&stream, "workers").await.unwrap();
        assert_eq!((stats.length, stats.pending, stats.lag), (0, 0, 0), "{}: nothing stays", bed.name);
    }
}
