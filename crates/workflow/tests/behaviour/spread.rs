//! One task, many calls.

use base::FailureClass;
use serde_json::{Value, json};
use workflow::{
    Kind, Status, TaskPhase,
    plan::{InputSpec, Limits, Plan, Spread, TaskPlan},
};

use crate::common::{Run, plan, retry, secs, task, with};

fn each(list: &str, width: Option<u32>) -> TaskPlan {
    with(task("e", &[]), |t| t.spread = Spread::ForEach { list: list.into(), width })
}

fn parallel(after: &[u32], count: Option<u32>) -> TaskPlan {
    with(task("p", after), |t| t.spread = Spread::Parallel { count })
}

/// A task `a` that gives `list`, and `p` behind it.
fn behind(list: Value, p: TaskPlan) -> Run {
    let mut run = Run::of(vec![task("a", &[]), p]);
    run.done("a", list);
    run
}

#[test]
fn for_each_calls_once_per_element_and_gathers_in_order() {
    let mut run = Run::given(json!(["x", "y", "z"]), vec![each("input", None)]);
    assert_eq!(run.ready(), ["e#0", "e#1", "e#2"]);
    for name in ["e#0", "e#1", "e#2"] {
        run.send(name);
    }
    for (name, value) in [("e#2", 3), ("e#0", 1), ("e#1", 2)] {
        run.answer(name, json!(value));
    }
    assert_eq!((run.status(), run.result()), (Status::Completed, json!([1, 2, 3])));
    let kept = run.state.tasks()[0].calls.iter().any(|c| c.output.is_some());
    assert!(!kept, "the gathered output holds the items' outputs, nobody else does");
}

#[test]
fn the_width_bounds_the_calls_at_once() {
    let mut run = Run::given(json!([1, 2, 3, 4]), vec![each("input", Some(2))]);
    assert_eq!(run.ready(), ["e#0", "e#1"]);
    run.send("e#0");
    run.send("e#1");
    run.answer("e#1", json!(1));
    assert_eq!(run.ready(), ["e#2"]);
    run.done("e#2", json!(2));
    assert_eq!(run.ready(), ["e#3"]);
    run.done("e#3", json!(3));
    run.answer("e#0", json!(0));
    assert_eq!(run.result(), json!([0, 1, 2, 3]));
}

#[test]
fn a_width_of_zero_is_one() {
    assert_eq!(Run::given(json!([1, 2]), vec![each("input", Some(0))]).ready(), ["e#0"]);
}

#[test]
fn an_empty_list_completes_with_an_empty_list() {
    for spread in
        [Spread::ForEach { list: "input".into(), width: Some(2) }, Spread::Parallel { count: Some(3) }]
    {
        let mut run =
            Run::given(json!([]), vec![with(task("e", &[]), |t| t.spread = spread), task("b", &[0])]);
        assert_eq!(run.phase("e"), TaskPhase::Completed);
        assert_eq!(run.input("b")["dependencies"], json!({"e": []}));
        run.done("b", json!(1));
        assert_eq!(run.status(), Status::Completed);
    }
}

#[test]
fn for_each_over_no_list_fails_the_task() {
    for (list, words) in
        [("input.q", "for_each: the expression does not give a list"), ("input.x", "for_each: ")]
    {
        let run = Run::of(vec![each(list, None)]);
        assert_eq!(run.status(), Status::Failed, "{list}");
        assert!(run.words_of_causes()[0].starts_with(words), "{:?}", run.words_of_causes());
    }
}

#[test]
fn a_list_over_the_limit_fails_the_task() {
    let long: Vec<u8> = vec![0; workflow::plan::ITEMS_MAX as usize + 1];
    let run = Run::given(json!(long), vec![each("input", None)]);
    assert_eq!(run.words_of_causes()[0], "for_each: the list has 100001 items, the limit is 100000");
}

