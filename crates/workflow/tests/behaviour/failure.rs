//! Failed attempts: again, or not.

use std::time::Duration;

use base::{FailureClass, Timestamp};
use serde_json::json;
use workflow::{
    CallPhase, Input, Kind, Status, TaskPhase,
    plan::{Backoff, Limits, Plan, RetryPolicy},
};

use crate::common::{Run, SECOND, created, dispatched, plan, retry, secs, task, with};

fn one(policy: Option<RetryPolicy>) -> Run {
    Run::of(vec![with(task("a", &[]), |t| t.retry = policy)])
}

/// The time of the retry that a failure led to.
fn retry_at(run: &Run) -> Option<Timestamp> {
    run.log.iter().rev().find_map(|e| match e.kind {
        Kind::AttemptFailed { retry_at, .. } => Some(retry_at),
        _ => None,
    })?
}

#[test]
fn a_failure_is_retried_after_its_delay() {
    let mut run = one(retry(3));
    run.send("a");
    let effects = run.fail("a", FailureClass::Error, true);
    assert_eq!(dispatched(&effects), [run.key("a")]);
    assert!(
        run.ready().is_empty() && run.assign("a", "i2", Default::default()).is_empty(),
        "not before its time"
    );
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(SECOND)));
    run.wait(SECOND);
    run.done("a", json!(1));
    assert_eq!((run.status(), run.state.retries(), run.call("a").attempt), (Status::Completed, 1, 2));
    assert_eq!(run.words_of_causes(), ["it broke"], "what went wrong is kept");
}

#[test]
fn attempts_are_limited_and_every_cause_is_kept() {
    let mut run = one(retry(2));
    run.send("a");
    run.step(run.failure("a", FailureClass::Error, true, "first"));
    run.wait(SECOND);
    run.send("a");
    run.step(run.failure("a", FailureClass::Unavailable, true, "second"));
    assert_eq!((run.status(), run.phase("a")), (Status::Failed, TaskPhase::Failed));
    assert_eq!(run.words_of_causes(), ["first", "second", "task a: second"]);
    let causes = run.state.causes();
    assert_eq!((causes[0].attempt, causes[1].attempt, causes[2].call), (1, 2, None));
    assert_eq!(causes[2].class, FailureClass::Unavailable);
    assert_eq!(causes[0].agent.as_deref(), Some("helper"));
}

#[test]
fn delays_follow_the_policy_within_its_bounds() {
    let policy = |backoff| RetryPolicy {
        max_attempts: 6,
        backoff,
        base_delay: Duration::from_millis(100),
        max_delay: Duration::from_millis(350),
        ..RetryPolicy::default()
    };
    for (backoff, want) in [
        (Backoff::Fixed, [(100, 100), (100, 100), (100, 100), (100, 100)]),
        (Backoff::Linear, [(100, 100), (200, 200), (300, 300), (350, 350)]),
        (Backoff::Exponential, [(50, 100), (100, 200), (175, 350), (175, 350)]),
    ] {
        let mut run = one(Some(policy(backoff)));
        for (low, high) in want {
            run.send("a");
            run.fail("a", FailureClass::Error, true);
            let delay = retry_at(&run).unwrap().since(run.now);
            assert!((low..=high).contains(&delay.as_millis()), "{backoff:?}: {delay:?} of {low}..={high} ms");
            run.wait(delay);
        }
    }
}

#[test]
fn an_agent_that_asks_to_wait_is_waited_for() {
    let mut run = one(retry(2));
    run.send("a");
    let mut failure = run.failure("a", FailureClass::RateLimited, true, "slow down");
    let until = run.now.plus(secs(9));
    if let Input::AttemptFailed { retry_after, .. } = &mut failure {
        *retry_after = Some(until);
    }
    run.step(failure);
    assert_eq!(retry_at(&run), Some(until));
}

#[test]
fn classes_and_messages_choose_what_is_retried() {
    let on = |on: &[FailureClass], patterns: &[&str]| {
        let patterns = patterns.iter().map(|p| (*p).to_owned()).collect();
        Some(RetryPolicy { on: on.to_vec(), patterns, ..retry(3).unwrap() })
    };
    use FailureClass::{Error, InvalidOutput, Rejected};
    for (name, policy, class, again) in [
        ("an error by default", on(&[], &[]), Error, true),
        ("a refusal not by default", on(&[], &[]), Rejected, false),
        ("bad output not by default", on(&[], &[]), InvalidOutput, false),
        ("a refusal when named", on(&[Rejected], &[]), Rejected, true),
        ("an error not when others are named", on(&[Rejected], &[]), Error, false),
        ("a message that matches", on(&[], &["broke"]), Error, true),
        ("a message that does not match", on(&[], &["busy"]), Error, false),
    ] {
        let mut run = one(policy);
        run.send("a");
        run.fail("a", class, true);
        assert_eq!(run.status() == Status::Executing, again, "{name}");
        assert_eq!(retry_at(&run).is_some(), again, "{name}");
    }
}

