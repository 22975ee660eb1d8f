//! What an execution may spend, and what it lends to its sub-workflows.

use std::sync::Arc;

use base::{Effect as Class, ExecutionId, FailureClass};
use serde_json::json;
use workflow::{
    ChildOutcome, Compiled, Event, Input, Kind, ResetFrom, Spending, Status, TaskPhase, Usage, Why, fold,
    plan::{Budget, Child, NodeKind, Saga, Spend, TaskPlan},
};

use crate::common::*;

fn budgeted(budget: Budget, tasks: Vec<TaskPlan>) -> Run {
    let mut plan = plan(tasks);
    plan.limits.budget = budget;
    Run::plan(plan)
}

fn used(run: &Run, name: &str, attempt: u32, tokens: u64, money_micros: u64) -> Input {
    Input::Used { call: run.key(name), attempt, usage: Usage { tokens, money_micros } }
}

#[test]
fn a_spent_budget_of_calls_stops_new_ones() {
    let budget = Budget { calls: 2, ..Budget::default() };
    let mut run = budgeted(budget, vec![with(task("a", &[]), |t| t.retry = retry(3)), task("b", &[0])]);
    run.send("a");
    run.fail("a", FailureClass::Error, true);
    run.wait(SECOND);
    run.done("a", json!(1));
    assert_eq!(run.state.spent().calls, 2, "a retry is a call");
    run.assign("b", "i1", Class::Pure);
    assert_eq!(run.state.causes().last().unwrap().class, FailureClass::Budget);
    assert_eq!(run.status(), Status::Failed);
}

#[test]
fn tokens_and_money_are_held_back_while_a_call_is_open_and_settled_after() {
    let spend = Spend { tokens: 40, money_micros: 4, ..Spend::default() };
    let costly = |id: &str| with(task(id, &[]), |t| t.spend = spend);
    let budget = Budget { tokens: 100, money_micros: 9, ..Budget::default() };
    let mut run = budgeted(budget, vec![costly("a"), costly("b"), costly("c")]);
    run.send("a");
    run.send("b");
    assert_eq!((run.state.reserved().tokens, run.state.reserved().money_micros), (80, 8));
    run.assign("c", "i1", Class::Pure);
    assert_eq!(run.phase("c"), TaskPhase::Failed, "40 more would be too much");
    assert!(run.words_of_causes()[0].contains("100 tokens has 20 left"), "{:?}", run.words_of_causes());

    let mut run = budgeted(budget, vec![costly("a"), costly("b"), with(costly("c"), |t| t.after = vec![0])]);
    run.send("a");
    run.send("b");
    run.step(used(&run, "a", 1, 10, 1));
    run.step(used(&run, "a", 1, 10, 1));
    run.answer("a", json!(1));
    assert_eq!((run.state.spent().tokens, run.state.reserved().tokens), (10, 40), "counted once");
    run.send("c");
    run.answer("c", json!(1));
    run.step(used(&run, "c", 1, 90, 0));
    assert_eq!(run.state.spent().tokens, 100, "a late report counts");
    run.step(used(&run, "c", 9, 90, 0));
    assert_eq!(run.state.spent().tokens, 100, "of an attempt that never was it does not");
}

#[test]
fn the_lower_of_plan_and_start_holds_and_children_get_what_is_left() {
    let mut plan = plan(vec![task("a", &[]), sub("c", &[0])]);
    plan.limits.budget = Budget { calls: 10, tokens: 50, ..Budget::default() };
    let mut start = created(json!({}));
    start.settings.budget = Budget { calls: 3, money_micros: 7, ..Budget::default() };
    let mut run = Run::start(plan, start);
    assert_eq!(run.state.budget(), Budget { calls: 3, tokens: 50, money_micros: 7, depth: 0 });
    run.send("a");
    run.step(used(&run, "a", 1, 20, 2));
    run.answer("a", json!(1));
    let given = run.state.child(1).unwrap().budget;
    assert_eq!(given, Budget { calls: 2, tokens: 30, money_micros: 5, depth: 0 });
}

