//! Deadlines, checkpoints, limits of the history, and what time is counted.

use std::time::Duration;

use base::{FailureClass, Timestamp};
use serde_json::json;
use workflow::{
    CallPhase, Effect, Input, Kind, Status, TaskPhase,
    plan::{Spread, Timeouts},
};

use crate::common::{Run, SECOND, aborted, checkpoint, created, plan, retry, secs, task, with};

fn timed(change: impl FnOnce(&mut Timeouts)) -> Run {
    Run::of(vec![with(task("a", &[]), |t| change(&mut t.timeouts))])
}

#[test]
fn a_call_that_waits_too_long_for_room_fails() {
    let mut run = timed(|t| t.queue = Some(secs(5)));
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(secs(5))));
    run.wait(secs(4));
    assert_eq!(run.status(), Status::Executing);
    run.wait(secs(1));
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.state.causes()[0].class, FailureClass::Timeout);
    assert_eq!(run.words_of_causes()[0], "no instance had room in time");
}

#[test]
fn a_queue_limit_of_zero_is_over_at_once() {
    let mut run = timed(|t| t.queue = Some(Duration::ZERO));
    run.wait(Duration::ZERO);
    assert_eq!(run.status(), Status::Failed);
}

#[test]
fn the_queue_limit_ends_with_the_first_attempt() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| {
        (t.timeouts.queue, t.retry) = (Some(secs(5)), retry(3));
    })]);
    run.send("a");
    assert_eq!(run.state.next_timer(run.now), None);
    run.fail("a", FailureClass::Error, true);
    run.wait(secs(60));
    assert_eq!((run.status(), run.ready()), (Status::Executing, vec!["a".to_owned()]));
}

#[test]
fn a_call_that_no_agent_can_serve_fails_after_the_allocation_limit() {
    let mut run = Run::of(vec![task("a", &[])]);
    assert_eq!(run.state.next_timer(run.now), None);
    run.no_agent("a", "nobody offers search");
    assert_eq!(run.call("a").waiting.as_deref(), Some("nobody offers search"));
    assert!(run.facts(|r| drop(r.no_agent("a", "nobody offers search"))).is_empty(), "told once");
    run.wait(secs(29));
    run.no_agent("a", "nobody healthy offers search");
    assert_eq!(run.status(), Status::Executing);
    run.wait(secs(1));
    assert_eq!(run.status(), Status::Failed, "another reason does not push the limit ahead");
    assert_eq!(run.state.causes()[0].class, FailureClass::NoAgent);
    assert_eq!(run.words_of_causes()[0], "no agent in time: nobody healthy offers search");
}

#[test]
fn an_agent_that_turns_up_in_time_is_called() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.no_agent("a", "none");
    run.wait(secs(29));
    run.send("a");
    assert_eq!((run.call("a").waiting.clone(), run.state.next_timer(run.now)), (None, None));
    run.wait(secs(60));
    assert_eq!(run.status(), Status::Executing);
}

#[test]
fn a_retry_waits_for_an_agent_from_its_time_on() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| t.retry = retry(3))]);
    run.send("a");
    run.fail("a", FailureClass::Error, true);
    assert!(run.facts(|r| drop(r.no_agent("a", "too early to say"))).is_empty());
    run.wait(SECOND);
    run.no_agent("a", "none");
    run.wait(secs(29));
    assert_eq!(run.status(), Status::Executing);
    run.wait(SECOND);
    assert_eq!(run.state.causes().last().unwrap().class, FailureClass::NoAgent);
}

#[test]
fn without_an_allocation_limit_a_call_waits_for_ever() {
    let mut start = created(json!(null));
    start.allocation_timeout = Duration::ZERO;
    let mut run = Run::start(plan(vec![task("a", &[])]), start);
    run.no_agent("a", "none");
    assert_eq!(run.state.next_timer(run.now), None);
}