#[test]
fn retries_of_the_whole_execution_are_limited() {
    let tasks = ["a", "b"].map(|id| with(task(id, &[]), |t| (t.retry, t.optional) = (retry(9), true)));
    let limits = Limits { max_retries: Some(1), ..Limits::default() };
    let mut run = Run::plan(Plan { limits, ..plan(tasks.into()) });
    run.send("a");
    run.send("b");
    run.fail("a", FailureClass::Error, true);
    run.fail("b", FailureClass::Error, true);
    assert_eq!((run.phase("a"), run.phase("b")), (TaskPhase::Scheduled, TaskPhase::Failed));
}

#[test]
fn so_many_tasks_may_fail_as_the_plan_allows() {
    let limits = Limits { allowed_failures: 1, ..Limits::default() };
    let mut run = Run::plan(Plan { limits, ..plan(vec![task("a", &[]), task("b", &[]), task("c", &[])]) });
    for name in ["a", "b", "c"] {
        run.send(name);
    }
    run.fail("a", FailureClass::Rejected, true);
    assert_eq!(run.status(), Status::Executing);
    run.answer("c", json!(1));
    run.fail("b", FailureClass::Rejected, true);
    assert_eq!(run.status(), Status::Failed);
}

#[test]
fn an_optional_task_may_fail_and_leaves_the_allowance_to_the_others() {
    let limits = Limits { allowed_failures: 1, ..Limits::default() };
    let a = with(task("a", &[]), |t| t.optional = true);
    let mut run = Run::plan(Plan { limits, ..plan(vec![a, task("b", &[]), task("c", &[])]) });
    for name in ["a", "b", "c"] {
        run.send(name);
    }
    run.fail("a", FailureClass::Rejected, true);
    run.fail("b", FailureClass::Rejected, true);
    run.answer("c", json!(3));
    assert_eq!((run.status(), run.result()), (Status::Completed, json!({"c": 3})));
}

#[test]
fn the_end_by_failure_aborts_what_is_open() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[]), task("c", &[1])]);
    run.send("a");
    run.send("b");
    let effects = run.fail("a", FailureClass::Rejected, true);
    assert_eq!(crate::common::aborted(&effects), [(run.key("b"), 1)]);
    assert_eq!((run.phase("b"), run.phase("c")), (TaskPhase::Cancelled, TaskPhase::Cancelled));
    assert_eq!((run.state.in_flight(), run.state.next_timer(Timestamp::default())), (0, None));
}

#[test]
fn the_policy_named_in_the_start_holds_for_every_task() {
    for (name, own, attempts, backoff) in [
        ("none", retry(5), 1, None),
        ("linear_backoff", retry(5), 5, Some(Backoff::Linear)),
        ("exponential_backoff", None, 4, Some(Backoff::Exponential)),
        ("fixed", None, 4, Some(Backoff::Fixed)),
        ("of my own", retry(5), 5, Some(Backoff::Fixed)),
        ("", None, 4, Some(Backoff::Linear)),
    ] {
        let mut start = created(json!(null));
        start.retry_policy = name.into();
        start.default_retry = RetryPolicy { backoff: Backoff::Linear, ..retry(4).unwrap() };
        let run = Run::start(plan(vec![with(task("a", &[]), |t| t.retry = own)]), start);
        let policy = run.state.retry_policy(0);
        assert_eq!(policy.max_attempts, attempts, "{name}");
        assert!(backoff.is_none_or(|b| policy.backoff == b), "{name}");
        assert_eq!(run.state.retry_policy(99).max_attempts, if name == "none" { 1 } else { 4 });
    }
}

#[test]
fn the_retry_number_rises_only_after_a_known_failure() {
    let mut run = one(retry(9));
    let mut numbers = vec![];
    for known in [false, true, false, false, true] {
        run.send("a");
        numbers.push((run.call("a").attempt, run.call("a").retry));
        run.fail("a", if known { FailureClass::Error } else { FailureClass::Broken }, known);
        run.wait(SECOND);
    }
    run.send("a");
    numbers.push((run.call("a").attempt, run.call("a").retry));
    assert_eq!(numbers, [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)]);
}

#[test]
fn instances_that_failed_are_remembered() {
    let mut run = one(retry(3));
    for instance in ["i7", "i8"] {
        run.assign("a", instance, Default::default());
        run.fail("a", FailureClass::Unavailable, true);
        run.wait(SECOND);
    }
    assert_eq!(run.call("a").tried.iter().map(|i| &**i).collect::<Vec<_>>(), ["i7", "i8"]);
    assert_eq!(run.call("a").phase, CallPhase::Ready(run.now));
    assert_eq!(run.state.agents().map(|a| &**a).collect::<Vec<_>>(), ["helper"]);
}
