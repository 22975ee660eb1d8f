//! Bodies that run once, turn after turn, or over a list.

use base::FailureClass;
use serde_json::{Value, json};
use workflow::{
    Kind, Status, TaskPhase, TurnPhase,
    plan::{Catch, Edge, Exhausted, InputSpec, Join, NodeKind, OutputSpec, Rest, Scope, ScopeMode, TaskPlan},
};

use crate::common::*;

fn change(mode: ScopeMode, f: impl FnOnce(&mut LoopParts)) -> ScopeMode {
    let ScopeMode::Loop { max, .. } = mode else { panic!("a loop") };
    let mut p = LoopParts { max, ..LoopParts::default() };
    f(&mut p);
    ScopeMode::Loop {
        while_: p.while_,
        until: p.until,
        max: p.max,
        exhausted: p.exhausted,
        delay: p.delay,
        start: p.start,
        carry: p.carry,
        history: p.history,
        gather: p.gather,
    }
}

#[derive(Default)]
struct LoopParts {
    while_: Option<String>,
    until: Option<String>,
    max: u32,
    exhausted: Exhausted,
    delay: Option<std::time::Duration>,
    start: Option<Value>,
    carry: Option<Value>,
    history: bool,
    gather: bool,
}

fn turns(run: &Run, path: &str) -> usize {
    run.state.tasks()[run.task(path) as usize].turns().unwrap().turns.len()
}

#[test]
fn a_body_runs_once_and_gives_its_output() {
    let mut run = Run::of(vec![
        task("a", &[]),
        scope(
            "s",
            &[0],
            ScopeMode::Once,
            vec![
                task("x", &[]),
                transform("y", &[0], json!({"x": "${ tasks.x.output }", "a": "${ tasks.a.output }"})),
            ],
        ),
        transform("b", &[1], json!("${ tasks.s.output.x }")),
    ]);
    run.done("a", json!("A"));
    assert_eq!(run.ready(), ["s[0].x"]);
    assert_eq!(run.input("s[0].x"), run.input("s"), "a body without more is given its scope's input");
    run.crash();
    run.done("s[0].x", json!("X"));
    assert_eq!(run.out("s"), json!({"x": "X", "a": "A"}), "what is around the body is seen in it");
    assert_eq!((run.result(), run.status()), (json!("X"), Status::Completed));
}

#[test]
fn a_loop_goes_on_until_its_condition() {
    let body = vec![with(task("draft", &[]), |t| {
        t.input = InputSpec::Template(json!({"n": "${ loop.index }", "last": "${ loop.last }"}));
    })];
    let mode = change(looped(9), |p| p.until = Some("tasks.draft.output.good".into()));
    let mut run = Run::of(vec![scope("improve", &[], mode, body)]);
    for n in 0..3 {
        let path = format!("improve[{n}].draft");
        assert_eq!(run.ready(), [path.as_str()]);
        let last = if n == 0 { Value::Null } else { json!({"good": false, "n": n - 1}) };
        assert_eq!(run.input(&path), json!({"n": n, "last": last}));
        run.done(&path, json!({"good": n == 2, "n": n}));
    }
    assert_eq!((run.status(), run.result()), (Status::Completed, json!({"good": true, "n": 2})));
    assert_eq!(turns(&run, "improve"), 3);
}

#[test]
fn a_while_is_asked_before_the_first_turn() {
    let mode = change(looped(9), |p| p.while_ = Some("loop.index < input.q".into()));
    for (q, want) in [(0, 0), (2, 2)] {
        let run = Run::given(
            json!({"q": q}),
            vec![scope("l", &[], mode.clone(), vec![transform("t", &[], json!("${ loop.index }"))])],
        );
        assert_eq!((turns(&run, "l"), run.status()), (want, Status::Completed));
        assert_eq!(run.result(), if q == 0 { Value::Null } else { json!(1) });
    }
}

#[test]
fn turns_are_counted_and_used_up() {
    for (until, exhausted, status) in [
        (None, Exhausted::Fail, Status::Completed),
        (Some("false"), Exhausted::Fail, Status::Failed),
        (Some("false"), Exhausted::Stop, Status::Completed),
    ] {
        let mode = change(looped(3), |p| (p.until, p.exhausted) = (until.map(Into::into), exhausted));
        let run = Run::of(vec![scope("l", &[], mode, vec![transform("t", &[], json!("${ loop.index }"))])]);
        assert_eq!((turns(&run, "l"), run.status()), (3, status), "{until:?} {exhausted:?}");
        if status == Status::Completed {
            assert_eq!(run.result(), json!(2));
        }
    }
}