#[test]
fn an_attempt_that_takes_too_long_is_aborted_and_retried_under_the_same_message_id() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| {
        (t.timeouts.attempt, t.retry) = (Some(secs(5)), retry(2));
    })]);
    run.send("a");
    let effects = run.wait(secs(5));
    assert_eq!(aborted(&effects), [(run.key("a"), 1)]);
    assert_eq!(run.words_of_causes(), ["no answer within 5s"]);
    assert!(matches!(run.call("a").phase, CallPhase::Ready(_)));
    run.wait(SECOND);
    run.send("a");
    assert_eq!((run.call("a").attempt, run.call("a").retry), (2, 0), "its outcome is unknown");
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(secs(5))));
}

#[test]
fn the_total_limit_holds_over_all_attempts() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| {
        (t.timeouts.total, t.retry) = (Some(secs(5)), retry(99));
    })]);
    for _ in 0..4 {
        run.send("a");
        run.fail("a", FailureClass::Error, true);
        run.wait(SECOND);
    }
    run.send("a");
    let effects = run.wait(SECOND);
    assert_eq!(aborted(&effects), [(run.key("a"), 5)]);
    assert_eq!((run.status(), run.phase("a")), (Status::Failed, TaskPhase::Failed));
    assert_eq!(run.words_of_causes()[4], "the task took longer than 5s");
}

#[test]
fn a_total_limit_is_gone_with_its_task() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| t.timeouts.total = Some(secs(5))), task("b", &[0])]);
    run.done("a", json!(1));
    assert_eq!(run.state.next_timer(run.now), None);
}

#[test]
fn a_scattered_task_has_one_total_limit() {
    let mut run = Run::given(
        json!([1, 2, 3]),
        vec![with(task("a", &[]), |t| {
            t.spread = Spread::ForEach { list: "input".into(), width: Some(2) };
            (t.timeouts.total, t.optional) = (Some(secs(5)), true);
        })],
    );
    run.done("a#0", json!(1));
    run.send("a#1");
    let effects = run.wait(secs(5));
    assert_eq!(aborted(&effects), [(run.key("a#1"), 1)]);
    assert_eq!((run.status(), run.phase("a")), (Status::Completed, TaskPhase::Failed));
}

#[test]
fn the_execution_limit_counts_from_admission() {
    let mut start = created(json!(null));
    start.timeout = secs(10);
    let mut run = Run::queued(plan(vec![task("a", &[])]), start);
    run.wait(secs(60));
    assert_eq!(run.status(), Status::Planning, "waiting for admission does not count");
    run.step(Input::Admit);
    run.send("a");
    run.wait(secs(9));
    assert_eq!(run.status(), Status::Executing);
    let effects = run.wait(SECOND);
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(aborted(&effects), [(run.key("a"), 1)]);
    assert!(effects.contains(&Effect::Ended));
    assert_eq!(run.words_of_causes(), ["the execution took longer than 10s"]);
}

#[test]
fn one_tick_takes_everything_that_is_due() {
    let tasks = ["a", "b"]
        .map(|id| with(task(id, &[]), |t| (t.timeouts.attempt, t.retry) = (Some(secs(5)), retry(2))));
    let mut run = Run::of(tasks.into());
    run.send("a");
    run.send("b");
    assert_eq!(aborted(&run.wait(secs(5))).len(), 2);
    assert!(run.facts(|r| drop(r.wait(Duration::ZERO))).is_empty());
}

#[test]
fn time_never_runs_backwards_in_the_log() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.now = Timestamp::from_millis(5);
    run.done("a", json!(1));
    assert!(run.log.is_sorted_by_key(|e| e.at));
    assert_eq!(run.state.time(), Timestamp::from_millis(1_000_000));
}

fn with_checkpoints(every: Duration) -> Run {
    let mut start = created(json!(null));
    start.checkpoint_every = every;
    Run::start(plan(vec![task("a", &[])]), start)
}

