//! Transforms, switches, variables, failures and ends; labelled edges, joins and catches.

use base::FailureClass;
use serde_json::json;
use workflow::{
    Effect, Input, Kind, Refusal, SkipReason, Status, TaskPhase,
    plan::{Case, Catch, Edge, InputSpec, Join, Need, NodeKind, OutputSpec, Pick, Plan, Rest, TaskPlan},
};

use crate::common::*;

fn case(name: &str, when: &str) -> Case {
    Case { name: name.into(), when: when.into() }
}

fn switch(id: &str, after: &[u32], otherwise: Option<&str>, many: bool) -> TaskPlan {
    let cases = vec![case("small", "input.q < 5"), case("odd", "input.q % 2 == 1")];
    node(id, after, NodeKind::Switch { cases, otherwise: otherwise.map(Into::into), many })
}

fn on(case: &str) -> Vec<Edge> {
    vec![Edge::Case(case.into())]
}

#[test]
fn a_plan_without_calls_runs_to_its_end_in_one_step() {
    let run = Run::of(vec![
        transform("a", &[], json!({"twice": "${ input.q + input.q }"})),
        transform("b", &[0], json!("${ tasks.a.output.twice + 1 }")),
    ]);
    assert_eq!((run.status(), run.result()), (Status::Completed, json!(3)));
    let completed = run.log.iter().filter(|e| matches!(e.kind, Kind::TaskCompleted { .. })).count();
    assert_eq!((completed, run.log.len()), (2, 5), "one fact for each, beside creation, admission and end");
}

#[test]
fn a_switch_takes_the_first_true_case_or_every_one_or_the_otherwise() {
    for (q, many, otherwise, small, odd, other) in [
        (1, false, Some("other"), true, false, false),
        (1, true, Some("other"), true, true, false),
        (7, false, Some("other"), false, true, false),
        (8, false, Some("other"), false, false, true),
        (8, true, None, false, false, false),
    ] {
        let mut tasks = vec![
            switch("s", &[], otherwise, many),
            edges(transform("small", &[0], json!(1)), on("small")),
            edges(transform("odd", &[0], json!(2)), on("odd")),
        ];
        if otherwise.is_some() {
            tasks.push(edges(transform("other", &[0], json!(3)), on("other")));
        }
        let run = Run::given(json!({"q": q}), tasks);
        let went = |id: &str| run.state.find_task(id).is_some() && run.phase(id) == TaskPhase::Completed;
        assert_eq!((went("small"), went("odd"), went("other")), (small, odd, other), "{q} {many}");
        assert_eq!(run.status(), Status::Completed);
        if !small {
            assert_eq!(run.phase("small"), TaskPhase::Skipped(SkipReason::DependenciesSkipped));
        }
    }
}

#[test]
fn branches_meet_again_behind_a_switch() {
    let run = Run::of(vec![
        switch("s", &[], None, false),
        edges(transform("small", &[0], json!(1)), on("small")),
        edges(transform("odd", &[0], json!(2)), on("odd")),
        transform(
            "end",
            &[1, 2],
            json!({"small": "${ tasks.small.output }", "odd": "${ tasks.odd.status }"}),
        ),
    ]);
    assert_eq!(run.out("end"), json!({"small": 1, "odd": "skipped"}));
}

#[test]
fn a_task_sees_the_variables_that_stood_when_it_was_scheduled() {
    let set = |id: &str, after: &[u32], vars| node(id, after, NodeKind::Set { vars });
    let plan = Plan {
        vars: Some(json!({"n": "${ input.q }", "kept": true})),
        ..plan(vec![
            with(task("early", &[]), |t| t.input = InputSpec::Template(json!("${ vars.n }"))),
            set("s", &[], json!({"n": "${ vars.n + 10 }"})),
            with(task("late", &[1]), |t| t.input = InputSpec::Template(json!("${ vars.n }"))),
        ])
    };
    let mut run = Run::plan(plan);
    assert_eq!((run.input("early"), run.input("late")), (json!(1), json!(11)));
    run.step(Input::UpdateVars { vars: output(json!({"n": 50})), by: "ann".into() });
    run.crash();
    assert_eq!((run.input("early"), run.input("late")), (json!(1), json!(11)), "as it was sent");
    assert_eq!(run.state.vars(), Some(&json!({"n": 50, "kept": true})));
    let refused = run.try_step(Input::UpdateVars { vars: output(json!([1])), by: "ann".into() });
    assert!(refused.unwrap_err().to_string().contains("vars"));
}