#[test]
fn what_a_loop_carries_and_remembers_reaches_its_turns() {
    let mode = change(looped(3), |p| {
        p.start = Some(json!(100));
        p.carry = Some(json!("${ loop.carry + tasks.t.output }"));
        (p.history, p.gather) = (true, true);
    });
    let value = json!("${ loop.index + 1 + (loop.history.size() * 10) }");
    let run = Run::of(vec![scope("l", &[], mode, vec![transform("t", &[], value)])]);
    assert_eq!(run.result(), json!([1, 12, 23]));
    let carries = run.log.iter().filter_map(|e| match &e.kind {
        Kind::TurnStarted { carry, .. } => Some((*carry.as_ref().unwrap().json().unwrap()).clone()),
        _ => None,
    });
    assert_eq!(carries.collect::<Vec<_>>(), [json!(100), json!(101), json!(113)]);
}

#[test]
fn a_loop_pauses_between_its_turns() {
    let mode = change(looped(2), |p| p.delay = Some(secs(5)));
    let mut run = Run::of(vec![scope("l", &[], mode, vec![task("t", &[])])]);
    run.done("l[0].t", json!(1));
    assert_eq!(run.state.next_timer(run.now), Some(run.now.plus(secs(5))));
    assert!(run.state.find_task("l[1].t").is_none());
    run.crash();
    run.wait(secs(5));
    run.done("l[1].t", json!(2));
    assert_eq!(
        (run.status(), run.state.next_timer(run.now)),
        (Status::Completed, None),
        "no pause at the end"
    );
}

