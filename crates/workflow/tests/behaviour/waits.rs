//! Timers, events, signals, people, steps, published events and sub-workflows.

use std::sync::Arc;

use base::{ExecutionId, FailureClass};
use serde_json::{Value, json};
use uuid::Uuid;
use workflow::{
    ChildOutcome, Effect, Input, Kind, Refusal, Spending, Status, TaskPhase, Verdict, Waiting,
    plan::{Approval, Budget, Child, Emit, Escalation, NodeKind, Plan, ScopeMode, TaskPlan, Timeouts, Wait},
};

use crate::common::*;

fn wait(id: &str, after: &[u32], wait: Wait) -> TaskPlan {
    node(id, after, NodeKind::Wait(wait))
}

fn event_wait(id: &str, filter: Option<&str>, key: Option<&str>, count: u32) -> TaskPlan {
    let (filter, key) = (filter.map(Into::into), key.map(Into::into));
    wait(id, &[], Wait::Event { topic: "orders".into(), filter, key, count })
}

#[test]
fn a_timer_waits_for_a_time_given_in_any_form() {
    for (until, seconds) in [("'90s'", 90), ("120", 120), ("duration('2m')", 120), ("0.5", 1)] {
        let mut run = Run::of(vec![wait("t", &[], Wait::Timer { until: until.into() })]);
        run.crash();
        run.wait(secs(seconds - 1));
        assert_eq!(run.status(), Status::Executing, "{until}");
        run.wait(secs(1));
        assert_eq!((run.status(), run.result()), (Status::Completed, Value::Null), "{until}");
        assert_eq!(run.state.next_timer(run.now), None);
    }
    let run = Run::of(vec![wait("t", &[], Wait::Timer { until: "'2001-01-01T00:00:00Z'".into() })]);
    assert!(
        run.state.next_timer(base::Timestamp::from_micros(i64::MIN)).is_some(),
        "a time that is over is due"
    );
}

#[test]
fn a_timer_without_a_time_fails() {
    for until in ["'soon'", "true", "-1"] {
        let run = Run::of(vec![wait("t", &[], Wait::Timer { until: until.into() })]);
        assert_eq!(run.state.causes()[0].class, FailureClass::Definition, "{until}");
    }
}

#[test]
fn an_event_completes_the_wait_it_fits() {
    let mut run =
        Run::of(vec![event_wait("w", Some("event.payload.total > 10"), Some("string(input.q)"), 1)]);
    run.event("1", "orders", "2", json!({"total": 99}));
    run.event("2", "parcels", "1", json!({"total": 99}));
    run.event("3", "orders", "1", json!({"total": 5}));
    run.event("4", "orders", "1", json!({"none": 5}));
    assert_eq!(run.phase("w"), TaskPhase::Scheduled);
    run.crash();
    run.event("5", "orders", "1", json!({"total": 11}));
    assert_eq!(run.result()["payload"], json!({"total": 11}));
    assert_eq!((run.result()["type"].clone(), run.result()["key"].clone()), (json!("orders"), json!("1")));
}

#[test]
fn an_event_before_its_wait_is_kept_taken_once_and_expires() {
    let mut run = Run::of(vec![task("a", &[]), with(event_wait("w", None, None, 1), |t| t.after = vec![0])]);
    run.event("old", "orders", "", json!("old"));
    run.now = run.now.plus(secs(24 * 3600));
    run.event("e1", "orders", "", json!(1));
    run.event("e1", "orders", "", json!("again"));
    run.event("e2", "orders", "", json!(2));
    run.try_event("e3", "orders", "", json!(3), 5).unwrap();
    run.done("a", json!(1));
    assert_eq!(run.result()["payload"], json!(3), "a higher priority is taken first, what expired is not");
    let received = run.log.iter().filter(|e| matches!(e.kind, Kind::EventReceived { .. })).count();
    assert_eq!(received, 4, "a repeat is no news");
}

