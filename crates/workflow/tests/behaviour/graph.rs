//! Dependencies, conditions, skipping, outputs and what is shown.

use base::FailureClass;
use serde_json::{Value, json};
use workflow::{
    CallKey, Effect, Kind, SkipReason, Status, TaskPhase,
    plan::{Limits, OutputSpec, Plan},
};

use crate::common::{Run, plan, secs, task, with};

#[test]
fn nothing_runs_before_admission() {
    let mut run = Run::queued(plan(vec![task("a", &[])]), crate::common::created(json!(null)));
    assert_eq!(run.status(), Status::Planning);
    assert!(run.ready().is_empty() && run.state.outstanding().is_empty());
    let effects = run.step(workflow::Input::Admit);
    assert_eq!(effects, [Effect::Dispatch { call: CallKey::new(0, 0), at: run.now }]);
    assert_eq!((run.status(), run.state.started_at()), (Status::Executing, Some(run.now)));
    assert!(run.facts(|r| drop(r.step(workflow::Input::Admit))).is_empty(), "admitted twice is admitted");
}

#[test]
fn a_task_waits_for_all_it_depends_on() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[]), task("c", &[0, 1])]);
    assert_eq!(run.ready(), ["a", "b"]);
    run.done("a", json!(1));
    assert_eq!(run.ready(), ["b"]);
    run.done("b", json!(2));
    assert_eq!(run.ready(), ["c"]);
    run.done("c", json!(3));
    assert_eq!((run.status(), run.result()), (Status::Completed, json!(3)));
    assert_eq!(run.state.completed_tasks(), 3);
    assert_eq!(run.state.ended_at(), Some(run.now));
    assert_eq!(run.state.outstanding(), [Effect::Ended]);
}

#[test]
fn a_diamond_joins_once() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[0]), task("c", &[0]), task("d", &[1, 2])]);
    for name in ["a", "c", "b", "d"] {
        run.done(name, json!(name));
    }
    let scheduled = run.log.iter().filter(|e| matches!(e.kind, Kind::TaskScheduled { .. })).count();
    assert_eq!((scheduled, run.status()), (4, Status::Completed));
}

#[test]
fn a_plan_without_tasks_completes_at_once() {
    assert_eq!((Run::of(vec![]).status(), Run::of(vec![]).result()), (Status::Completed, Value::Null));
}

#[test]
fn a_false_condition_skips_the_task() {
    let when = |text: &str| Some(text.to_owned());
    let run = Run::of(vec![
        with(task("a", &[]), |t| t.when = when("input.q > 5")),
        with(task("b", &[]), |t| t.when = when("input.q == 1")),
    ]);
    assert_eq!(run.phase("a"), TaskPhase::Skipped(SkipReason::Condition));
    assert_eq!(run.ready(), ["b"]);
}

#[test]
fn a_condition_sees_outputs_states_metadata_and_names() {
    let text = "tasks.a.output.n == 2 && tasks.a.status == 'completed' && workflow.name == 'w' && \
                metadata.team == 'x' && execution.priority == 4";
    let mut created = crate::common::created(json!(null));
    (created.metadata_json, created.priority) = (r#"{"team":"x"}"#.into(), 4);
    let b = with(task("b", &[0]), |t| t.when = Some(text.into()));
    let mut run = Run::start(plan(vec![task("a", &[]), b]), created);
    run.done("a", json!({"n": 2}));
    assert_eq!(run.ready(), ["b"]);
}

#[test]
fn skipping_goes_on_when_everything_before_was_skipped() {
    let skipped = |id, after: &[u32]| with(task(id, after), |t| t.when = Some("false".into()));
    let run = Run::of(vec![skipped("a", &[]), task("b", &[0]), task("c", &[1])]);
    assert_eq!(run.phase("b"), TaskPhase::Skipped(SkipReason::DependenciesSkipped));
    assert_eq!(run.phase("c"), TaskPhase::Skipped(SkipReason::DependenciesSkipped));
    assert_eq!((run.status(), run.result()), (Status::Completed, Value::Null));
}

#[test]
fn a_task_runs_when_some_of_what_it_depends_on_was_skipped() {
    let a = with(task("a", &[]), |t| t.when = Some("false".into()));
    let mut run = Run::of(vec![a, task("b", &[]), task("c", &[0, 1])]);
    run.done("b", json!(2));
    assert_eq!(run.ready(), ["c"]);
    assert_eq!(run.input("c"), json!({"input": {"q": 1}, "dependencies": {"b": 2}}));
}

#[test]
fn a_condition_that_fails_fails_its_task() {
    let run = Run::of(vec![with(task("a", &[]), |t| t.when = Some("input.nothing.here".into()))]);
    assert_eq!((run.status(), run.phase("a")), (Status::Failed, TaskPhase::Failed));
    assert_eq!(run.state.causes()[0].class, FailureClass::Definition);
    assert!(run.words_of_causes()[0].starts_with("when: "), "{:?}", run.words_of_causes());
}

#[test]
fn what_depends_on_a_tolerated_failure_is_skipped() {
    let optional = with(task("a", &[]), |t| t.optional = true);
    let mut run = Run::of(vec![optional, task("b", &[0]), task("c", &[1]), task("d", &[])]);
    run.send("a");
    run.fail("a", FailureClass::Rejected, true);
    assert_eq!(run.phase("b"), TaskPhase::Skipped(SkipReason::DependencyFailed));
    assert_eq!(run.phase("c"), TaskPhase::Skipped(SkipReason::DependencyFailed));
    run.done("d", json!(4));
    assert_eq!((run.status(), run.result()), (Status::Completed, json!({"d": 4})));
}

#[test]
fn the_output_of_several_last_tasks_is_an_object() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[0]), task("c", &[0])]);
    for name in ["a", "b", "c"] {
        run.done(name, json!(name));
    }
    assert_eq!(run.result(), json!({"b": "b", "c": "c"}));
}

