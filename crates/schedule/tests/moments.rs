//! Moments of cron, intervals and single shots: zones, gaps, folds, bounds.
#![allow(clippy::unwrap_used, reason = "a promise that is not kept ends the test")]

use base::Timestamp;
use schedule::{Overlap, Rules, Spec};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn cron(text: &str, zone: &str) -> Spec {
    Spec { cron: Some(text.into()), time_zone: zone.into(), ..Spec::default() }
}

fn next(spec: &Spec, after: &str, count: usize) -> Vec<String> {
    let timing = spec.compile(at("2020-01-01T00:00:00Z")).unwrap();
    timing.upcoming(at(after), count).into_iter().map(Timestamp::rfc3339).collect()
}

#[test]
fn cron_fires_when_its_zone_says_so() {
    for (name, text, zone, after, want) in [
        (
            "five fields are minutes",
            "30 9 * * *",
            "",
            "2026-05-01T09:29:59Z",
            &["2026-05-01T09:30:00.000Z"][..],
        ),
        (
            "six fields begin with seconds",
            "*/20 * * * * *",
            "",
            "2026-05-01T00:00:00Z",
            &["2026-05-01T00:00:20.000Z", "2026-05-01T00:00:40.000Z", "2026-05-01T00:01:00.000Z"],
        ),
        (
            "a moment itself is not after itself",
            "0 0 * * *",
            "",
            "2026-05-01T00:00:00Z",
            &["2026-05-02T00:00:00.000Z"],
        ),
        (
            "a zone shifts the hour",
            "0 9 * * *",
            "Asia/Tokyo",
            "2026-05-01T00:00:00Z",
            &["2026-05-02T00:00:00.000Z"],
        ),
        (
            "summer and winter differ",
            "0 9 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            &["2026-03-28T08:00:00.000Z", "2026-03-29T07:00:00.000Z"],
        ),
        ("the last day of a month", "0 0 L * *", "", "2026-02-01T00:00:00Z", &["2026-02-28T00:00:00.000Z"]),
        ("work days", "0 9 * * 1-5", "", "2026-05-01T10:00:00Z", &["2026-05-04T09:00:00.000Z"]),
        ("a name", "@daily", "", "2026-05-01T10:00:00Z", &["2026-05-02T00:00:00.000Z"]),
        ("a leap day", "0 0 29 2 *", "", "2026-03-01T00:00:00Z", &["2028-02-29T00:00:00.000Z"]),
    ] {
        assert_eq!(next(&cron(text, zone), after, want.len()), want, "{name}");
    }
}

#[test]
fn a_time_that_the_clocks_skip_fires_once_right_after_the_gap() {
    // Berlin, 2026-03-29: 02:00 becomes 03:00 (01:00 UTC).
    let daily = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        next(&daily, "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
    );
    let often = cron("*/30 * * * *", "Europe/Berlin");
    assert_eq!(
        next(&often, "2026-03-29T00:29:00Z", 3),
        ["2026-03-29T00:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-29T01:30:00.000Z"]
    );
}

#[test]
fn a_time_that_the_clocks_repeat_fires_once_and_wildcards_go_on() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00 (01:00 UTC).
    let daily = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        next(&daily, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]
    );
    assert_eq!(next(&daily, "2026-10-25T00:30:00Z", 1), ["2026-10-26T01:30:00.000Z"]);
    let often = cron("0,30 * * * *", "Europe/Berlin");
    assert_eq!(
        next(&often, "2026-10-25T00:00:00Z", 4),
        [
            "2026-10-25T00:30:00.000Z",
            "2026-10-25T01:00:00.000Z",
            "2026-10-25T01:30:00.000Z",
            "2026-10-25T02:00:00.000Z"
        ]
    );
}

#[test]
fn moments_only_ever_grow() {
    for zone in
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"]
    {
        for text in ["30 2 * * *", "*/17 * * * *", "0 0 * * *", "15 1,2,3 * * *"] {
            let timing = cron(text, zone).compile(at("2026-01-01T00:00:00Z")).unwrap();
            let mut last = at("2026-01-01T00:00:00Z");
            for _ in 0..2000 {
                let next = timing.next(last).unwrap();
                assert!(next > last, "{zone} {text}: {last} then {next}");
                last = next;
            }
        }
    }
}