#[test]
fn a_failure_in_a_turn_fails_the_scope_and_cuts_the_rest_of_the_turn() {
    let body = vec![task("x", &[]), task("y", &[])];
    let mut run = Run::of(vec![
        scope("s", &[], looped(2), body),
        edges(transform("h", &[0], json!("${ tasks.s.error.message }")), vec![Edge::Failed(vec![])]),
    ]);
    run.send("s[0].x");
    run.send("s[0].y");
    let effects = run.fail("s[0].x", FailureClass::Auth, true);
    assert_eq!(aborted(&effects), [(run.key("s[0].y"), 1)]);
    assert_eq!((run.phase("s[0].y"), run.phase("s")), (TaskPhase::Cancelled, TaskPhase::Failed));
    assert_eq!(run.out("h"), json!("task s[0].x: it broke"));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_list_runs_in_turns_at_most_so_many_at_once_and_is_gathered_in_order() {
    let body = vec![
        with(task("x", &[]), |t| t.input = InputSpec::Template(json!("${ item }/${ index }/${ count }"))),
        transform("y", &[0], json!("${ tasks.x.output }${ item }")),
    ];
    let mut run = Run::of(vec![scope("s", &[], each("['a', 'b', 'c']", Some(2)), body)]);
    assert_eq!(run.ready(), ["s[0].x", "s[1].x"]);
    assert_eq!(run.input("s[1].x"), json!("b/1/3"));
    run.done("s[1].x", json!("B"));
    assert_eq!(run.ready(), ["s[0].x", "s[2].x"]);
    run.done("s[2].x", json!("C"));
    run.done("s[0].x", json!("A"));
    assert_eq!(run.result(), json!(["Aa", "Bb", "Cc"]));
}

#[test]
fn an_empty_list_gives_an_empty_list() {
    let run = Run::of(vec![scope("s", &[], each("[]", None), vec![task("x", &[])])]);
    assert_eq!((run.status(), run.result()), (Status::Completed, json!([])));
}

fn join_each(join: Join, rest: Rest, partial: bool) -> ScopeMode {
    let ScopeMode::ForEach { list, width, ordered, .. } = each("[0, 1, 2]", None) else { unreachable!() };
    ScopeMode::ForEach { list, width, ordered, join, rest, partial }
}

#[test]
fn turns_over_a_list_join_as_asked() {
    for (join, ok, status, want) in [
        (Join::All, 2, Status::Failed, json!(null)),
        (Join::BestEffort, 2, Status::Completed, json!([1, 2])),
        (Join::BestEffort, 0, Status::Completed, json!([])),
        (Join::Any, 1, Status::Completed, json!([2])),
        (Join::Any, 0, Status::Failed, json!(null)),
        (Join::Quorum(2), 2, Status::Completed, json!([1, 2])),
        (Join::Quorum(2), 1, Status::Failed, json!(null)),
    ] {
        let mut run =
            Run::of(vec![scope("s", &[], join_each(join, Rest::Cancel, false), vec![task("x", &[])])]);
        for n in 0..3 {
            run.send(&format!("s[{n}].x"));
        }
        for n in 0..3 {
            let path = format!("s[{n}].x");
            if run.status() == Status::Executing && run.is_running(&path) {
                if n >= 3 - ok {
                    run.answer(&path, json!(n));
                } else {
                    run.fail(&path, FailureClass::Auth, true);
                }
            }
        }
        assert_eq!(run.status(), status, "{join:?} {ok}");
        if status == Status::Completed {
            assert_eq!(run.result(), want, "{join:?} {ok}");
        }
    }
}

#[test]
fn partial_results_say_what_became_of_every_turn() {
    let mode = join_each(Join::Quorum(1), Rest::Cancel, true);
    let mut run = Run::of(vec![scope("s", &[], mode, vec![task("x", &[])])]);
    for n in 0..3 {
        run.send(&format!("s[{n}].x"));
    }
    run.fail("s[0].x", FailureClass::Auth, true);
    let effects = run.answer("s[1].x", json!("B"));
    assert_eq!(aborted(&effects), [(run.key("s[2].x"), 1)]);
    let error = json!({"class": "auth", "message": "task s[0].x: it broke"});
    assert_eq!(
        run.result(),
        json!([
            {"index": 0, "status": "failed", "error": error},
            {"index": 1, "status": "completed", "output": "B"},
            {"index": 2, "status": "cancelled"},
        ])
    );
}

#[test]
fn turns_that_are_kept_go_on_beside_what_follows() {
    let mode = join_each(Join::Any, Rest::Keep, false);
    let mut run = Run::of(vec![scope("s", &[], mode, vec![task("x", &[])]), task("then", &[0])]);
    run.send("s[0].x");
    run.send("s[1].x");
    run.answer("s[0].x", json!("first"));
    assert_eq!(run.out("s"), json!(["first"]));
    run.answer("s[1].x", json!("second"));
    assert_eq!(run.state.turns()[2].phase, TurnPhase::Completed);
    run.done("then", json!(1));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_caught_failure_ends_the_turns_that_a_join_would_have_kept() {
    let mode = join_each(Join::All, Rest::Keep, false);
    let caught = Catch { on: vec![], value: json!("instead") };
    let each = with(scope("s", &[], mode, vec![task("x", &[])]), |t| t.catch = vec![caught]);
    let mut run = Run::of(vec![each, task("then", &[0])]);
    run.send("s[0].x");
    run.send("s[1].x");
    let effects = run.fail("s[0].x", FailureClass::Auth, true);
    assert_eq!(run.out("s"), json!("instead"));
    assert_eq!(aborted(&effects), [(run.key("s[1].x"), 1)]);
    assert_eq!(run.state.turns()[2].phase, TurnPhase::Cancelled);
    assert_eq!(run.ready(), ["then"], "nothing of the scope is called any more");
}

fn wide(task: TaskPlan, width: u32) -> TaskPlan {
    with(task, |t| t.width = Some(width))
}

#[test]
fn items_stream_through_the_stages_of_a_pipeline() {
    let body = vec![wide(task("cut", &[]), 1), wide(task("sew", &[0]), 1)];
    let mut run = Run::of(vec![scope("p", &[], each("[1, 2, 3]", Some(2)), body)]);
    assert_eq!(run.ready(), ["p[0].cut"], "one item at a time in a stage");
    run.done("p[0].cut", json!(1));
    assert_eq!(run.ready(), ["p[0].sew", "p[1].cut"], "the next item follows at once");
    run.done("p[1].cut", json!(2));
    assert_eq!(run.ready(), ["p[0].sew"], "two items are under way, the third waits (back-pressure)");
    run.done("p[0].sew", json!("one"));
    assert_eq!(run.ready(), ["p[1].sew", "p[2].cut"]);
    run.done("p[2].cut", json!(3));
    run.done("p[1].sew", json!("two"));
    run.done("p[2].sew", json!("three"));
    assert_eq!(run.result(), json!(["one", "two", "three"]));
}

#[test]
fn ordered_stages_take_the_items_in_their_order_even_past_skipped_ones() {
    let ScopeMode::ForEach { list, .. } = each("[0, 1, 2, 3]", None) else { unreachable!() };
    let (join, rest) = (Join::BestEffort, Rest::Cancel);
    let mode = ScopeMode::ForEach { list, width: None, ordered: true, join, rest, partial: true };
    let body = vec![task("a", &[]), with(task("b", &[0]), |t| t.when = Some("item != 1".into()))];
    let mut run = Run::of(vec![scope("p", &[], mode, body)]);
    for n in 0..4 {
        run.send(&format!("p[{n}].a"));
    }
    run.answer("p[3].a", json!(3));
    run.answer("p[1].a", json!(1));
    assert_eq!(run.ready(), [""; 0], "the first item has not come");
    run.answer("p[0].a", json!(0));
    assert_eq!(run.ready(), ["p[0].b"], "1 is skipped, 2 is not there yet");
    run.fail("p[2].a", FailureClass::Auth, true);
    assert_eq!(run.ready(), ["p[0].b", "p[3].b"], "a turn that failed holds nobody back");
    run.done("p[0].b", json!(0));
    run.done("p[3].b", json!(3));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn scopes_nest_and_see_what_is_around_them() {
    let value = json!({"outer": "${ loop.index }", "item": "${ item }", "seen": "${ tasks.seed.output }"});
    let inner = scope("inner", &[], each("[7, 8]", None), vec![transform("t", &[], value)]);
    let mode = change(looped(2), |p| (p.history, p.gather) = (true, true));
    let run = Run::of(vec![transform("seed", &[], json!("S")), scope("outer", &[0], mode, vec![inner])]);
    let one = |outer: u32, item: u32| json!({"outer": outer, "item": item, "seen": "S"});
    assert_eq!(run.result(), json!([[one(0, 7), one(0, 8)], [one(1, 7), one(1, 8)]]));
    assert_eq!(run.phase("outer[1].inner[0].t"), TaskPhase::Completed);
    assert!(run.state.find_task("outer[2].inner[0].t").is_none());
}

#[test]
fn a_body_can_say_what_a_turn_gives() {
    let tasks = vec![transform("x", &[], json!(1)), transform("y", &[], json!(2))];
    for (output, want) in [
        (OutputSpec::Tasks(vec!["x".into()]), json!(1)),
        (OutputSpec::Sinks, json!({"x": 1, "y": 2})),
        (OutputSpec::Template(json!("${ tasks.x.output + tasks.y.output }")), json!(3)),
    ] {
        let kind = NodeKind::Scope(Box::new(Scope { tasks: tasks.clone(), output, mode: ScopeMode::Once }));
        assert_eq!(Run::of(vec![node("s", &[], kind)]).result(), want);
    }
    let output = OutputSpec::Template(json!("${ tasks.x.output.missing }"));
    let kind = NodeKind::Scope(Box::new(Scope { tasks, output, mode: ScopeMode::Once }));
    let run = Run::of(vec![node("s", &[], kind)]);
    assert_eq!(run.state.causes().last().unwrap().class, FailureClass::Definition);
}

#[test]
fn expressions_of_a_scope_that_fail_fail_it() {
    for (mode, words) in [
        (change(looped(2), |p| p.until = Some("tasks.t.output.x".into())), "until"),
        (change(looped(2), |p| p.while_ = Some("input.nothing".into())), "while"),
        (change(looped(2), |p| p.start = Some(json!("${ input.nothing }"))), "start"),
        (change(looped(2), |p| p.carry = Some(json!("${ input.nothing }"))), "carry"),
        (each("input.nothing", None), "for_each"),
        (each("input.q", None), "list"),
    ] {
        let run = Run::of(vec![scope("s", &[], mode, vec![transform("t", &[], json!(1))])]);
        assert_eq!(run.status(), Status::Failed, "{words}");
        assert!(run.words_of_causes().concat().contains(words), "{words}: {:?}", run.words_of_causes());
    }
}

#[test]
fn a_task_without_input_of_its_own_is_given_its_place() {
    let mut run = Run::of(vec![scope("s", &[], each("['a']", None), vec![task("x", &[]), task("y", &[0])])]);
    let around = json!({"q": 1});
    assert_eq!(run.input("s[0].x"), json!({"input": around, "item": "a", "index": 0, "count": 1}));
    run.done("s[0].x", json!("X"));
    assert_eq!(
        run.input("s[0].y"),
        json!({"input": around, "dependencies": {"x": "X"}, "item": "a", "index": 0, "count": 1})
    );
    let previous = with(task("x", &[]), |t| t.input = InputSpec::Previous);
    let mut run = Run::of(vec![scope("l", &[], looped(2), vec![previous.clone()])]);
    assert_eq!(run.input("l[0].x"), around);
    run.done("l[0].x", json!("one"));
    assert_eq!(run.input("l[1].x"), json!("one"));
    let run = Run::of(vec![scope("s", &[], each("['a']", None), vec![previous])]);
    assert_eq!(run.input("s[0].x"), json!("a"));
}

#[test]
fn a_pause_holds_the_next_turn_back() {
    let mut run = Run::of(vec![scope("l", &[], looped(2), vec![task("t", &[])])]);
    run.send("l[0].t");
    run.pause();
    run.answer("l[0].t", json!(1));
    assert_eq!(run.ready(), [""; 0]);
    run.resume();
    assert_eq!(run.ready(), ["l[1].t"]);
}