#[test]
fn variables_that_cannot_be_made_fail_the_execution() {
    for (vars, words) in [(json!("${ input.missing }"), "vars"), (json!([1]), "not an object")] {
        let run = Run::plan(Plan { vars: Some(vars), ..plan(vec![task("a", &[])]) });
        assert_eq!(run.status(), Status::Failed);
        assert!(run.words_of_causes().concat().contains(words));
    }
}

#[test]
fn variables_of_the_start_stand_over_those_of_the_plan() {
    let mut start = created(json!({"q": 1}));
    start.settings.vars = Some(output(json!({"b": 3})));
    let plan = Plan {
        vars: Some(json!({"a": 1, "b": 2})),
        output: OutputSpec::Template(json!("${ vars }")),
        ..plan(vec![])
    };
    assert_eq!(Run::start(plan, start).result(), json!({"a": 1, "b": 3}));
}

#[test]
fn a_fail_node_fails_with_its_class_and_words() {
    let run = Run::of(vec![fail("f", &[], FailureClass::Rejected)]);
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.state.causes()[0].class, FailureClass::Rejected);
    assert_eq!(run.words_of_causes(), ["no 1", "task f: no 1"]);
}

#[test]
fn an_end_node_ends_the_execution_and_cuts_what_runs() {
    let mut run = Run::of(vec![
        task("slow", &[]),
        task("quick", &[]),
        node("end", &[1], NodeKind::End { output: Some(json!({"got": "${ tasks.quick.output }"})) }),
        task("never", &[0]),
    ]);
    run.send("slow");
    run.send("quick");
    let effects = run.answer("quick", json!(5));
    assert_eq!((run.status(), run.result()), (Status::Completed, json!({"got": 5})));
    assert_eq!(aborted(&effects), [(run.key("slow"), 1)]);
    assert_eq!((run.phase("slow"), run.phase("never")), (TaskPhase::Cancelled, TaskPhase::Cancelled));
    assert_eq!(run.state.outstanding(), [Effect::Ended]);
}

#[test]
fn an_end_without_an_output_gives_what_came_before_it() {
    let run = Run::of(vec![transform("a", &[], json!(7)), node("end", &[0], NodeKind::End { output: None })]);
    assert_eq!(run.result(), json!(7));
}

#[test]
fn an_edge_catches_a_failure_of_its_class() {
    for (class, edge, caught) in [
        (FailureClass::Auth, Edge::Failed(vec![FailureClass::Auth]), true),
        (FailureClass::Auth, Edge::Failed(vec![]), true),
        (FailureClass::Auth, Edge::Ended, true),
        (FailureClass::Rejected, Edge::Failed(vec![FailureClass::Auth]), false),
    ] {
        let mut run = Run::of(vec![
            task("a", &[]),
            transform("then", &[0], json!("fine")),
            edges(transform("else", &[0], json!("${ tasks.a.error.class }")), vec![edge]),
        ]);
        run.send("a");
        run.fail("a", class, true);
        let want = if caught { Status::Completed } else { Status::Failed };
        assert_eq!(run.status(), want, "{class:?}");
        if caught {
            assert_eq!(run.out("else"), json!(class.as_str()));
            assert_eq!(run.phase("then"), TaskPhase::Skipped(SkipReason::DependenciesSkipped));
        }
    }
}

#[test]
fn an_edge_for_a_failure_is_not_taken_when_it_goes_well() {
    let mut run = Run::of(vec![
        task("a", &[]),
        edges(task("repair", &[0]), vec![Edge::Failed(vec![])]),
        edges(transform("clean", &[0], json!("done")), vec![Edge::Ended]),
    ]);
    run.done("a", json!(1));
    assert_eq!(run.phase("repair"), TaskPhase::Skipped(SkipReason::DependenciesSkipped));
    assert_eq!((run.out("clean"), run.status()), (json!("done"), Status::Completed));
}