#[test]
fn intervals_count_from_their_start_and_single_shots_fire_once() {
    let every =
        Spec { every_us: Some(90_000_000), start_at: Some(at("2026-05-01T00:00:00Z")), ..Spec::default() };
    assert_eq!(
        next(&every, "2026-05-01T00:10:01Z", 2),
        ["2026-05-01T00:10:30.000Z", "2026-05-01T00:12:00.000Z"]
    );
    assert_eq!(next(&every, "2026-04-01T00:00:00Z", 1), ["2026-05-01T00:00:00.000Z"]);
    let delayed = Spec { every_us: Some(60_000_000), delay_us: Some(5_000_000), ..Spec::default() };
    assert_eq!(
        next(&delayed, "2020-01-01T00:00:00Z", 2),
        ["2020-01-01T00:00:05.000Z", "2020-01-01T00:01:05.000Z"]
    );
    let plain = Spec { delay_us: None, ..delayed };
    assert_eq!(next(&plain, "2020-01-01T00:00:00Z", 1), ["2020-01-01T00:01:00.000Z"]);
    let once = Spec { at: Some(at("2026-05-01T00:00:00Z")), ..Spec::default() };
    assert_eq!(next(&once, "2026-04-01T00:00:00Z", 5), ["2026-05-01T00:00:00.000Z"]);
    assert!(next(&once, "2026-05-01T00:00:00Z", 5).is_empty());
}

#[test]
fn a_schedule_ends_at_its_end() {
    let mut daily = cron("0 0 * * *", "");
    daily.start_at = Some(at("2026-05-02T00:00:00Z"));
    daily.end_at = Some(at("2026-05-03T00:00:00Z"));
    assert_eq!(
        next(&daily, "2026-01-01T00:00:00Z", 9),
        ["2026-05-02T00:00:00.000Z", "2026-05-03T00:00:00.000Z"]
    );
}

#[test]
fn a_backfill_names_every_moment_of_its_range_or_refuses() {
    let timing = cron("0 * * * *", "").compile(at("2026-01-01T00:00:00Z")).unwrap();
    let (from, to) = (at("2026-05-01T00:00:00Z"), at("2026-05-01T05:00:00Z"));
    assert_eq!(timing.between(from, to, 6).unwrap().len(), 6);
    assert_eq!(timing.between(from, to, 5), None);
    assert_eq!(timing.between(to, from, 5), Some(vec![]));
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    let rules = |rules: Rules| Spec { every_us: Some(60_000_000), rules, ..Spec::default() };
    for (name, spec, field) in [
        ("nothing", Spec::default(), "timing"),
        ("two", Spec { every_us: Some(60_000_000), ..cron("* * * * *", "") }, "timing"),
        ("four fields", cron("* * * *", ""), "cron"),
        ("seven fields", cron("0 0 0 1 1 * 2030", ""), "cron"),
        ("words", cron("every day", ""), "cron"),
        ("the 30th of February", cron("0 0 30 2 *", ""), "cron"),
        ("a zone of no map", cron("0 0 * * *", "Mars/Olympus"), "time_zone"),
        (
            "a zone of an interval",
            Spec { time_zone: "UTC".into(), every_us: Some(60_000_000), ..Spec::default() },
            "time_zone",
        ),
        ("a cron that never ends", cron(&"1,".repeat(101), ""), "cron"),
        (
            "a delay of ages",
            Spec { every_us: Some(60_000_000), delay_us: Some(u64::MAX), ..Spec::default() },
            "delay",
        ),
        (
            "a delay of a moment",
            Spec { at: Some(at("2026-05-01T00:00:00Z")), delay_us: Some(1), ..Spec::default() },
            "delay",
        ),
        ("too often", Spec { every_us: Some(10), ..Spec::default() }, "every"),
        (
            "an end before its start",
            Spec {
                start_at: Some(at("2026-05-02T00:00:00Z")),
                end_at: Some(at("2026-05-01T00:00:00Z")),
                ..cron("0 0 * * *", "")
            },
            "end_at",
        ),
        ("no room", rules(Rules { queue_max: 0, overlap: Overlap::Queue, ..Rules::default() }), "queue_max"),
        ("a window of ages", rules(Rules { catch_up_us: u64::MAX, ..Rules::default() }), "catch_up"),
        ("jitter of ages", rules(Rules { jitter_us: u64::MAX, ..Rules::default() }), "jitter"),
    ] {
        let refused = spec.compile(at("2026-01-01T00:00:00Z")).unwrap_err();
        assert_eq!(refused.field, field, "{name}: {refused}");
    }
}

#[test]
fn every_overlap_reads_back_under_its_name_and_no_other_does() {
    for overlap in Overlap::ALL {
        assert_eq!(Overlap::parse(overlap.as_str()), Some(overlap));
        assert_eq!(serde_json::to_value(overlap).unwrap(), overlap.as_str());
    }
    assert_eq!(Overlap::parse("Skip"), None);
}
