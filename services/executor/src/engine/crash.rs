//! Named places where a debug build can be made to die, for tests of recovery.
//!
//! `ORCHESTRA_CRASH_AT=before-send` kills the process (as `kill -9` would) the first time it comes by;
//! `before-send:3` the third time. Release builds have no such places.

/// Every place, for the tests' table and for people.
pub const POINTS: [&str; 10] = [
    "before-commit",
    "committed-not-acknowledged",
    "before-send",
    "sent-not-answered",
    "answered-not-committed",
    "before-publish",
    "published-not-marked",
    "in-handover",
    "in-checkpoint",
    "cut-not-told",
];

/// Dies here when the test says so.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    };
    static TARGET: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let text = std::env::var("ORCHESTRA_CRASH_AT").ok()?;
        let (place, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((place.to_owned(), AtomicI64::new(count.parse().unwrap_or(1))))
    });
    if let Some((place, left)) = target
        && place == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // No clean-up of any kind, as with a power cut.
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}
