//! Plans that cannot run, logs that do not fit, and names.

use std::sync::Arc;

use base::{ExecutionId, Payload, Timestamp};
use serde_json::json;
use uuid::Uuid;
use workflow::{
    CallKey, Compiled, Decision, Event, Kind, PlanError, SkipReason, Status, fold,
    plan::{InputSpec, OutputSpec, Plan, Spread},
};

use crate::common::{Run, plan, task, with};

fn refused(plan: Plan) -> String {
    Compiled::new(plan).unwrap_err().to_string()
}

#[test]
fn a_plan_of_wrong_shape_is_refused_and_says_where() {
    for (tasks, words) in [
        (vec![task("a", &[]), task("a", &[])], "task a: the id is used twice"),
        (vec![task("a", &[0])], "task a: depends on task number 0, which does not stand before it"),
        (vec![task("a", &[7])], "task a: depends on task number 7, which does not stand before it"),
        (vec![task("a", &[]), task("b", &[0, 0])], "task b: depends on task number 0 twice"),
        (
            vec![with(task("a", &[]), |t| t.spread = Spread::Parallel { count: Some(4_000_000_000) })],
            "task a: asks for 4000000000 calls, the limit is 100000",
        ),
    ] {
        assert_eq!(refused(plan(tasks)), words);
    }
    let output = OutputSpec::Tasks(vec!["z".into()]);
    assert_eq!(
        refused(Plan { output, ..plan(vec![task("a", &[])]) }),
        "task z: is named as an output but is no task"
    );
    let newer = Plan { schema: 77, ..plan(vec![]) };
    assert_eq!(Compiled::new(newer).unwrap_err(), PlanError::Schema { found: 77 });
}

#[test]
fn an_expression_that_does_not_compile_says_where() {
    let bad = || "1 +".to_owned();
    for (place, task) in [
        ("when", with(task("a", &[]), |t| t.when = Some(bad()))),
        ("for_each", with(task("a", &[]), |t| t.spread = Spread::ForEach { list: bad(), width: None })),
        ("input", with(task("a", &[]), |t| t.input = InputSpec::Template(json!({"x": "${ 1 + }"})))),
    ] {
        let words = refused(plan(vec![task]));
        assert!(words.starts_with(&format!("task a, {place}: ")), "{words}");
    }
    let words = refused(Plan { output: OutputSpec::Template(json!("${ 1 + }")), ..plan(vec![]) });
    assert!(words.starts_with("task , output: "), "{words}");
}

#[test]
fn a_compiled_plan_finds_tasks_and_successors() {
    let plan = Compiled::new(plan(vec![task("a", &[]), task("b", &[0]), task("c", &[0])])).unwrap();
    assert_eq!((plan.task_index("c"), plan.task_index("z")), (Some(2), None));
    assert_eq!((plan.successors(0), plan.successors(2), plan.successors(9)), (&[1, 2][..], &[][..], &[][..]));
}

#[test]
fn statuses_read_back() {
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
    }
    assert_eq!(Status::parse("happy"), None);
    assert_eq!(Status::ALL.iter().filter(|s| s.is_final()).count(), 5);
    for reason in [SkipReason::Condition, SkipReason::DependencyFailed, SkipReason::DependenciesSkipped] {
        assert!(!reason.as_str().is_empty());
    }
}

#[test]
fn a_log_begins_with_a_creation() {
    let run = Run::of(vec![task("a", &[])]);
    let (id, plan) = (run.state.id(), run.state.plan().clone());
    assert!(fold(id, plan.clone(), []).is_none());
    assert!(fold(id, plan.clone(), &run.log[1..]).is_none());
    let twice = [run.log[0].clone(), run.log[0].clone()];
    assert_eq!(fold(id, plan, &twice).unwrap().seq(), 2);
}

#[test]
fn the_state_tells_what_it_was_started_with() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    assert_eq!(run.state.id(), ExecutionId::new(Uuid::from_u128(1)));
    assert_eq!(&*run.state.created().principal, "ann");
    assert_eq!(run.state.created_at(), Timestamp::from_millis(1_000_000));
    assert_eq!(run.state.open_calls().count(), 1);
    assert_eq!(run.state.agents().len(), 1);
}

