//! What people ask of an execution.

use base::FailureClass;
use serde_json::json;
use workflow::{Effect, Input, Kind, Refusal, Status, TaskPhase};

use crate::common::{Run, SECOND, aborted, checkpoint, created, dispatched, plan, retry, secs, task, with};

fn chain() -> Vec<workflow::plan::TaskPlan> {
    vec![with(task("a", &[]), |t| t.retry = retry(3)), task("b", &[0]), task("c", &[])]
}

#[test]
fn no_call_leaves_in_a_pause() {
    let mut run = Run::of(chain());
    assert!(run.pause().is_empty());
    assert_eq!((run.status(), run.state.last_checkpoint()), (Status::Paused, Some(checkpoint(5))));
    assert!(run.assign("a", "i1", Default::default()).is_empty());
    assert!(run.ready().is_empty() && run.state.outstanding().is_empty());
    assert!(run.facts(|r| drop(r.pause())).is_empty(), "paused twice is paused");
    let effects = run.resume();
    assert_eq!(dispatched(&effects), [run.key("a"), run.key("c")]);
    run.send("a");
}

#[test]
fn what_runs_finishes_and_is_recorded_in_a_pause() {
    let mut run = Run::of(chain());
    run.send("a");
    run.send("c");
    run.pause();
    assert_eq!(run.state.outstanding().len(), 2, "open calls are still waited for");
    assert!(dispatched(&run.answer("a", json!(1))).is_empty());
    assert_eq!(run.phase("a"), TaskPhase::Completed);
    run.answer("c", json!(3));
    assert_eq!((run.phase("b"), run.status()), (TaskPhase::Pending, Status::Paused));
    assert_eq!(dispatched(&run.resume()), [run.key("b")]);
    run.done("b", json!(2));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_failure_in_a_pause_is_retried_after_it() {
    let mut run = Run::of(chain());
    run.send("a");
    run.pause();
    assert!(run.fail("a", FailureClass::Error, true).is_empty());
    run.wait(secs(60));
    assert_eq!(dispatched(&run.resume()), [run.key("a"), run.key("c")]);
    assert!(run.ready().contains(&"a".to_owned()));
}

#[test]
fn everything_done_in_a_pause_completes_with_its_end() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    run.pause();
    run.answer("a", json!(1));
    assert_eq!(run.status(), Status::Paused);
    assert_eq!(run.resume(), [Effect::Ended]);
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn the_execution_limit_runs_on_in_a_pause_and_the_limits_of_waiting_do_not() {
    let mut start = created(json!(null));
    start.timeout = secs(100);
    let queued = with(task("a", &[]), |t| t.timeouts.queue = Some(secs(10)));
    let mut run = Run::start(plan(vec![queued, task("b", &[])]), start);
    run.no_agent("b", "none");
    run.pause();
    assert!(run.facts(|r| drop(r.no_agent("a", "none"))).is_empty(), "nobody looks for agents now");
    run.wait(secs(50));
    assert_eq!(run.status(), Status::Paused);
    run.resume();
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(secs(10))), "they begin anew");
    run.pause();
    run.wait(secs(50));
    assert_eq!(run.status(), Status::Failed);
}

#[test]
fn a_running_attempt_can_time_out_in_a_pause() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| {
        (t.timeouts.attempt, t.retry) = (Some(secs(5)), retry(2));
    })]);
    run.send("a");
    run.pause();
    assert_eq!(aborted(&run.wait(secs(5))).len(), 1);
    assert_eq!(run.status(), Status::Paused);
    run.resume();
    run.wait(SECOND);
    run.done("a", json!(1));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_failure_that_is_not_tolerated_ends_a_pause() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    run.pause();
    run.fail("a", FailureClass::Rejected, true);
    assert_eq!(run.status(), Status::Failed);
}

