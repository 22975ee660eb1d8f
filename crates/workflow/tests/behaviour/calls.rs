//! Calls whose outcome is unknown, questions of agents, and results that come late or twice.

use base::{Effect as Class, FailureClass};
use serde_json::json;
use workflow::{CallPhase, Decision, Effect, Input, Kind, Refusal, Resolution, Status, TaskPhase};

use crate::common::{Run, SECOND, aborted, caller, output, retry, secs, task, with};

const CLASSES: [(Class, bool); 4] = [
    (Class::Pure, true),
    (Class::Idempotent, true),
    (Class::Compensatable, false),
    (Class::Irreversible, false),
];

fn retried() -> Run {
    Run::of(vec![with(task("a", &[]), |t| t.retry = retry(3)), task("b", &[])])
}

fn bind(run: &mut Run, name: &str) -> Vec<Effect> {
    let attempt = run.call(name).attempt;
    run.step(Input::Bound {
        call: run.key(name),
        attempt,
        agent_task_id: "t1".into(),
        context_id: "c1".into(),
    })
}

fn lose(run: &mut Run, name: &str, lost: &str) -> Vec<Effect> {
    run.step(Input::CallerLost { call: run.key(name), lost: caller(lost), heir: caller("m2") })
}

fn resolve(run: &mut Run, name: &str, decision: Resolution) -> Result<Vec<Effect>, Refusal> {
    run.try_step(Input::Resolve { call: run.key(name), decision, by: "ann".into() })
}

/// A call of unknown outcome that must not be repeated.
fn undecided() -> Run {
    let mut run = retried();
    run.send_as("a", Class::Irreversible);
    run.fail("a", FailureClass::Broken, false);
    run
}

#[test]
fn an_unknown_outcome_is_repeated_only_when_that_does_no_harm() {
    for (class, repeats) in CLASSES {
        let mut run = retried();
        run.send_as("a", class);
        run.fail("a", FailureClass::Broken, false);
        let decision = run.call("a").phase == CallPhase::Decision;
        assert_eq!(decision, !repeats, "{class:?}");
        assert_eq!(run.call("a").retry, 0, "the message id stays");
    }
}

#[test]
fn a_known_failure_is_retried_whatever_the_call_does() {
    for (class, _) in CLASSES {
        let mut run = retried();
        run.send_as("a", class);
        run.fail("a", FailureClass::Unavailable, true);
        assert!(matches!(run.call("a").phase, CallPhase::Ready(_)), "{class:?}");
    }
}

#[test]
fn a_lost_caller_leaves_what_can_be_asked_for_or_repeated_to_its_heir() {
    for (class, repeats) in CLASSES {
        for bound in [false, true] {
            let mut run = retried();
            run.send_as("a", class);
            if bound {
                bind(&mut run, "a");
            }
            let effects = lose(&mut run, "a", "m1");
            let name = format!("{class:?}, bound: {bound}");
            if bound || repeats {
                assert_eq!(effects, [Effect::Recover(run.key("a"))], "{name}");
                assert!(run.is_running("a"), "{name}");
                let attempt = run.call("a").current.clone().unwrap();
                assert_eq!((&attempt.to.caller, attempt.bound.is_some()), (&caller("m2"), bound), "{name}");
                assert_eq!(run.call("a").attempt, 1, "it is the same attempt");
            } else {
                assert_eq!((effects.len(), run.call("a").phase), (0, CallPhase::Decision), "{name}");
                let words = run.call("a").waiting.clone().unwrap();
                assert!(words.starts_with("m1 died with this") && words.contains("helper"), "{words}");
            }
        }
    }
}

#[test]
fn only_the_lost_callers_calls_are_taken_over() {
    let mut run = retried();
    run.send("a");
    assert!(run.facts(|r| drop(lose(r, "a", "m7"))).is_empty());
    assert!(run.facts(|r| drop(lose(r, "b", "m1"))).is_empty(), "it is not under way");
    lose(&mut run, "a", "m1");
    assert!(run.facts(|r| drop(lose(r, "a", "m1"))).is_empty(), "it has a new caller already");
}

#[test]
fn a_call_is_bound_once() {
    let mut run = retried();
    run.send("a");
    assert_eq!(run.facts(|r| drop(bind(r, "a"))).len(), 1);
    assert!(run.facts(|r| drop(bind(r, "a"))).is_empty());
    assert!(run.facts(|r| drop(bind(r, "b"))).is_empty(), "nothing is open there");
}