#[test]
fn compensation_is_not_held_to_the_budget() {
    let undo = |t: &mut TaskPlan| t.compensate = Some(Box::new(task("undo", &[])));
    let mut plan = plan(vec![with(task("a", &[]), undo), task("b", &[0])]);
    (plan.limits.budget, plan.saga) = (calls(1), Saga { on_failure: true, ..Saga::default() });
    let mut run = Run::plan(plan);
    run.done("a", json!(1));
    run.assign("b", "i1", Class::Pure);
    assert_eq!(run.status(), Status::Compensating);
    run.done("a:compensate", json!(1));
    assert_eq!(run.status(), Status::Compensated);
}

fn sub(id: &str, after: &[u32]) -> TaskPlan {
    node(id, after, NodeKind::Child(Child { workflow: "w".into(), version: "".into(), detached: false }))
}

fn child(run: &Run, task: u32) -> ExecutionId {
    run.state.child(task).unwrap().execution
}

/// The sub-workflow that `task` started ends after so many calls.
fn ends(run: &mut Run, task: u32, execution: ExecutionId, calls: u64) {
    let (outcome, spent) =
        (ChildOutcome::Completed(output(json!(1))), Spending { calls, ..Spending::default() });
    run.step(Input::ChildEnded { task, execution, outcome, spent });
}

fn calls(calls: u64) -> Budget {
    Budget { calls, ..Budget::default() }
}

#[test]
fn what_one_sub_workflow_was_lent_is_not_lent_to_another() {
    let mut run = budgeted(calls(3), vec![sub("a", &[]), sub("b", &[]), transform("c", &[], json!(1))]);
    assert_eq!((run.state.child(0).unwrap().budget.calls, run.state.reserved().calls), (3, 3));
    assert_eq!(run.phase("b"), TaskPhase::Pending, "it waits for what comes back");
    assert_eq!(run.phase("c"), TaskPhase::Completed, "what needs nothing of the budget passes it");
    let why = run.state.stuck(9);
    assert!(why.iter().any(|r| r.task.as_ref().unwrap().1 == "b" && r.why == Why::NoRoom), "{why:?}");
    run.crash();
    let first = child(&run, 0);
    ends(&mut run, 0, first, 1);
    assert_eq!((run.state.child(1).unwrap().budget.calls, run.state.spent().calls), (2, 1));
    let second = child(&run, 1);
    ends(&mut run, 1, second, 2);
    assert_eq!(
        (run.status(), run.state.spent().calls, run.state.reserved()),
        (Status::Completed, 3, Spending::default())
    );
}

#[test]
fn a_sub_workflow_that_finds_the_budget_spent_fails_and_one_that_finds_it_lent_does_not() {
    let mut run = budgeted(calls(1), vec![sub("a", &[]), sub("b", &[])]);
    let first = child(&run, 0);
    ends(&mut run, 0, first, 1);
    assert_eq!((run.status(), run.state.causes()[0].class), (Status::Failed, FailureClass::Budget));
}

#[test]
fn a_call_waits_while_all_that_is_left_is_lent() {
    let mut run = budgeted(calls(2), vec![sub("a", &[]), task("b", &[])]);
    assert!(!run.state.has_room(run.key("b")));
    run.assign("b", "i1", Class::Pure);
    assert_eq!(
        (run.phase("b"), run.state.spent().calls),
        (TaskPhase::Scheduled, 0),
        "it neither left nor failed"
    );
    let execution = child(&run, 0);
    ends(&mut run, 0, execution, 1);
    assert!(run.state.has_room(run.key("b")));
    run.done("b", json!(1));
    assert_eq!((run.status(), run.state.spent().calls), (Status::Completed, 2));
}

#[test]
fn sub_workflows_with_shares_of_their_own_run_side_by_side() {
    let share = |id: &str| with(sub(id, &[]), |t| t.spend = Spend { tokens: 40, ..Spend::default() });
    let budget = Budget { tokens: 100, ..Budget::default() };
    let run = budgeted(budget, vec![share("a"), share("b"), share("c"), share("d")]);
    let given = |t| run.state.child(t).map(|c: &Arc<workflow::ChildStart>| c.budget.tokens);
    assert_eq!([given(0), given(1), given(2), given(3)], [Some(40), Some(40), Some(20), None]);
    assert_eq!(run.state.reserved().tokens, 100);
    let few = |id: &str| with(sub(id, &[]), |t| t.spend = Spend { calls: 2, ..Spend::default() });
    let run = budgeted(calls(5), vec![few("a"), few("b"), task("c", &[])]);
    assert_eq!(run.state.reserved().calls, 4);
    assert!(run.state.has_room(run.key("c")));
}