#[test]
fn a_pause_before_admission_holds_until_both_are_over() {
    for admit_first in [true, false] {
        let mut run = Run::queued(plan(vec![task("a", &[])]), created(json!(null)));
        run.pause();
        if admit_first {
            run.step(Input::Admit);
            assert_eq!(run.status(), Status::Paused);
            run.resume();
        } else {
            run.resume();
            assert_eq!(run.status(), Status::Planning);
            run.step(Input::Admit);
        }
        assert_eq!((run.status(), run.ready()), (Status::Executing, vec!["a".to_owned()]));
    }
}

#[test]
fn a_question_can_be_answered_in_a_pause() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    run.ask("a", "which?");
    run.pause();
    assert_eq!(run.reply("a", json!(1)).unwrap(), [Effect::SendAnswer(run.key("a"))]);
}

#[test]
fn cancel_ends_it_and_tells_the_agents() {
    let mut run = Run::of(chain());
    run.send("a");
    run.send("c");
    let effects = run.cancel().unwrap();
    assert_eq!(aborted(&effects), [(run.key("a"), 1), (run.key("c"), 1)]);
    assert_eq!(effects.last(), Some(&Effect::Ended));
    assert_eq!((run.status(), run.state.in_flight()), (Status::Cancelled, 0));
    assert_eq!((run.phase("a"), run.phase("b")), (TaskPhase::Cancelled, TaskPhase::Cancelled));
    assert!(run.cancel().unwrap().is_empty(), "cancelled twice is cancelled");
}

#[test]
fn terminate_ends_it_in_any_state() {
    let mut queued = Run::queued(plan(chain()), created(json!(null)));
    queued.terminate().unwrap();
    assert_eq!(queued.status(), Status::Terminated);
    let mut run = Run::of(chain());
    run.send("a");
    run.pause();
    assert_eq!(aborted(&run.terminate().unwrap()), [(run.key("a"), 1)]);
    assert!(run.terminate().unwrap().is_empty(), "terminated twice is terminated");
    assert!(run.facts(|r| drop(r.wait(secs(1000)))).is_empty());
}

#[test]
fn commands_that_the_state_does_not_allow_are_refused() {
    let refused = |run: &mut Run, input: Input| run.try_step(input).unwrap_err().to_string();
    let by = || "ann".into();
    let mut run = Run::of(chain());
    let running = refused(&mut run, Input::Resume { by: by() });
    assert_eq!(running, "cannot resume an execution that is executing");
    run.terminate().unwrap();
    let call = run.key("a");
    for (input, command) in [
        (Input::Pause { by: by(), reason: by(), checkpoint: checkpoint(1) }, "pause"),
        (Input::Resume { by: by() }, "resume"),
        (Input::Cancel { by: by(), reason: by() }, "cancel"),
        (Input::Answer { call, input: base::Payload::null(), by: by() }, "answer a task of"),
        (Input::Resolve { call, decision: workflow::Resolution::Retry, by: by() }, "resolve a task of"),
    ] {
        assert_eq!(refused(&mut run, input), format!("cannot {command} an execution that is terminated"));
    }
    let mut run = Run::of(chain());
    run.cancel().unwrap();
    let refusal = run.terminate().unwrap_err();
    assert_eq!(refusal, Refusal::Status { command: "terminate", status: "cancelled" });
}

#[test]
fn cancel_and_a_result_race_by_the_order_they_come_in() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.done("a", json!(1));
    assert!(run.cancel().is_err());
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    run.cancel().unwrap();
    let facts = run.facts(|r| drop(r.answer("a", json!(1))));
    assert!(matches!(facts[..], [Kind::LateResult { .. }]));
    assert_eq!(run.status(), Status::Cancelled);
}

#[test]
fn a_recovered_execution_dispatches_nothing_twice() {
    let run = Run::of(chain());
    let mut state = workflow::fold(run.state.id(), run.state.plan().clone(), &run.log).unwrap();
    assert_eq!(dispatched(&state.outstanding()), [run.key("a"), run.key("c")]);
    let step = state.step(&Input::Tick { checkpoint: checkpoint(1) }, run.now).unwrap();
    assert!(step.effects.is_empty());
}
