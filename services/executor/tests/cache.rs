//! The result cache through its own interface: policies, time, room, patterns, tenants, numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{sync::Arc, time::Duration};

use base::{ErrorCode, Payload, Tenant};
use executor::cache::{CacheOptions, ENTRY_OVERHEAD, ResultCache, Strategy};
use serde_json::json;
use testkit::FakeClock;

fn tenant() -> Tenant {
    Tenant::default()
}

fn cache(options: CacheOptions) -> (ResultCache, FakeClock) {
    let clock = FakeClock::default();
    (ResultCache::new(options, Arc::new(clock.clone())), clock)
}

/// Room for `entries` values of [`value`] under one-letter keys in namespace `n`.
fn room_for(entries: usize, strategy: Strategy) -> CacheOptions {
    let one = ENTRY_OVERHEAD + 1 + 1 + value().len() + value().media_type().len();
    CacheOptions { strategy, size_bytes_max: entries * one + one / 2, ..CacheOptions::default() }
}

fn value() -> Payload {
    Payload::from_value(&json!("x".repeat(1000)))
}

fn set(cache: &ResultCache, key: &str) {
    cache.set(&tenant(), "n", key, value(), None).unwrap().unwrap();
}

fn has(cache: &ResultCache, key: &str) -> bool {
    cache.get(&tenant(), "n", key).is_some()
}

#[test]
fn lru_lets_go_of_what_was_not_used_for_the_longest_time() {
    let (cache, _) = cache(room_for(3, Strategy::Lru));
    ["a", "b", "c"].iter().for_each(|key| set(&cache, key));
    assert!(has(&cache, "a"));
    set(&cache, "d");
    assert!(!has(&cache, "b") && has(&cache, "a") && has(&cache, "c") && has(&cache, "d"));
}

#[test]
fn fifo_lets_go_of_the_oldest_however_much_it_is_used() {
    let (cache, _) = cache(room_for(3, Strategy::Fifo));
    ["a", "b", "c"].iter().for_each(|key| set(&cache, key));
    (0..10).for_each(|_| assert!(has(&cache, "a")));
    set(&cache, "d");
    assert!(!has(&cache, "a") && has(&cache, "b") && has(&cache, "c") && has(&cache, "d"));
}

#[test]
fn lfu_keeps_what_is_used_often_while_many_others_pass() {
    let (cache, _) = cache(room_for(10, Strategy::Lfu));
    set(&cache, "a");
    set(&cache, "b");
    for round in 0..200 {
        assert!(has(&cache, "a"), "after {round} others");
        set(&cache, &format!("once {round}"));
    }
    assert!(!has(&cache, "b"), "never used");
}

#[test]
fn the_bound_in_bytes_holds_whatever_is_stored() {
    for strategy in [Strategy::Lru, Strategy::Lfu, Strategy::Fifo] {
        let (cache, _) = cache(room_for(5, strategy));
        for n in 0..500usize {
            let value = Payload::from_value(&json!("y".repeat(n * 37 % 3000)));
            cache.set(&tenant(), &format!("n{}", n % 3), &format!("k{}", n % 40), value, None).unwrap();
            let stats = cache.totals();
            assert!(stats.bytes <= cache.options().size_bytes_max as u64, "{strategy:?} {n}: {stats:?}");
        }
        let stats = cache.totals();
        assert_eq!(stats.stored, 500);
        assert!(stats.evicted > 400 && stats.entries > 1, "{strategy:?}: {stats:?}");
        for space in cache.stats(&tenant()).namespaces {
            cache.invalidate(&tenant(), &space.namespace, "").unwrap();
        }
        let stats = cache.totals();
        assert_eq!((stats.entries, stats.bytes), (0, 0), "{strategy:?}: what is counted is what is there");
    }
}