#[test]
fn a_wait_for_several_events_takes_kept_and_new_ones_in_order() {
    let mut run = Run::of(vec![task("a", &[]), with(event_wait("w", None, None, 3), |t| t.after = vec![0])]);
    run.event("e1", "orders", "", json!(1));
    run.event("e2", "orders", "", json!(2));
    run.done("a", json!(1));
    run.crash();
    run.event("e3", "orders", "", json!(3));
    let payloads: Vec<Value> =
        run.result().as_array().unwrap().iter().map(|e| e["payload"].clone()).collect();
    assert_eq!(payloads, [1, 2, 3]);
}

#[test]
fn every_open_wait_takes_an_event_and_a_later_one_does_not() {
    let mut run = Run::of(vec![
        event_wait("w1", None, None, 1),
        event_wait("w2", None, None, 1),
        with(event_wait("w3", None, None, 1), |t| t.after = vec![0]),
    ]);
    run.event("e", "orders", "", json!(1));
    let phases = ["w1", "w2", "w3"].map(|w| run.phase(w));
    assert_eq!(phases, [TaskPhase::Completed, TaskPhase::Completed, TaskPhase::Scheduled]);
}

#[test]
fn more_events_than_are_kept_are_refused() {
    let mut start = created(json!({}));
    start.settings.events_max = 2;
    let mut run = Run::start(plan(vec![task("a", &[])]), start);
    run.event("1", "orders", "", json!(1));
    run.signal("go", json!(1));
    let refused = run.try_event("3", "orders", "", json!(1), 0);
    assert_eq!(refused, Err(Refusal::EventsFull { max: 2 }));
    let signal = Input::Signal { name: "x".into(), payload: output(json!(1)), id: "".into(), by: "".into() };
    assert_eq!(run.try_step(signal).map(drop), Err(Refusal::EventsFull { max: 2 }));
}

#[test]
fn a_wait_that_takes_too_long_times_out() {
    let limited =
        |t: TaskPlan| with(t, |t| t.timeouts = Timeouts { total: Some(secs(9)), ..Timeouts::default() });
    for waiting in [
        event_wait("w", None, None, 1),
        wait("w", &[], Wait::Signal { name: "s".into(), schema: None }),
        wait("w", &[], Wait::Approval(Approval::default())),
        wait("w", &[], Wait::Step),
        wait("w", &[], Wait::Timer { until: "'1h'".into() }),
    ] {
        let mut run = Run::of(vec![limited(waiting)]);
        run.wait(secs(9));
        assert_eq!(run.status(), Status::Failed);
        assert_eq!(run.state.causes()[0].class, FailureClass::Timeout);
    }
}

#[test]
fn signals_reach_their_wait_before_and_after_it_opens() {
    let signal = |id: &str, after: &[u32]| wait(id, after, Wait::Signal { name: "go".into(), schema: None });
    let mut run = Run::of(vec![signal("a", &[]), signal("b", &[0])]);
    run.signal("other", json!(0));
    run.signal("go", json!("now"));
    assert_eq!((run.out("a"), run.phase("b")), (json!("now"), TaskPhase::Scheduled));
    run.crash();
    run.signal("go", json!("then"));
    assert_eq!(run.result(), json!("then"));

    let mut run = Run::of(vec![task("x", &[]), signal("a", &[0])]);
    let once =
        || Input::Signal { name: "go".into(), payload: output(json!(1)), id: "7".into(), by: "ann".into() };
    run.step(once());
    run.step(once());
    assert_eq!(run.log.len(), 4, "a repeat is no news");
    run.done("x", json!(1));
    assert_eq!(run.result(), json!(1));
    assert!(run.try_step(once()).is_err(), "it is over");
}

fn ask(who: &[&str], escalate: Vec<Escalation>) -> TaskPlan {
    let who = who.iter().map(|w| (*w).to_owned()).collect();
    wait(
        "ask",
        &[],
        Wait::Approval(Approval { title: "pay ${ input.q }?".into(), who, form: None, escalate }),
    )
}

fn decide(run: &Run, verdict: Verdict, by: &str, groups: &[&str]) -> Input {
    Input::Decide {
        task: run.task("ask"),
        verdict,
        by: by.into(),
        names: groups.iter().map(|g| Arc::from(*g)).collect(),
        comment: "well".into(),
        form: (verdict == Verdict::Answered).then(|| output(json!({"a": 1}))),
    }
}