#[test]
fn parallel_scatters_the_list_of_its_only_dependency_over_count_calls() {
    let two = Value::from(vec!["x", "y", "z"]);
    for list in [two.clone(), json!({"items": two, "other": [1]}), json!({"topics": two, "note": "n"})] {
        let mut run = behind(list.clone(), parallel(&[0], Some(2)));
        assert_eq!(run.ready(), ["p#0", "p#1"], "{list}");
        assert_eq!(run.input("p#1")["item"], json!("y"));
        assert_eq!(
            (run.input("p#1")["index"].clone(), run.input("p#1")["count"].clone()),
            (json!(1), json!(3))
        );
        run.done("p#0", json!(10));
        run.done("p#2", json!(30));
        run.done("p#1", json!(20));
        assert_eq!(run.result(), json!([10, 20, 30]));
    }
}

#[test]
fn parallel_without_count_is_as_wide_as_the_list() {
    assert_eq!(behind(json!([1, 2, 3]), parallel(&[0], None)).ready(), ["p#0", "p#1", "p#2"]);
}

#[test]
fn parallel_without_a_list_makes_count_copies_with_index_and_count() {
    for given in [json!("text"), json!({"a": [1], "b": [2]}), json!({"none": 1})] {
        let run = behind(given.clone(), parallel(&[0], Some(3)));
        assert_eq!(run.ready(), ["p#0", "p#1", "p#2"], "{given}");
        let want = json!({"input": {"q": 1}, "dependencies": {"a": given}, "index": 2, "count": 3});
        assert_eq!(run.input("p#2"), want);
    }
    assert_eq!(behind(json!(1), parallel(&[0], None)).ready(), ["p#0"], "no count, no list: one");
}

#[test]
fn parallel_without_dependencies_scatters_the_input() {
    let run = Run::given(json!({"docs": ["x", "y"], "lang": "en"}), vec![parallel(&[], Some(5))]);
    assert_eq!(run.ready(), ["p#0", "p#1"]);
    assert_eq!(run.input("p#0")["item"], "x");
}

#[test]
fn parallel_after_several_tasks_makes_copies() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[]), parallel(&[0, 1], Some(2))]);
    run.done("a", json!([1, 2, 3]));
    run.done("b", json!([1]));
    assert_eq!(run.ready(), ["p#0", "p#1"]);
    assert!(run.input("p#0").get("item").is_none());
}

#[test]
fn the_list_of_a_mapped_input_is_scattered_and_each_call_gets_its_item_in_its_place() {
    let mapped = |input: Value| with(parallel(&[0], Some(9)), |t| t.input = InputSpec::Template(input));
    let given = json!({"topics": ["x", "y"], "others": [1, 2, 3]});
    let run = behind(given.clone(), mapped(json!({"topics": "${ tasks.a.output.topics }", "lang": "en"})));
    assert_eq!(run.ready(), ["p#0", "p#1"]);
    assert_eq!(run.input("p#1"), json!({"lang": "en", "item": "y", "index": 1, "count": 2}));

    let run = behind(given.clone(), mapped(json!("${ tasks.a.output.others }")));
    assert_eq!((run.ready().len(), run.input("p#2")), (3, json!(3)), "a bare list gives bare items");

    let run = behind(given, mapped(json!({"lang": "en", "index": "mine"})));
    assert_eq!(run.ready().len(), 9, "no list anywhere: copies");
    assert_eq!(run.input("p#3"), json!({"lang": "en", "index": "mine", "count": 9}));
}

#[test]
fn a_mapped_input_without_a_list_goes_with_the_items_of_the_dependency() {
    let mapped = |input: Value| with(parallel(&[0], None), |t| t.input = InputSpec::Template(input));
    let run = behind(json!(["x", "y"]), mapped(json!({"lang": "en"})));
    assert_eq!(run.input("p#1"), json!({"lang": "en", "item": "y", "index": 1, "count": 2}));
    let run = behind(json!(["x", "y"]), mapped(json!("look")));
    assert_eq!(run.input("p#0"), json!({"input": "look", "item": "x", "index": 0, "count": 2}));
    let run = behind(json!([{"n": 5}]), mapped(json!({"n": "${ item.n }", "all": "${ tasks.a.output }"})));
    assert_eq!(
        run.input("p#0"),
        json!({"n": 5, "all": [{"n": 5}]}),
        "written for one item: as it is written"
    );
}