#[test]
fn a_caught_failure_does_not_use_up_an_allowed_one() {
    let mut plan = plan(vec![
        task("a", &[]),
        edges(transform("h", &[0], json!(1)), vec![Edge::Failed(vec![])]),
        task("b", &[]),
    ]);
    plan.limits.allowed_failures = 1;
    let mut run = Run::plan(plan);
    run.send("a");
    run.fail("a", FailureClass::Auth, true);
    run.send("b");
    run.fail("b", FailureClass::Auth, true);
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_catch_answers_a_failure_with_a_value() {
    let value = json!({"instead": "${ error.class }: ${ error.message }"});
    let caught = Catch { on: vec![FailureClass::Auth], value };
    for (class, status) in [(FailureClass::Auth, Status::Completed), (FailureClass::Rejected, Status::Failed)]
    {
        let mut run = Run::of(vec![
            with(task("a", &[]), |t| t.catch = vec![caught.clone()]),
            transform("b", &[0], json!("${ tasks.a.output }")),
        ]);
        run.send("a");
        run.fail("a", class, true);
        assert_eq!(run.status(), status);
        if status == Status::Completed {
            assert_eq!(run.out("b"), json!({"instead": "auth: it broke"}));
            assert_eq!(run.words_of_causes(), ["it broke"], "why stays known");
        }
    }
}

#[test]
fn a_catch_that_fails_itself_is_a_failure_of_the_definition() {
    let catch = Catch { on: vec![], value: json!("${ error.nothing }") };
    let mut run = Run::of(vec![with(task("a", &[]), |t| t.catch = vec![catch])]);
    run.send("a");
    run.fail("a", FailureClass::Auth, true);
    assert_eq!(run.state.causes().last().unwrap().class, FailureClass::Definition);
}

#[test]
fn the_first_of_a_race_wins_and_the_rest_are_cut() {
    for (rest, cut) in [(Rest::Cancel, true), (Rest::Keep, false)] {
        let mut run = Run::of(vec![
            task("a", &[]),
            task("b", &[]),
            task("b2", &[1]),
            with(join(task("win", &[0, 2]), Join::Any, rest), |t| t.input = InputSpec::Previous),
        ]);
        run.send("a");
        run.send("b");
        let effects = run.answer("a", json!("first"));
        assert_eq!(run.input("win"), json!("first"));
        assert_eq!(!aborted(&effects).is_empty(), cut);
        assert_eq!(run.phase("b") == TaskPhase::Cancelled, cut);
        assert_eq!(run.phase("b2") == TaskPhase::Cancelled, cut);
        if !cut {
            run.answer("b", json!("second"));
            run.done("b2", json!("late"));
        }
        assert_eq!(run.input("win"), json!("first"), "what it was sent stays");
        run.done("win", json!("ok"));
        assert_eq!(run.status(), Status::Completed, "{rest:?}");
    }
}

#[test]
fn a_race_goes_without_failures_while_another_may_still_win() {
    let mut run = Run::of(vec![
        task("a", &[]),
        task("b", &[]),
        task("b2", &[1]),
        join(task("win", &[0, 2]), Join::Any, Rest::Keep),
    ]);
    run.send("a");
    run.send("b");
    run.fail("b", FailureClass::Auth, true);
    assert_eq!(
        (run.status(), run.phase("b")),
        (Status::Executing, TaskPhase::Failed),
        "b2 is not needed either"
    );
    run.fail("a", FailureClass::Auth, true);
    assert_eq!(run.status(), Status::Failed, "nobody is left");
}

#[test]
fn a_quorum_starts_with_enough_and_fails_as_soon_as_it_cannot_be_reached() {
    let tasks = || {
        vec![
            task("a", &[]),
            task("b", &[]),
            task("c", &[]),
            join(task("q", &[0, 1, 2]), Join::Quorum(2), Rest::Cancel),
        ]
    };
    let mut run = Run::of(tasks());
    for id in ["a", "b", "c"] {
        run.send(id);
    }
    run.fail("a", FailureClass::Auth, true);
    run.answer("b", json!("B"));
    assert_eq!(run.ready(), [""; 0]);
    run.answer("c", json!("C"));
    let given = run.input("q");
    assert_eq!(given["dependencies"], json!({"b": "B", "c": "C"}));
    assert_eq!(
        given["failures"],
        json!({"a": {"class": "auth", "message": "it broke"}}),
        "typed, not as an answer"
    );
    let mut run = Run::of(tasks());
    for id in ["a", "b", "c"] {
        run.send(id);
    }
    run.fail("a", FailureClass::Auth, true);
    run.fail("b", FailureClass::Auth, true);
    assert_eq!(run.status(), Status::Failed);
    assert!(
        run.words_of_causes().iter().any(|w| w.contains("0 of the 2 results")),
        "{:?}",
        run.words_of_causes()
    );
}

#[test]
fn best_effort_runs_with_what_there_is() {
    let mut run = Run::of(vec![
        task("a", &[]),
        task("b", &[]),
        join(task("all", &[0, 1]), Join::BestEffort, Rest::Keep),
    ]);
    run.send("a");
    run.send("b");
    run.fail("a", FailureClass::Auth, true);
    run.fail("b", FailureClass::Timeout, true);
    assert_eq!(run.input("all")["dependencies"], json!({}));
    assert_eq!(run.input("all")["failures"]["b"]["class"], json!("timeout"));
    run.done("all", json!(1));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_join_behind_branches_that_were_not_taken_does_not_run() {
    for join_of in [Join::All, Join::Any, Join::Quorum(1), Join::BestEffort] {
        let off = |id: &str| with(task(id, &[]), |t| t.when = Some("false".into()));
        let run = Run::of(vec![off("a"), off("b"), join(task("j", &[0, 1]), join_of, Rest::Keep)]);
        assert_eq!(run.phase("j"), TaskPhase::Skipped(SkipReason::DependenciesSkipped), "{join_of:?}");
        assert_eq!(run.status(), Status::Completed);
    }
}

#[test]
fn an_answer_names_who_goes_on_among_those_the_plan_allows() {
    let need = |capability: &str| Need { capability: Some(capability.into()), ..Need::default() };
    let among = [("poet".to_owned(), need("verse")), ("cook".to_owned(), need("soup"))].into();
    let pick = Pick { by: "tasks.a.output.next".into(), among };
    let mut run = Run::of(vec![task("a", &[]), with(task("b", &[0]), |t| t.pick = Some(pick))]);
    run.done("a", json!({"next": "cook"}));
    assert_eq!(run.state.need(run.task("b")).capability.as_deref(), Some("soup"));
    assert_eq!(run.state.tasks()[1].picked().map(|n| &**n), Some("cook"));

    let plan = run.plan.plan().clone();
    let mut run = Run::plan(plan);
    run.done("a", json!({"next": "thief"}));
    assert_eq!(run.state.causes()[0].class, FailureClass::Definition);
    assert!(run.words_of_causes()[0].contains("allowed are cook, poet"), "{:?}", run.words_of_causes());
}

#[test]
fn commands_about_what_is_not_there_are_refused() {
    let mut run = Run::of(vec![task("a", &[])]);
    let by = || "ann".into();
    let decide = Input::Decide {
        task: 9,
        verdict: workflow::Verdict::Approved,
        by: by(),
        names: vec![],
        comment: "".into(),
        form: None,
    };
    assert!(matches!(run.try_step(decide), Err(Refusal::NoTask { .. })));
    assert!(run.try_step(Input::GrantStep { task: None, by: by() }).is_err());
    assert!(run.try_step(Input::GrantStep { task: Some(0), by: by() }).is_err());
    run.step(Input::Published { task: 7 });
    run.step(Input::ChildAccepted { task: 7, execution: run.state.id(), version: "1".into() });
    assert_eq!(run.log.len(), 3, "nothing happened");
}
