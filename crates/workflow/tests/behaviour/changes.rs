//! Another plan while it runs, resets, forks, and what an execution says it waits for.

use std::sync::Arc;

use base::FailureClass;
use serde_json::json;
use workflow::{
    Compiled, Effect, Input, Refusal, ResetFrom, Status, TaskPhase, Why,
    plan::{InputSpec, Join, NodeKind, Plan, Rest, ScopeMode, TaskPlan, Wait},
};

use crate::common::*;

fn change(run: &mut Run, tasks: Vec<TaskPlan>) -> Result<Vec<Effect>, Refusal> {
    let plan = Plan { tasks, ..run.state.plan().plan().clone() };
    let text = output(serde_json::to_value(&plan).unwrap());
    let plan = Arc::new(Compiled::new(plan).unwrap());
    run.try_step(Input::ChangePlan { plan, text, by: "ann".into(), reason: "better".into() })
}

fn reset(run: &mut Run, from: ResetFrom, input: Option<serde_json::Value>) -> Result<Vec<Effect>, Refusal> {
    run.try_step(Input::Reset { from, input: input.map(output), by: "ann".into(), reason: "again".into() })
}

#[test]
fn the_rest_of_the_graph_can_be_another() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[0]), task("c", &[1])]);
    run.send("a");
    let effects =
        change(&mut run, vec![task("new", &[]), task("a", &[]), task("d", &[1]), task("c", &[0, 2])])
            .unwrap();
    assert!(effects.contains(&Effect::PlanChanged), "{effects:?}");
    assert_eq!((run.state.revision(), run.phase("b")), (1, TaskPhase::Cancelled));
    assert_eq!(run.ready(), ["new"]);
    run.crash();
    run.answer("a", json!("A"));
    run.done("new", json!(1));
    run.done("d", json!(2));
    run.done("c", json!(3));
    assert_eq!((run.status(), run.result()), (Status::Completed, json!(3)));
}

#[test]
fn what_began_stays_what_it_is() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[0])]);
    run.send("a");
    let other = with(task("a", &[]), |t| t.instructions = "otherwise".into());
    for (tasks, words) in [
        (vec![task("b", &[])], "cannot be removed"),
        (vec![other, task("b", &[0])], "not the same"),
        (vec![task("x", &[]), task("a", &[0]), task("b", &[1])], "x cannot come before it"),
    ] {
        let refused = change(&mut run, tasks).unwrap_err();
        assert!(matches!(refused, Refusal::Ran { .. }) && refused.to_string().contains(words), "{refused}");
    }
    assert_eq!(run.state.revision(), 0);
}

#[test]
fn turns_go_on_under_another_plan() {
    let body = || scope("s", &[], looped(2), vec![task("x", &[])]);
    let mut run = Run::of(vec![body(), task("b", &[0])]);
    run.done("s[0].x", json!(1));
    change(&mut run, vec![task("first", &[]), body(), task("b", &[1])]).unwrap();
    run.done("s[1].x", json!(2));
    assert_eq!(run.ready(), ["b", "first"]);
}