#[test]
fn checkpoints_are_recorded_as_often_as_asked() {
    let mut run = with_checkpoints(secs(10));
    assert!(run.facts(|r| drop(r.wait(secs(9)))).is_empty());
    let facts = run.facts(|r| drop(r.wait(SECOND)));
    assert_eq!(facts, [Kind::Checkpoint { checkpoint: checkpoint(99) }]);
    assert_eq!(run.state.last_checkpoint(), Some(checkpoint(99)));
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(secs(10))));
    assert_eq!(run.facts(|r| drop(r.wait(secs(95)))).len(), 1, "what was missed is not made up for");
    run.send("a");
    run.answer("a", json!(1));
    assert_eq!(run.state.next_timer(Timestamp::default()), None);
}

#[test]
fn checkpoints_finer_than_time_itself_do_not_hang() {
    let mut run = with_checkpoints(Duration::from_nanos(1));
    assert_eq!(run.facts(|r| drop(r.wait(SECOND))).len(), 1);
}

#[test]
fn a_paused_execution_makes_no_checkpoints() {
    let mut run = with_checkpoints(secs(10));
    run.pause();
    assert!(run.facts(|r| drop(r.wait(secs(100)))).is_empty());
    run.resume();
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(secs(10))));
}

#[test]
fn the_history_has_a_limit_and_a_warning_at_half() {
    let mut run = Run::of(vec![task("a", &[])]);
    let measure = |bytes, events_max, bytes_max| Input::Measure { bytes, events_max, bytes_max };
    assert!(run.facts(|r| drop(r.step(measure(10, 100, 100)))).is_empty());
    let facts = run.facts(|r| drop(r.step(measure(50, 100, 100))));
    assert_eq!(facts, [Kind::HistoryWarning { events: 3, bytes: 50 }]);
    assert!(run.facts(|r| drop(r.step(measure(60, 100, 100)))).is_empty(), "warned once");
    run.send("a");
    let effects = run.step(measure(60, 5, 100));
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.state.causes()[0].class, FailureClass::Definition);
    assert_eq!(aborted(&effects).len(), 1);
    assert_eq!(run.words_of_causes()[0], "the history is over its limit of 5 events or 100 bytes");

    let mut by_bytes = Run::of(vec![task("a", &[])]);
    by_bytes.step(measure(100, 1000, 100));
    assert_eq!(by_bytes.status(), Status::Failed);
    let mut by_events = Run::of(vec![task("a", &[])]);
    assert_eq!(by_events.facts(|r| drop(r.step(measure(0, 6, 100)))).len(), 1);
}

#[test]
fn time_with_agents_is_told_from_coordination() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[]), task("c", &[0, 1])]);
    run.wait(secs(1));
    run.send("a");
    run.wait(secs(1));
    run.send("b");
    run.wait(secs(1));
    run.answer("a", json!(1));
    assert_eq!(run.state.busy(run.now.plus(secs(1))), secs(3), "overlapping calls count once");
    run.wait(secs(1));
    run.answer("b", json!(1));
    run.wait(secs(2));
    assert_eq!((run.state.busy(run.now), run.state.runtime(run.now)), (secs(3), secs(6)));
    assert_eq!(run.state.coordination_overhead(run.now), 0.5);
    run.done("c", json!(1));
    run.now = run.now.plus(secs(100));
    assert_eq!(run.state.runtime(run.now), secs(6), "it ended");
    assert_eq!(run.state.agent_us(), 3000);
    assert_eq!(Run::of(vec![task("a", &[])]).state.coordination_overhead(Timestamp::default()), 0.0);
}

#[test]
fn an_agent_that_waits_for_input_does_not_work() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    run.wait(secs(1));
    run.ask("a", "which?");
    run.wait(secs(50));
    run.reply("a", json!("this")).unwrap();
    run.wait(secs(1));
    run.answer("a", json!(1));
    assert_eq!(run.state.busy(run.now), secs(2));
}