/// One of each kind, about `call`.
fn every_kind(call: CallKey, log: &[Event]) -> Vec<Kind> {
    let (text, payload) = (Arc::<str>::from("x"), Payload::null());
    let (task, checkpoint) = (call.task, crate::common::checkpoint(1));
    let class = base::FailureClass::Error;
    let started = log.iter().find(|e| matches!(e.kind, Kind::AttemptStarted { .. })).unwrap().kind.clone();
    let Kind::AttemptStarted { to, .. } = started else { unreachable!() };
    let (by, reason, message, prompt, output) =
        (text.clone(), text.clone(), text.clone(), payload.clone(), payload.clone());
    let (agent_task_id, context_id) = (text.clone(), text.clone());
    vec![
        log[0].kind.clone(),
        Kind::Admitted,
        Kind::TaskScheduled { task, items: 2, width: 1, scattered: true },
        Kind::TaskSkipped { task, reason: SkipReason::Condition },
        Kind::AttemptStarted { call, attempt: 1, retry: 0, to },
        Kind::AttemptBound { call, agent_task_id: agent_task_id.clone(), context_id: context_id.clone() },
        Kind::AttemptAdopted { call, caller: crate::common::caller("m9") },
        Kind::AttemptFailed {
            call,
            class,
            message: message.clone(),
            outcome_known: true,
            retry_at: Some(Timestamp::from_millis(9)),
            call_us: u64::MAX,
        },
        Kind::ItemCompleted { call, output: output.clone(), call_us: u64::MAX },
        Kind::TaskCompleted { task, output: Some(output.clone()), call_us: 1 },
        Kind::TaskCompleted { task, output: None, call_us: 1 },
        Kind::TaskFailed { call, class, message: message.clone(), tolerated: true, spared: false },
        Kind::TaskFailed { call, class, message: message.clone(), tolerated: false, spared: false },
        Kind::InputRequired { call, prompt, agent_task_id, context_id, call_us: 1 },
        Kind::InputProvided { call, input: payload, by: by.clone() },
        Kind::NeedsDecision { call, message: message.clone() },
        Kind::DecisionMade { call, decision: Decision::Retry, by: by.clone(), message: message.clone() },
        Kind::DecisionMade { call, decision: Decision::Failed, by: by.clone(), message: message.clone() },
        Kind::NoAgent { call, reason: reason.clone() },
        Kind::Paused { by: by.clone(), reason: reason.clone(), checkpoint },
        Kind::Resumed { by: by.clone() },
        Kind::Completed { output },
        Kind::Failed { class, message },
        Kind::Cancelled { by: by.clone(), reason: reason.clone() },
        Kind::Terminated { by, reason },
        Kind::Checkpoint { checkpoint },
        Kind::LateResult { call, what: text },
        Kind::HistoryWarning { events: 1, bytes: 1 },
    ]
}

#[test]
fn facts_that_do_not_fit_never_stop_a_replay() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[0])]);
    run.send("a");
    for call in [CallKey::new(0, 0), CallKey::new(1, 0), CallKey::new(0, 9), CallKey::new(9, 0)] {
        let kinds = every_kind(call, &run.log);
        for first in &kinds {
            for second in &kinds {
                for third in &kinds {
                    let odd = [first, second, third].map(|k| Event { at: run.now, kind: k.clone() });
                    let state =
                        fold(run.state.id(), run.state.plan().clone(), run.log.iter().chain(&odd)).unwrap();
                    assert_eq!(state.seq(), run.log.len() as u64 + 3);
                    drop((state.outstanding(), state.current_phase(), state.room()));
                }
            }
        }
    }
}

#[test]
fn a_fact_knows_the_task_it_is_about() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    let about = every_kind(CallKey::new(3, 1), &run.log).iter().filter(|k| k.task() == Some(3)).count();
    assert_eq!(about, 18);
    assert_eq!(Kind::Admitted.task(), None);
}