#[test]
fn other_branches_go_on_while_somebody_decides() {
    let mut run = undecided();
    let words = run.call("a").waiting.clone().unwrap();
    assert_eq!(&*words, "the outcome of an irreversible call is unknown: it broke");
    assert_eq!(run.state.held_calls().collect::<Vec<_>>(), [run.key("a")]);
    run.done("b", json!(2));
    run.wait(secs(1000));
    assert_eq!((run.status(), run.phase("b")), (Status::Executing, TaskPhase::Completed));
}

#[test]
fn a_decision_that_it_was_done_completes_the_task() {
    let mut run = undecided();
    let facts =
        run.facts(|r| drop(resolve(r, "a", Resolution::Completed(output(json!("by hand")))).unwrap()));
    assert!(matches!(
        facts[..],
        [Kind::DecisionMade { decision: Decision::Completed, .. }, Kind::TaskCompleted { task: 0, .. }]
    ));
    run.done("b", json!(2));
    assert_eq!(run.result(), json!({"a": "by hand", "b": 2}));
}

#[test]
fn a_decision_that_it_failed_fails_the_task() {
    let mut run = undecided();
    resolve(&mut run, "a", Resolution::Failed("not booked".into())).unwrap();
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.words_of_causes(), ["it broke", "not booked", "task a: not booked"]);
    assert_eq!(run.state.causes()[1].class, FailureClass::Operator);
}

#[test]
fn a_decision_to_retry_calls_again_under_the_same_message_id() {
    let mut run = undecided();
    let effects = resolve(&mut run, "a", Resolution::Retry).unwrap();
    assert_eq!(effects, [Effect::Dispatch { call: run.key("a"), at: run.now }]);
    run.send_as("a", Class::Irreversible);
    assert_eq!((run.call("a").attempt, run.call("a").retry, run.call("a").waiting.clone()), (2, 0, None));
}

#[test]
fn items_of_a_scattered_task_are_decided_one_by_one() {
    let e = with(task("e", &[]), |t| {
        t.spread = workflow::plan::Spread::ForEach { list: "input".into(), width: None };
    });
    let mut run = Run::given(json!([1, 2]), vec![e]);
    run.send_as("e#1", Class::Irreversible);
    run.fail("e#1", FailureClass::Broken, false);
    run.done("e#0", json!("x"));
    resolve(&mut run, "e#1", Resolution::Completed(output(json!("y")))).unwrap();
    assert_eq!(run.result(), json!(["x", "y"]));
}

#[test]
fn only_a_call_that_waits_for_a_decision_can_be_decided() {
    let mut run = retried();
    let refused = resolve(&mut run, "a", Resolution::Retry).unwrap_err();
    let want = Refusal::Task { task: "a".into(), state: "ready", wanted: "needs_decision" };
    assert_eq!(refused, want);
    assert_eq!(refused.to_string(), "task a is ready, not needs_decision");
    let call = workflow::CallKey::new(44, 0);
    let nowhere = Input::Resolve { call, decision: Resolution::Retry, by: "ann".into() };
    assert_eq!(run.try_step(nowhere).unwrap_err().to_string(), "task 44 is unknown, not needs_decision");
}

#[test]
fn a_question_waits_for_its_answer_while_others_go_on() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| t.timeouts.attempt = Some(secs(5))), task("b", &[])]);
    run.send("a");
    run.ask("a", "which?");
    assert_eq!(run.call("a").phase, CallPhase::Input);
    assert_eq!(run.call("a").prompt, Some(output(json!("which?"))));
    assert_eq!((run.state.in_flight(), run.state.held_calls().count()), (0, 1));
    run.wait(secs(60));
    run.done("b", json!(2));
    assert_eq!(run.status(), Status::Executing, "no limit of the attempt runs while somebody thinks");
    let effects = run.reply("a", json!("this")).unwrap();
    assert_eq!(effects, [Effect::SendAnswer(run.key("a"))]);
    let attempt = run.call("a").current.clone().unwrap();
    assert_eq!((attempt.answer, run.call("a").prompt.clone()), (Some(output(json!("this"))), None));
    assert_eq!(attempt.bound, Some(("t1".into(), "c1".into())));
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(secs(5))), "it works again");
    run.ask("a", "and where?");
    assert_eq!(run.call("a").current.as_ref().unwrap().answer, None, "the first answer has served");
    run.reply("a", json!("there")).unwrap();
    run.answer("a", json!("done"));
    assert_eq!((run.status(), run.result()), (Status::Completed, json!({"a": "done", "b": 2})));
}