#[test]
fn tasks_and_all_behind_them_run_again_with_another_input() {
    let mut run = Run::of(vec![
        with(task("a", &[]), |t| t.input = InputSpec::Execution),
        with(task("b", &[0]), |t| t.input = InputSpec::Template(json!("${ input.q }"))),
        task("side", &[]),
        task("open", &[]),
    ]);
    run.done("a", json!(1));
    run.done("side", json!(1));
    run.send("open");
    run.send("b");
    let effects = reset(&mut run, ResetFrom::Tasks(vec![1]), Some(json!({"q": 7}))).unwrap();
    assert_eq!(aborted(&effects), [(run.key("b"), 1)]);
    assert_eq!((run.phase("a"), run.phase("side")), (TaskPhase::Completed, TaskPhase::Completed));
    assert_eq!(run.state.tasks()[1].generation(), 1, "its messages have other ids");
    assert_eq!(run.input("b"), json!(7));
    run.crash();
    run.done("b", json!(2));
    run.answer("open", json!(1));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn an_execution_goes_back_to_a_checkpoint() {
    let mut run = Run::of(vec![task("a", &[]), scope("s", &[0], ScopeMode::Once, vec![task("x", &[])])]);
    run.done("a", json!(1));
    let seq = run.state.seq();
    run.done("s[0].x", json!(2));
    assert!(reset(&mut run, ResetFrom::Seq(seq), None).is_err(), "it is over: fork it");
    let mut run = Run::of(vec![task("a", &[]), scope("s", &[0], looped(2), vec![task("x", &[])])]);
    let seq = run.state.seq();
    run.done("a", json!(1));
    run.done("s[0].x", json!(2));
    let inner = run.task("s[0].x");
    let refused = reset(&mut run, ResetFrom::Tasks(vec![inner]), None).unwrap_err();
    assert!(refused.to_string().contains("reset the scope"), "{refused}");
    assert!(reset(&mut run, ResetFrom::Seq(9999), None).is_err());
    reset(&mut run, ResetFrom::Seq(seq), None).unwrap();
    assert_eq!(run.ready(), ["a"]);
    run.done("a", json!(1));
    assert_eq!(run.state.tasks()[run.task("s[0].x") as usize].generation(), 1);
    run.done("s[0].x", json!(3));
    run.done("s[1].x", json!(4));
    assert_eq!(run.result(), json!(4));
}

#[test]
fn a_turn_that_outlives_its_scope_is_given_the_same_after_a_reset() {
    let all = InputSpec::Template(json!({"all": "${ tasks }"}));
    let body = with(task("x", &[]), |t| (t.input, t.retry) = (all, retry(3)));
    let ScopeMode::ForEach { list, width, ordered, partial, .. } = each("[0, 1]", None) else {
        unreachable!()
    };
    let mode = ScopeMode::ForEach { list, width, ordered, join: Join::Any, rest: Rest::Keep, partial };
    let tasks =
        [task("first", &[]), task("gate", &[]), scope("s", &[1], mode, vec![body]), task("then", &[2])];
    let mut run = Run::of(tasks.to_vec());
    run.done("first", json!(1));
    run.done("gate", json!(0));
    run.send("s[0].x");
    run.send("s[1].x");
    run.answer("s[0].x", json!("won"));
    let given = run.input("s[1].x");
    reset(&mut run, ResetFrom::Tasks(vec![0]), None).unwrap();
    run.fail("s[1].x", FailureClass::Unavailable, true);
    assert_eq!(run.input("s[1].x"), given, "its retry asks the same");
    run.done("first", json!(2));
    assert_eq!(run.input("s[1].x"), given, "also when what it saw has ended again");
}

#[test]
fn a_fork_takes_over_what_was_done() {
    let tasks = vec![task("a", &[]), task("b", &[0]), task("c", &[1])];
    let mut first = Run::of(tasks.clone());
    first.done("a", json!("A"));
    first.done("b", json!("B"));
    let seeds = first.state.seeds(&[1]);
    assert_eq!(seeds.len(), 1);
    let mut fork = Run::queued(plan(tasks), created(json!({"q": 2})));
    let from = first.state.id();
    fork.step(Input::Seed { from, tasks: seeds.clone(), vars: None });
    fork.step(Input::Admit);
    assert_eq!(
        (fork.ready(), fork.input("b")["dependencies"].clone()),
        (vec!["b".to_owned()], json!({"a": "A"}))
    );
    assert!(fork.try_step(Input::Seed { from, tasks: seeds, vars: None }).is_err(), "it runs");
}

#[test]
fn an_execution_says_what_it_waits_for_and_what_frees_it() {
    let wait = |id: &str, wait| node(id, &[], NodeKind::Wait(wait));
    let mut run = Run::queued(
        plan(vec![
            task("a", &[]),
            task("b", &[]),
            wait("e", Wait::Event { topic: "t".into(), filter: None, key: Some("'k'".into()), count: 1 }),
            wait("s", Wait::Signal { name: "go".into(), schema: None }),
            wait("p", Wait::Approval(Default::default())),
            wait("o", Wait::Step),
            wait("t", Wait::Timer { until: "60".into() }),
        ]),
        created(json!({})),
    );
    assert_eq!(run.state.stuck(9)[0].why, Why::Queued);
    let foremost = |run: &Run| run.state.stalled().map(|r| r.why.as_str());
    assert_eq!(foremost(&run), Some("queued"));
    run.step(Input::Admit);
    run.send("a");
    run.no_agent("b", "nobody is registered");
    let names = |run: &Run| run.state.stuck(99).iter().map(|r| r.why.as_str()).collect::<Vec<_>>();
    assert_eq!(names(&run), ["agent", "no_agent", "event", "signal", "approval", "step", "time"]);
    let event = &run.state.stuck(99)[2];
    assert_eq!((event.why.command(), event.task.as_ref().unwrap().1.as_str()), (Some("publish"), "e"));
    assert!(matches!(&event.why, Why::Event { topic, key: Some(key), .. } if topic == "t" && &**key == "k"));
    assert_eq!(foremost(&run), None, "an agent works for it");
    run.ask("a", "which?");
    assert_eq!(foremost(&run), Some("input"), "what somebody has to do comes first");
    run.pause();
    assert_eq!(names(&run)[..2], ["paused", "input"]);
    assert_eq!(foremost(&run), Some("paused"));
    assert_eq!(run.state.stuck(1).len(), 1);
    assert!(names(&run).iter().all(|name| Why::ALL.contains(name)));
    run.cancel().unwrap();
    assert_eq!((run.state.stuck(9), run.state.stalled()), (vec![], None));
}