#[test]
fn people_approve_answer_or_reject() {
    for (verdict, status) in [
        (Verdict::Approved, Status::Completed),
        (Verdict::Answered, Status::Completed),
        (Verdict::Rejected, Status::Failed),
    ] {
        let mut run = Run::of(vec![ask(&[], vec![])]);
        assert_eq!(&*run.state.approval(0).unwrap().title, "pay 1?");
        assert_eq!(run.crash(), [Effect::AskApproval { task: 0 }]);
        run.step(decide(&run, verdict, "bob", &[]));
        assert_eq!(run.status(), status);
        match verdict {
            Verdict::Rejected => {
                assert_eq!(run.state.causes()[0].class, FailureClass::Rejected);
                assert_eq!(run.words_of_causes()[0], "bob said no: well");
            }
            _ => {
                let form = if verdict == Verdict::Answered { json!({"a": 1}) } else { Value::Null };
                let want =
                    json!({"decision": verdict.as_str(), "by": "bob", "comment": "well", "form": form});
                assert_eq!(run.result(), want);
            }
        }
    }
}

#[test]
fn only_those_who_are_asked_may_answer_and_more_after_each_escalation() {
    let step = |after: u64, who: &str| Escalation { after: secs(after), who: vec![who.into()] };
    let mut run = Run::of(vec![ask(&["ann", "chiefs"], vec![step(60, "dora"), step(120, "eve")])]);
    let refused = run.try_step(decide(&run, Verdict::Approved, "dora", &["staff"])).unwrap_err();
    assert_eq!(refused.to_string(), "dora may not decide ask; ask ann, chiefs");
    let effects = run.wait(secs(60));
    assert_eq!(effects, [Effect::Escalate { task: 0, step: 0 }]);
    let effects = run.wait(secs(60));
    assert_eq!(effects, [Effect::Escalate { task: 0, step: 1 }]);
    assert_eq!(run.state.next_timer(run.now), None);
    assert_eq!(run.state.may_answer(0), ["ann", "chiefs", "dora", "eve"]);
    let outstanding = run.crash();
    assert_eq!(outstanding.len(), 3, "the question and both steps: {outstanding:?}");
    run.step(decide(&run, Verdict::Approved, "dora", &[]));
    assert_eq!(run.status(), Status::Completed);

    let mut run = Run::of(vec![ask(&["chiefs"], vec![step(60, "dora")])]);
    run.step(decide(&run, Verdict::Approved, "zoe", &["chiefs"]));
    assert_eq!((run.status(), run.state.next_timer(run.now)), (Status::Completed, None), "a group counts");
}

#[test]
fn a_step_waits_for_an_operator() {
    let mut run = Run::of(vec![wait("a", &[], Wait::Step), wait("b", &[0], Wait::Step), task("c", &[])]);
    let refused = run.try_step(Input::GrantStep { task: Some(run.task("c")), by: "ann".into() });
    assert!(refused.is_err());
    run.step(Input::GrantStep { task: None, by: "ann".into() });
    assert_eq!(run.phase("a"), TaskPhase::Completed);
    run.step(Input::GrantStep { task: Some(run.task("b")), by: "ann".into() });
    assert_eq!(run.phase("b"), TaskPhase::Completed);
}

fn emit(key: Option<&str>) -> TaskPlan {
    let key = key.map(Into::into);
    let payload = json!({"n": "${ input.q }"});
    node(
        "e",
        &[],
        NodeKind::Emit(Emit {
            topic: "t${ input.q }".into(),
            event_type: "made".into(),
            payload,
            key,
            priority: 2,
        }),
    )
}