#[test]
fn only_a_question_can_be_answered() {
    let mut run = retried();
    run.send("a");
    let refused = run.reply("a", json!(1)).unwrap_err();
    assert_eq!(refused.to_string(), "task a is running, not input_required");
}

#[test]
fn a_call_that_asks_keeps_its_place_under_the_call_limit() {
    let limits = workflow::plan::Limits { max_calls: Some(1), ..Default::default() };
    let tasks = vec![task("a", &[]), task("b", &[])];
    let mut run = Run::plan(workflow::plan::Plan { limits, ..crate::common::plan(tasks) });
    run.send("a");
    run.ask("a", "which?");
    assert!(run.assign("b", "i1", Class::Pure).is_empty(), "an answer would make two at once");
    run.reply("a", json!("this")).unwrap();
    run.answer("a", json!(1));
    run.send("b");
}

#[test]
fn a_question_is_withdrawn_when_the_execution_ends() {
    let mut run = retried();
    run.send("a");
    run.ask("a", "which?");
    let effects = run.cancel().unwrap();
    assert_eq!(aborted(&effects), [(run.key("a"), 1)]);
}

#[test]
fn a_repeated_answer_changes_nothing() {
    let mut run = retried();
    run.done("a", json!(1));
    assert!(run.facts(|r| drop(r.answer_of("a", 1, json!(2)))).is_empty());
    run.done("b", json!(2));
    assert!(run.facts(|r| drop(r.answer_of("b", 1, json!(3)))).is_empty(), "nor after the end");
    assert_eq!(run.result(), json!({"a": 1, "b": 2}));
}

#[test]
fn a_repeated_failure_changes_nothing() {
    let mut run = retried();
    run.send("a");
    let failure = run.failure("a", FailureClass::Error, true, "it broke");
    run.step(failure.clone());
    assert!(run.facts(|r| drop(r.step(failure.clone()))).is_empty());
    run.wait(SECOND);
    run.send("a");
    assert!(run.facts(|r| drop(r.step(failure))).is_empty());
    assert!(run.is_running("a"));
}

#[test]
fn a_result_that_comes_late_is_told_once() {
    let mut run = Run::of(vec![with(task("a", &[]), |t| {
        (t.retry, t.timeouts.attempt) = (retry(3), Some(secs(5)));
    })]);
    run.send("a");
    run.wait(secs(5));
    run.wait(SECOND);
    run.send("a");
    let facts = run.facts(|r| drop(r.answer_of("a", 1, json!("old"))));
    assert_eq!(facts, [Kind::LateResult { call: run.key("a"), what: "an answer of attempt 1".into() }]);
    assert!(run.facts(|r| drop(r.answer_of("a", 1, json!("old")))).is_empty());
    run.answer("a", json!("new"));
    assert_eq!(run.result(), json!("new"));
}

#[test]
fn what_comes_after_the_end_is_recorded_as_late() {
    let mut run = retried();
    run.send("a");
    run.cancel().unwrap();
    assert_eq!(run.facts(|r| drop(r.answer_of("a", 1, json!(1)))).len(), 1);
    assert!(run.facts(|r| drop(r.answer_of("a", 1, json!(1)))).is_empty());
    assert!(run.facts(|r| drop(r.fail("a", FailureClass::Error, true))).is_empty());
    assert_eq!((run.status(), run.phase("a")), (Status::Cancelled, TaskPhase::Cancelled));
}

#[test]
fn late_questions_and_failures_are_told_too() {
    let mut run = undecided();
    let question = |run: &mut Run| drop(run.ask("a", "which?"));
    assert_eq!(run.facts(question).len(), 1);
    let other = run.failure("a", FailureClass::Error, true, "something else");
    assert_eq!(run.facts(|r| drop(r.step(other))).len(), 1);
    assert_eq!(run.call("a").phase, CallPhase::Decision);
}

#[test]
fn results_of_attempts_that_never_were_are_nonsense() {
    let mut run = retried();
    assert!(run.facts(|r| drop(r.answer_of("a", 0, json!(1)))).is_empty());
    assert!(run.facts(|r| drop(r.answer_of("a", 7, json!(1)))).is_empty());
    run.send("a");
    assert!(run.facts(|r| drop(r.answer_of("a", 2, json!(1)))).is_empty());
}