#[test]
fn a_refused_sub_workflow_gives_back_what_it_was_lent() {
    let mut run = budgeted(calls(2), vec![with(sub("a", &[]), |t| t.optional = true), sub("b", &[])]);
    let (execution, message) = (child(&run, 0), "there is no workflow w".into());
    run.step(Input::ChildRefused { task: 0, execution, class: FailureClass::Definition, message });
    assert_eq!((run.phase("a"), run.state.child(1).unwrap().budget.calls), (TaskPhase::Failed, 2));
}

#[test]
fn what_a_reset_left_behind_is_counted_when_it_ends() {
    let mut run = budgeted(calls(5), vec![sub("a", &[])]);
    let old = child(&run, 0);
    let (by, reason): (Arc<str>, Arc<str>) = ("ann".into(), "again".into());
    run.step(Input::Reset { from: ResetFrom::Tasks(vec![0]), input: None, by, reason });
    assert_eq!(
        run.phase("a"),
        TaskPhase::Pending,
        "the one that is cancelled holds everything until its end"
    );
    assert_eq!(run.state.task_of_child(old), Some(0));
    ends(&mut run, 0, old, 2);
    ends(&mut run, 0, old, 2);
    let settled = |e: &&Event| matches!(e.kind, Kind::ChildSettled { .. });
    assert_eq!((run.log.iter().filter(settled).count(), run.state.spent().calls), (1, 2));
    assert_eq!(run.state.child(0).unwrap().budget.calls, 3);
    assert_ne!(child(&run, 0), old);
}

#[test]
fn what_an_execution_lent_and_did_not_get_back_counts_as_spent_when_it_ends() {
    let detached = NodeKind::Child(Child { workflow: "w".into(), version: "".into(), detached: true });
    let mut run = budgeted(calls(3), vec![node("a", &[], detached)]);
    let execution = child(&run, 0);
    run.step(Input::ChildAccepted { task: 0, execution, version: "1".into() });
    assert_eq!(run.status(), Status::Completed);
    assert_eq!(
        (run.state.spent().calls, run.state.spent_at_end().calls),
        (0, 3),
        "its parent hears of no more"
    );
    ends(&mut run, 0, execution, 1);
    assert_eq!((run.state.spent().calls, run.state.spent_at_end().calls), (1, 1));
}

#[test]
fn a_sub_workflow_that_undoes_is_not_held_to_the_budget() {
    let undo = |t: &mut TaskPlan| t.compensate = Some(Box::new(sub("undo", &[])));
    let mut plan = plan(vec![with(task("a", &[]), undo), task("b", &[0])]);
    (plan.limits.budget, plan.saga) = (calls(1), Saga { on_failure: true, ..Saga::default() });
    let mut run = Run::plan(plan);
    run.done("a", json!(1));
    run.assign("b", "i1", Class::Pure);
    assert_eq!(run.status(), Status::Compensating);
    let undo = run.task("a:compensate");
    assert_eq!(run.state.child(undo).unwrap().budget, Budget::default());
    let execution = child(&run, undo);
    ends(&mut run, undo, execution, 3);
    assert_eq!(run.status(), Status::Compensated);
}

#[test]
fn in_a_log_of_before_nothing_is_held_back() {
    let run = budgeted(calls(3), vec![sub("a", &[]), task("b", &[])]);
    let before = |event: &Event| match &event.kind {
        Kind::ChildStarted { task, child } => {
            let child = workflow::ChildStart { lent: false, ..(**child).clone() };
            Event { at: event.at, kind: Kind::ChildStarted { task: *task, child: Arc::new(child) } }
        }
        _ => event.clone(),
    };
    let log: Vec<Event> = run.log.iter().map(before).collect();
    let plan: &Arc<Compiled> = run.state.plan();
    let state = fold(run.state.id(), plan.clone(), &log).unwrap();
    assert_eq!(state.reserved(), Spending::default());
    assert!(state.has_room(run.key("b")));
}