#[test]
fn an_event_is_published_once_it_is_on_disk_and_has_the_same_id_again() {
    let mut run = Run::queued(plan(vec![emit(Some("'k'"))]), created(json!({"q": 1})));
    let effects = run.step(Input::Admit);
    assert_eq!(effects, [Effect::Publish { task: 0 }]);
    let event = run.state.emitted(0).unwrap().clone();
    assert_eq!((&*event.topic, &*event.key, event.priority), ("t1", "k", 2));
    assert_eq!(run.crash(), [Effect::Publish { task: 0 }]);
    assert_eq!(run.state.emitted(0), Some(&event));
    run.step(Input::Published { task: 0 });
    assert_eq!(run.result(), json!({"event_id": &*event.id}));
    run.step(Input::Published { task: 0 });
    assert_eq!(run.state.outstanding(), [Effect::Ended]);
    let other = Run::start(plan(vec![emit(None)]), created(json!({"q": 2})));
    assert_eq!(other.state.emitted(0).unwrap().id, event.id, "the id names execution, task and run");
    let failed = Run::of(vec![emit(Some("null"))]);
    assert_eq!(failed.state.causes()[0].class, FailureClass::Definition);
}

fn child(detached: bool) -> TaskPlan {
    node(
        "c",
        &[],
        NodeKind::Child(Child { workflow: "sub-${ input.q }".into(), version: "^1".into(), detached }),
    )
}

fn ended(run: &Run, outcome: ChildOutcome) -> Input {
    let execution = run.state.child(0).unwrap().execution;
    let spent = Spending { calls: 2, tokens: 30, money_micros: 4 };
    Input::ChildEnded { task: 0, execution, outcome, spent }
}

#[test]
fn a_sub_workflow_runs_as_an_execution_of_its_own() {
    let mut run = Run::queued(plan(vec![child(false)]), created(json!({"q": 1})));
    assert_eq!(run.step(Input::Admit), [Effect::StartChild { task: 0 }]);
    let started = run.state.child(0).unwrap().clone();
    assert_eq!((&*started.workflow, &*started.version, started.depth), ("sub-1", "^1", 1));
    assert_eq!(run.crash(), [Effect::StartChild { task: 0 }]);
    assert_eq!(run.state.child(0), Some(&started), "a repeat is the same execution");
    let (execution, version) = (started.execution, "1.4".into());
    run.step(Input::ChildAccepted { task: 0, execution, version });
    let stranger = ExecutionId::new(Uuid::from_u128(5));
    let spent = Spending::default();
    let outcome = ChildOutcome::Completed(output(json!("no")));
    run.step(Input::ChildEnded { task: 0, execution: stranger, outcome, spent });
    assert_eq!(run.phase("c"), TaskPhase::Scheduled);
    run.step(ended(&run, ChildOutcome::Completed(output(json!("yes")))));
    assert_eq!((run.result(), run.state.spent().calls), (json!("yes"), 2));
}

#[test]
fn a_sub_workflow_that_fails_or_cannot_start_fails_its_task() {
    let refused = ChildOutcome::Failed { class: FailureClass::Auth, message: "no".into() };
    let mut run = Run::of(vec![child(false)]);
    run.step(ended(&run, refused));
    assert_eq!(run.state.causes()[0].class, FailureClass::Auth);
    let mut run = Run::of(vec![child(false)]);
    let execution = run.state.child(0).unwrap().execution;
    let message = "there is no workflow sub-1".into();
    run.step(Input::ChildRefused { task: 0, execution, class: FailureClass::Definition, message });
    assert_eq!(run.status(), Status::Failed);
}

#[test]
fn a_detached_sub_workflow_is_done_when_it_has_started() {
    let mut run = Run::of(vec![child(true)]);
    let execution = run.state.child(0).unwrap().execution;
    run.step(Input::ChildAccepted { task: 0, execution, version: "1".into() });
    assert_eq!(run.result(), json!({"execution_id": execution.to_string()}));
    assert_eq!(run.state.outstanding(), [Effect::Ended], "nobody cancels it");
}

#[test]
fn how_a_detached_sub_workflow_ends_is_nothing_to_its_task_even_when_it_is_known_first() {
    let mut run = Run::of(vec![child(true)]);
    let execution = run.state.child(0).unwrap().execution;
    run.step(ended(&run, ChildOutcome::Failed { class: FailureClass::Error, message: "no".into() }));
    assert_eq!(run.result(), json!({"execution_id": execution.to_string()}));
}