#[test]
fn a_mapped_input_that_fails_fails_the_parallel_task() {
    let p = with(parallel(&[0], None), |t| t.input = InputSpec::Template(json!("${ tasks.a.output.none }")));
    let run = behind(json!({}), p);
    assert!(run.words_of_causes()[0].starts_with("input: "), "{:?}", run.words_of_causes());
}

#[test]
fn plain_inputs_of_parallel_tasks_are_the_item_or_the_copy() {
    let plain = |input: InputSpec| with(parallel(&[0], Some(2)), |t| t.input = input);
    assert_eq!(behind(json!(["x", "y"]), plain(InputSpec::Previous)).input("p#1"), json!("y"));
    let copy = behind(json!("x"), plain(InputSpec::Previous));
    assert_eq!(copy.input("p#1"), json!({"input": "x", "index": 1, "count": 2}));
    let copy = behind(json!("x"), plain(InputSpec::Execution));
    assert_eq!(copy.input("p#0"), json!({"input": {"q": 1}, "index": 0, "count": 2}));
    let mut own = Run::given(json!(["m", "n", "o"]), vec![task("a", &[]), plain(InputSpec::Execution)]);
    own.done("a", json!(["x"]));
    assert_eq!(own.input("p#1"), json!("n"), "its own input goes before the dependency's output");
}

#[test]
fn a_scattered_task_fails_with_its_first_item_and_cuts_the_others() {
    let mut run = Run::given(json!([1, 2, 3]), vec![each("input", Some(2))]);
    run.send("e#0");
    run.send("e#1");
    let effects = run.fail("e#1", FailureClass::Rejected, true);
    assert_eq!(crate::common::aborted(&effects), [(run.key("e#0"), 1)]);
    assert_eq!((run.status(), run.state.in_flight()), (Status::Failed, 0));
}

#[test]
fn each_item_has_its_own_attempts() {
    let e = with(each("input", None), |t| t.retry = retry(2));
    let mut run = Run::given(json!([1, 2]), vec![e]);
    run.done("e#0", json!("ok"));
    run.send("e#1");
    run.fail("e#1", FailureClass::Error, true);
    run.wait(secs(1));
    run.done("e#1", json!("late"));
    assert_eq!((run.result(), run.state.retries()), (json!(["ok", "late"]), 1));
}

#[test]
fn a_scatter_is_one_fact_whatever_its_size() {
    let list: Vec<u32> = (0..5000).collect();
    let run = Run::given(json!(list), vec![each("input", Some(10))]);
    let scatters = run.log.iter().filter(|e| matches!(e.kind, Kind::TaskScheduled { items: 5000, .. }));
    assert_eq!((scatters.count(), run.log.len(), run.ready().len()), (1, 3, 10));
}

#[test]
fn a_full_queue_counts_the_calls_of_a_scatter() {
    let limits = Limits { queue_size: Some(2), ..Limits::default() };
    let mut run = Run::plan(Plan { limits, ..plan(vec![parallel(&[], Some(3)), task("b", &[])]) });
    assert_eq!(run.ready().len(), 3);
    run.send("p#0");
    assert!(!run.ready().contains(&"b".to_owned()));
    run.send("p#1");
    assert!(run.ready().contains(&"b".to_owned()));
}

#[test]
fn every_item_knows_when_it_ended() {
    let mut run = Run::given(json!(["x", "y"]), vec![each("input", None)]);
    run.send("e#0");
    run.send("e#1");
    run.answer("e#1", json!(1));
    let ended: Vec<bool> = run.state.tasks()[0].calls.iter().map(|c| c.ended_at.is_some()).collect();
    assert_eq!(ended, [false, true]);
    run.answer("e#0", json!(0));
    assert!(run.state.tasks()[0].calls.iter().all(|c| c.ended_at.is_some()));
}
