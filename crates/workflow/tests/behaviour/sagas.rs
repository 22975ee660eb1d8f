//! Undoing completed work.

use base::{Effect as Class, FailureClass};
use serde_json::json;
use workflow::{
    Effect, Input, Kind, Refusal, Status,
    plan::{InputSpec, Plan, Saga, ScopeMode, TaskPlan},
};

use crate::common::*;

fn undoable(task: TaskPlan) -> TaskPlan {
    let undo = with(crate::common::task("undo", &[]), |t| {
        t.input = InputSpec::Template(json!({"undo": "${ output }"}));
    });
    with(task, |t| t.compensate = Some(Box::new(undo)))
}

fn saga(tasks: Vec<TaskPlan>) -> Plan {
    Plan { saga: Saga { on_failure: true, on_cancel: true, ..Saga::default() }, ..plan(tasks) }
}

fn undone(run: &Run) -> Vec<String> {
    let each = run.log.iter().filter_map(|e| match &e.kind {
        Kind::TaskCompensated { task } => Some(run.state.task_path(*task)),
        _ => None,
    });
    each.collect()
}

fn trip() -> Run {
    let mut run = Run::plan(saga(vec![
        undoable(task("flight", &[])),
        undoable(task("hotel", &[])),
        task("plain", &[]),
        task("pay", &[0, 1, 2]),
    ]));
    run.done("hotel", json!("H"));
    run.done("plain", json!("P"));
    run.done("flight", json!("F"));
    run
}

#[test]
fn completed_work_is_undone_in_reverse_order_of_completion() {
    let mut run = trip();
    run.send("pay");
    run.fail("pay", FailureClass::Rejected, true);
    assert_eq!((run.status(), run.ready()), (Status::Compensating, vec!["flight:compensate".to_owned()]));
    assert_eq!(run.input("flight:compensate"), json!({"undo": "F"}));
    run.crash();
    run.done("flight:compensate", json!(1));
    assert_eq!(run.ready(), ["hotel:compensate"]);
    run.crash();
    run.done("hotel:compensate", json!(1));
    assert_eq!((run.status(), undone(&run)), (Status::Compensated, vec!["flight".into(), "hotel".into()]));
    assert!(run.words_of_causes().iter().any(|w| w.contains("it broke")), "why stays known");
}

#[test]
fn a_cancel_undoes_too_when_the_plan_says_so() {
    let mut run = trip();
    run.send("pay");
    let effects = run.cancel().unwrap();
    assert_eq!(aborted(&effects), [(run.key("pay"), 1)]);
    assert_eq!(run.status(), Status::Compensating);
    assert!(matches!(run.cancel(), Err(Refusal::Status { .. })));
    run.done("flight:compensate", json!(1));
    run.done("hotel:compensate", json!(1));
    assert_eq!(run.status(), Status::Compensated);
    let mut plan = run.plan.plan().clone();
    plan.saga.on_cancel = false;
    let mut run = Run::plan(plan);
    run.done("hotel", json!(1));
    run.cancel().unwrap();
    assert_eq!(run.status(), Status::Cancelled);
}

#[test]
fn only_failures_of_the_named_classes_are_undone() {
    for (classes, not, compensates) in [
        (vec![], vec![], true),
        (vec![FailureClass::Rejected], vec![], true),
        (vec![FailureClass::Auth], vec![], false),
        (vec![], vec![FailureClass::Rejected], false),
    ] {
        let mut plan = saga(vec![undoable(task("a", &[])), task("b", &[0])]);
        (plan.saga.classes, plan.saga.not_classes) = (classes, not);
        let mut run = Run::plan(plan);
        run.done("a", json!(1));
        run.send("b");
        run.fail("b", FailureClass::Rejected, true);
        let want = if compensates { Status::Compensating } else { Status::Failed };
        assert_eq!(run.status(), want);
    }
}

#[test]
fn nothing_to_undo_is_a_plain_failure() {
    let mut run = Run::plan(saga(vec![task("a", &[]), undoable(task("b", &[0]))]));
    run.send("a");
    run.fail("a", FailureClass::Rejected, true);
    assert_eq!(run.status(), Status::Failed);
}

#[test]
fn a_compensation_that_fails_is_reported_and_the_others_go_on() {
    let mut run = trip();
    run.send("pay");
    run.fail("pay", FailureClass::Rejected, true);
    run.send("flight:compensate");
    let effects = run.fail("flight:compensate", FailureClass::Auth, true);
    assert!(effects.contains(&Effect::DeadLetter { task: 0 }), "{effects:?}");
    assert!(run.crash().contains(&Effect::DeadLetter { task: 0 }));
    run.done("hotel:compensate", json!(1));
    assert_eq!(run.status(), Status::Failed);
    assert!(run.words_of_causes().last().unwrap().ends_with("not undone: flight"));
    assert_eq!(run.state.outstanding(), [Effect::DeadLetter { task: 0 }, Effect::Ended]);
    let (class, message) = &**run.state.undone().unwrap().done[&0].as_ref().unwrap();
    assert_eq!((*class, &**message), (FailureClass::Auth, "task flight:compensate: it broke"));
}

#[test]
fn compensation_has_retries_and_a_time_of_its_own() {
    let mut plan = saga(vec![undoable(task("a", &[])), undoable(task("b", &[0])), task("c", &[1])]);
    plan.saga.retry = retry(2);
    plan.saga.timeout = Some(secs(60));
    for t in &mut plan.tasks {
        if let Some(undo) = &mut t.compensate {
            undo.retry = None;
        }
    }
    let mut run = Run::plan(plan);
    run.done("a", json!(1));
    run.done("b", json!(1));
    run.send("c");
    run.fail("c", FailureClass::Rejected, true);
    run.send("b:compensate");
    run.fail("b:compensate", FailureClass::Error, true);
    run.wait(SECOND);
    run.send("b:compensate");
    let effects = run.wait(secs(60));
    assert_eq!(aborted(&effects).len(), 1);
    assert_eq!(run.status(), Status::Failed);
    assert!(
        run.words_of_causes().last().unwrap().ends_with("not undone: a, b"),
        "{:?}",
        run.words_of_causes()
    );
}