#[test]
fn a_sub_workflow_is_cancelled_with_its_task_until_its_end_is_known() {
    let mut run = Run::of(vec![child(false), task("other", &[])]);
    let execution = run.state.child(0).unwrap().execution;
    let effects = run.cancel().unwrap();
    assert_eq!(effects, [Effect::CancelChild { task: 0, execution }, Effect::Ended]);
    assert_eq!(run.crash(), [Effect::CancelChild { task: 0, execution }, Effect::Ended]);
    run.step(ended(
        &run,
        ChildOutcome::Failed { class: FailureClass::Operator, message: "cancelled".into() },
    ));
    assert_eq!(run.crash(), [Effect::Ended]);
    assert_eq!(run.state.spent().tokens, 30, "what it spent counts all the same");
}

#[test]
fn sub_workflows_stand_only_so_deep() {
    let mut plan = plan(vec![child(false)]);
    plan.limits.budget = Budget { depth: 1, ..Budget::default() };
    let mut start = created(json!({"q": 1}));
    let parent =
        workflow::Parent { execution: ExecutionId::new(Uuid::from_u128(9)), task: "c".into(), depth: 1 };
    start.settings.parent = Some(Arc::new(parent));
    let run = Run::start(plan, start);
    assert_eq!(run.state.causes()[0].class, FailureClass::Budget);
}

fn driven(tasks: Vec<TaskPlan>) -> Plan {
    Plan { event_driven: [("b".to_owned(), "orders".to_owned())].into(), ..plan(tasks) }
}

#[test]
fn an_event_driven_task_starts_with_an_event_and_its_edges() {
    let b = with(transform("b", &[0], json!("${ event.payload }")), |t| t.after = vec![0]);
    let tasks = || vec![task("a", &[]), b.clone()];
    let mut run = Run::plan(driven(tasks()));
    run.event("e1", "orders", "", json!("first"));
    assert_eq!(run.phase("b"), TaskPhase::Pending);
    run.done("a", json!(1));
    assert_eq!(run.out("b"), json!("first"), "it came before the edges were ready");
    let mut run = Run::plan(driven(tasks()));
    run.done("a", json!(1));
    assert!(matches!(run.state.tasks()[1].waiting(), Some(Waiting::Event { .. })));
    run.crash();
    run.event("e1", "orders", "", json!("later"));
    assert_eq!((run.out("b"), run.status()), (json!("later"), Status::Completed));
}

#[test]
fn the_mode_of_a_task_can_be_switched_while_it_runs() {
    let tasks = || vec![task("a", &[]), transform("b", &[0], json!(1))];
    let by = || Arc::<str>::from("ann");
    let mut run = Run::plan(driven(tasks()));
    run.done("a", json!(1));
    run.step(Input::SwitchMode { task: 1, topic: None, by: by() });
    assert_eq!(run.status(), Status::Completed, "its edges were resolved");

    let mut run = Run::of(tasks());
    run.step(Input::SwitchMode { task: 1, topic: Some("news".into()), by: by() });
    run.done("a", json!(1));
    assert_eq!((run.phase("b"), run.state.driven_by(1)), (TaskPhase::Pending, Some("news")));
    let before = run.log.len();
    run.step(Input::SwitchMode { task: 1, topic: Some("news".into()), by: by() });
    assert_eq!(run.log.len(), before, "nothing changed");
    run.event("x", "other", "", json!(1));
    run.step(Input::SwitchMode { task: 1, topic: Some("other".into()), by: by() });
    assert_eq!(run.status(), Status::Completed, "what was kept starts it");
    let refused = run.try_step(Input::SwitchMode { task: 1, topic: None, by: by() });
    assert!(refused.is_err());
}

#[test]
fn waits_in_turns_end_with_their_turn() {
    let body = vec![event_wait("w", None, None, 1), fail("f", &[], FailureClass::Error)];
    let run = Run::of(vec![scope("s", &[], ScopeMode::Once, body)]);
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.phase("s[0].w"), TaskPhase::Cancelled);
}