#[test]
fn an_entry_is_believed_for_its_own_time_else_for_that_of_the_cache() {
    let (cache, clock) =
        cache(CacheOptions { ttl: Some(Duration::from_secs(10)), ..CacheOptions::default() });
    set(&cache, "usual");
    let own = Some(Duration::from_secs(60));
    let stored = cache.set(&tenant(), "n", "long", value(), own).unwrap().unwrap();
    assert_eq!(stored.expires_at.unwrap().since(stored.stored_at), Duration::from_secs(60));
    assert!(cache.set(&tenant(), "n", "none", value(), Some(Duration::ZERO)).unwrap().is_none());
    clock.advance(Duration::from_millis(9_999));
    assert!(has(&cache, "usual") && has(&cache, "long") && !has(&cache, "none"));
    clock.advance(Duration::from_millis(1));
    assert!(!has(&cache, "usual") && has(&cache, "long"));
    let stats = cache.stats(&tenant()).total;
    assert_eq!((stats.expired, stats.entries, stats.hits, stats.misses), (1, 1, 3, 2), "{stats:?}");
    assert!((stats.hit_rate() - 0.6).abs() < 1e-9);
}

#[test]
fn a_pattern_takes_out_what_it_matches_in_its_namespace_and_of_its_tenant() {
    let (cache, _) = cache(CacheOptions::default());
    let other = Tenant::new("other").unwrap();
    for key in ["user:1", "user:2", "my user:3"] {
        cache.set(&tenant(), "users", key, value(), None).unwrap();
        cache.set(&tenant(), "elsewhere", key, value(), None).unwrap();
        cache.set(&other, "users", key, value(), None).unwrap();
    }
    assert_eq!(cache.invalidate(&tenant(), "users", "^user:").unwrap(), 2);
    assert_eq!(cache.invalidate(&tenant(), "users", "^user:").unwrap(), 0);
    assert!(cache.get(&tenant(), "users", "my user:3").is_some());
    assert!(cache.get(&other, "users", "user:1").is_some(), "another tenant's");
    assert_eq!(cache.invalidate(&tenant(), "elsewhere", "").unwrap(), 3);
    assert_eq!(cache.invalidate(&tenant(), "nowhere", "").unwrap(), 0);
    let refused = cache.invalidate(&tenant(), "users", "(").unwrap_err();
    assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::InvalidArgument, "pattern"));
    assert!(cache.delete(&tenant(), "users", "my user:3") && !cache.delete(&tenant(), "users", "my user:3"));
    let stats = cache.stats(&tenant());
    assert_eq!(stats.total.invalidated, 6);
    assert_eq!(stats.namespaces.iter().map(|n| &*n.namespace).collect::<Vec<_>>(), ["elsewhere", "users"]);
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_field_and_the_limit() {
    let (cache, _) =
        cache(CacheOptions { entry_bytes_max: 500, namespaces_max: 2, ..CacheOptions::default() });
    let small = || Payload::from_value(&json!(1));
    let refuse =
        |namespace: &str, key: &str, value| cache.set(&tenant(), namespace, key, value, None).unwrap_err();
    let large = refuse("n", "k", value());
    assert_eq!((large.code, large.field.as_str()), (ErrorCode::PayloadTooLarge, "value"));
    assert!(large.message.contains("cache.entry_max"), "{large}");
    assert_eq!(refuse("", "k", small()).field, "namespace");
    assert_eq!(refuse("n", &"k".repeat(513), small()).field, "key");
    for name in ["one", "two"] {
        cache.set(&tenant(), name, "k", small(), None).unwrap();
    }
    let many = refuse("three", "k", small());
    assert_eq!((many.code, many.field.as_str()), (ErrorCode::ResourceExhausted, "namespace"));
    cache.invalidate(&tenant(), "one", "").unwrap();
    cache.set(&tenant(), "three", "k", small(), None).unwrap();
    assert_eq!(cache.totals().stored, 3, "what happened in a forgotten namespace stays counted");
}

#[test]
fn a_value_that_is_stored_again_takes_the_place_of_the_first() {
    let (cache, _) = cache(CacheOptions::default());
    set(&cache, "a");
    cache.set(&tenant(), "n", "a", Payload::from_value(&json!(2)), None).unwrap();
    assert_eq!(cache.get(&tenant(), "n", "a").unwrap().value.json().unwrap(), Arc::new(json!(2)));
    let stats = cache.totals();
    assert_eq!((stats.entries, stats.stored, stats.evicted), (1, 2, 0));
}