#[test]
fn tasks_of_turns_are_undone_and_a_scope_may_answer_for_its_own() {
    let body = || vec![undoable(task("x", &[]))];
    for own in [false, true] {
        let whole = scope("s", &[], each("[1, 2]", None), body());
        let whole = if own { undoable(whole) } else { whole };
        let mut run = Run::plan(saga(vec![whole, task("then", &[0])]));
        run.done("s[1].x", json!("second"));
        run.done("s[0].x", json!("first"));
        run.send("then");
        run.fail("then", FailureClass::Rejected, true);
        if own {
            assert_eq!(run.ready(), ["s:compensate"]);
            assert_eq!(run.input("s:compensate"), json!({"undo": ["first", "second"]}));
            run.done("s:compensate", json!(1));
            assert_eq!(undone(&run), ["s"]);
        } else {
            run.done("s[0].x:compensate", json!(1));
            run.done("s[1].x:compensate", json!(1));
            assert_eq!(undone(&run), ["s[0].x", "s[1].x"]);
        }
        assert_eq!(run.status(), Status::Compensated);
    }
}

#[test]
fn a_compensatable_call_of_unknown_outcome_is_undone_instead_of_asked_about() {
    let mut run = Run::plan(saga(vec![undoable(task("a", &[]))]));
    run.send_as("a", Class::Compensatable);
    run.fail("a", FailureClass::Broken, false);
    assert_eq!((run.status(), run.ready()), (Status::Compensating, vec!["a:compensate".to_owned()]));
    assert_eq!(run.input("a:compensate"), json!({"undo": null}), "nothing is known of it");
    run.done("a:compensate", json!(1));
    assert_eq!(run.status(), Status::Compensated);

    let mut run = Run::plan(plan(vec![undoable(task("a", &[]))]));
    run.send_as("a", Class::Compensatable);
    run.fail("a", FailureClass::Broken, false);
    assert_eq!(run.state.tasks()[0].state_text(), "needs_decision", "nobody would undo it");
}

#[test]
fn a_lost_compensatable_call_is_undone() {
    let mut run = Run::plan(saga(vec![undoable(task("a", &[]))]));
    run.send_as("a", Class::Compensatable);
    run.step(Input::CallerLost { call: run.key("a"), lost: caller("m1"), heir: caller("m2") });
    assert_eq!(run.status(), Status::Compensating);
}

#[test]
fn open_calls_are_undone_with_the_rest_and_open_questions_without_one_are_reported() {
    let mut run = Run::plan(saga(vec![
        undoable(task("a", &[])),
        undoable(task("open", &[])),
        task("odd", &[]),
        task("f", &[0]),
    ]));
    run.done("a", json!("A"));
    run.send("open");
    run.send_as("odd", Class::Irreversible);
    run.fail("odd", FailureClass::Broken, false);
    run.send("f");
    let effects = run.fail("f", FailureClass::Rejected, true);
    assert!(effects.contains(&Effect::DeadLetter { task: run.task("odd") }), "{effects:?}");
    assert_eq!(aborted(&effects), [(run.key("open"), 1)]);
    run.done("open:compensate", json!(1));
    run.done("a:compensate", json!(1));
    assert_eq!(run.status(), Status::Failed);
    assert!(run.words_of_causes().last().unwrap().ends_with("not undone: odd"));
}

#[test]
fn compensation_may_be_paused_terminated_and_skipped() {
    let mut run = trip();
    run.send("pay");
    run.fail("pay", FailureClass::Rejected, true);
    run.pause();
    assert_eq!((run.status(), run.ready()), (Status::Paused, vec![]));
    run.resume();
    assert_eq!(run.status(), Status::Compensating);
    run.send("flight:compensate");
    run.terminate().unwrap();
    assert_eq!(run.status(), Status::Terminated);

    let never = with(undoable(task("a", &[])), |t| {
        if let Some(undo) = &mut t.compensate {
            undo.when = Some("output != 'x'".into());
        }
    });
    let mut run = Run::plan(saga(vec![never, fail("f", &[0], FailureClass::Error)]));
    run.done("a", json!("x"));
    assert_eq!((run.status(), undone(&run)), (Status::Compensated, vec!["a".into()]));
}

#[test]
fn a_compensation_can_be_a_whole_body() {
    let body = scope("undo", &[], ScopeMode::Once, vec![task("one", &[]), task("two", &[0])]);
    let a = with(task("a", &[]), |t| t.compensate = Some(Box::new(body)));
    let mut run = Run::plan(saga(vec![a, fail("f", &[0], FailureClass::Error)]));
    run.done("a", json!(1));
    run.done("a:compensate[0].one", json!(1));
    run.done("a:compensate[0].two", json!(1));
    assert_eq!(run.status(), Status::Compensated);
}

#[test]
fn a_time_out_of_the_execution_undoes_what_it_did() {
    let mut start = created(json!({}));
    start.timeout = secs(10);
    let mut run = Run::start(saga(vec![undoable(task("a", &[])), task("b", &[0])]), start);
    run.done("a", json!(1));
    run.wait(secs(10));
    assert_eq!(run.status(), Status::Compensating);
    run.done("a:compensate", json!(1));
    assert_eq!(run.status(), Status::Compensated);
}