fn with_output(tasks: &[&str], output: OutputSpec) -> Value {
    let mut run = Run::plan(Plan { output, ..plan(vec![task("a", &[]), task("b", &[0])]) });
    for name in tasks {
        run.done(name, json!({"from": name}));
    }
    run.result()
}

#[test]
fn finish_points_and_templates_choose_the_output() {
    let names = |n: &[&str]| OutputSpec::Tasks(n.iter().map(|s| (*s).to_owned()).collect());
    assert_eq!(with_output(&["a", "b"], names(&["a"])), json!({"from": "a"}));
    assert_eq!(
        with_output(&["a", "b"], names(&["a", "b", "a"])),
        json!({"a": {"from": "a"}, "b": {"from": "b"}})
    );
    let template = OutputSpec::Template(json!({"last": "${ tasks.b.output.from }", "q": "${ input.q }"}));
    assert_eq!(with_output(&["a", "b"], template), json!({"last": "b", "q": 1}));
}

#[test]
fn an_output_that_cannot_be_made_fails_the_execution() {
    let output = OutputSpec::Template(json!("${ tasks.a.output.missing }"));
    let mut run = Run::plan(Plan { output, ..plan(vec![task("a", &[])]) });
    run.done("a", json!({}));
    assert_eq!(run.status(), Status::Failed);
    assert!(run.words_of_causes()[0].starts_with("output: "), "{:?}", run.words_of_causes());
    assert_eq!(run.phase("a"), TaskPhase::Completed, "what was done stays done");
}

#[test]
fn no_more_calls_leave_than_the_plan_and_the_start_allow() {
    let three = || vec![task("a", &[]), task("b", &[]), task("c", &[])];
    let limits = Limits { max_calls: Some(2), ..Limits::default() };
    let mut run = Run::plan(Plan { limits, ..plan(three()) });
    assert_eq!((run.state.calls_max(), run.state.room()), (2, 2));
    run.send("a");
    run.send("b");
    assert_eq!(run.state.room(), 0);
    assert!(run.assign("c", "i1", Default::default()).is_empty());
    run.answer("a", json!(1));
    run.send("c");
    assert_eq!(run.state.in_flight(), 2);

    let mut created = crate::common::created(json!(null));
    created.max_agents = 1;
    let run = Run::start(plan(three()), created);
    assert_eq!(run.state.calls_max(), 1);
}

#[test]
fn a_full_queue_makes_no_more_tasks_ready() {
    let limits = Limits { queue_size: Some(1), ..Limits::default() };
    let mut run = Run::plan(Plan { limits, ..plan(vec![task("a", &[]), task("b", &[]), task("c", &[])]) });
    assert_eq!(run.ready(), ["a"]);
    run.send("a");
    assert_eq!(run.ready(), ["b"]);
    run.send("b");
    run.done("c", json!(1));
    run.answer("a", json!(1));
    run.answer("b", json!(1));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn priorities_of_execution_and_task_add_up() {
    let mut created = crate::common::created(json!(null));
    created.priority = 10;
    let run = Run::start(plan(vec![with(task("a", &[]), |t| t.priority = -3), task("b", &[])]), created);
    assert_eq!([run.state.priority(0), run.state.priority(1), run.state.priority(77)], [7, 10, 10]);
}

#[test]
fn the_phase_shown_is_what_runs() {
    let mut run =
        Run::of(vec![task("a", &[]), task("b", &[0]), task("c", &[0]), task("d", &[0]), task("e", &[0])]);
    assert_eq!(run.state.current_phase(), "a");
    run.done("a", json!(1));
    assert_eq!(run.state.current_phase(), "b, c, d, …");
    run.done("e", json!(1));
    assert_eq!(run.state.current_phase(), "b, c, d");
    run.pause();
    assert_eq!(run.state.current_phase(), "paused");
    let starved = Run::plan(Plan {
        limits: Limits { queue_size: Some(1), ..Limits::default() },
        ..plan(vec![task("a", &[])])
    });
    assert_eq!(starved.state.current_phase(), "a");
}

#[test]
fn task_states_have_words() {
    let mut run = Run::of(vec![
        with(task("a", &[]), |t| (t.retry, t.optional) = (crate::common::retry(2), true)),
        task("b", &[0]),
    ]);
    let mut seen = vec![];
    let mut look = |run: &Run, task: usize| seen.push(run.state.tasks()[task].state_text());
    look(&run, 1);
    look(&run, 0);
    run.no_agent("a", "none");
    look(&run, 0);
    run.send("a");
    look(&run, 0);
    run.ask("a", "which?");
    look(&run, 0);
    run.reply("a", json!("this")).unwrap();
    run.fail("a", FailureClass::Error, true);
    look(&run, 0);
    run.wait(secs(1));
    run.send_as("a", base::Effect::Irreversible);
    run.fail("a", FailureClass::Broken, false);
    look(&run, 0);
    run.step(workflow::Input::Resolve {
        call: run.key("a"),
        decision: workflow::Resolution::Failed("no".into()),
        by: "ann".into(),
    });
    look(&run, 0);
    look(&run, 1);
    let want = [
        "pending",
        "ready",
        "waiting",
        "running",
        "input_required",
        "retrying",
        "needs_decision",
        "failed",
        "skipped",
    ];
    assert_eq!(seen, want);
    let mut over = Run::of(vec![task("a", &[]), task("b", &[0])]);
    over.done("a", json!(1));
    over.cancel().unwrap();
    assert_eq!(
        over.state.tasks().iter().map(|t| t.state_text()).collect::<Vec<_>>(),
        ["completed", "cancelled"]
    );
}
