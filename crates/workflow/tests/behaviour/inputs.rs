//! What an agent is given.

use base::{FailureClass, Payload};
use serde_json::json;
use workflow::{
    CallKey, Input, Status,
    plan::{InputSpec, Spread},
};

use crate::common::{Run, created, plan, task, with};

fn spec(id: &str, after: &[u32], input: InputSpec) -> workflow::plan::TaskPlan {
    with(task(id, after), |t| t.input = input)
}

#[test]
fn a_first_task_gets_the_input_and_a_later_one_gets_it_with_its_dependencies() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[0])]);
    assert_eq!(run.input("a"), json!({"q": 1}));
    run.done("a", json!([1, 2]));
    assert_eq!(run.input("b"), json!({"input": {"q": 1}, "dependencies": {"a": [1, 2]}}));
}

#[test]
fn each_way_of_input_gives_what_it_says() {
    let mut run = Run::of(vec![
        spec("first", &[], InputSpec::Previous),
        task("a", &[]),
        spec("whole", &[1], InputSpec::Execution),
        spec("previous", &[1], InputSpec::Previous),
        spec("both", &[0, 1], InputSpec::Previous),
        spec(
            "mapped",
            &[1],
            InputSpec::Template(
                json!({"n": "${ tasks.a.output.n + 1 }", "text": "q=${ input.q }", "plain": true}),
            ),
        ),
    ]);
    assert_eq!(run.input("first"), json!({"q": 1}));
    run.done("first", json!("f"));
    run.done("a", json!({"n": 1}));
    assert_eq!(run.input("whole"), json!({"q": 1}));
    assert_eq!(run.input("previous"), json!({"n": 1}));
    assert_eq!(run.input("both"), json!({"first": "f", "a": {"n": 1}}));
    assert_eq!(run.input("mapped"), json!({"n": 2, "text": "q=1", "plain": true}));
}

#[test]
fn the_output_of_a_skipped_task_is_null() {
    let skipped = with(task("a", &[]), |t| t.when = Some("false".into()));
    let mut run = Run::of(vec![
        skipped,
        task("b", &[]),
        spec(
            "c",
            &[0, 1],
            InputSpec::Template(json!({"a": "${ tasks.a.output }", "is": "${ tasks.a.status }"})),
        ),
        spec("d", &[0, 1], InputSpec::Previous),
    ]);
    run.done("b", json!(1));
    assert_eq!(run.input("c"), json!({"a": null, "is": "skipped"}));
    assert_eq!(run.input("d"), json!({"b": 1}));
}

#[test]
fn output_that_is_not_json_travels_as_text() {
    let mut run = Run::of(vec![
        task("a", &[]),
        task("b", &[0]),
        spec("c", &[0], InputSpec::Template(json!("${ tasks.a.output }!"))),
        spec("d", &[0], InputSpec::Previous),
    ]);
    run.send("a");
    let text = Payload::new("text/plain".into(), "say \"hi\"".into());
    run.step(Input::Answered { call: run.key("a"), attempt: 1, output: text.clone(), call_us: 1 });
    assert_eq!(run.input("b")["dependencies"]["a"], json!("say \"hi\""));
    assert_eq!(run.input("c"), json!("say \"hi\"!"));
    assert_eq!(run.state.call_input(run.key("d")), Ok(text), "alone it goes on as it came");
}

#[test]
fn an_empty_answer_is_null_to_those_who_read_it() {
    let mut run = Run::of(vec![task("a", &[]), task("b", &[0])]);
    run.send("a");
    run.step(Input::Answered { call: run.key("a"), attempt: 1, output: Payload::json_text(""), call_us: 1 });
    assert_eq!(run.input("b")["dependencies"], json!({"a": null}));
}

#[test]
fn an_expression_sees_other_tasks_as_they_stood_when_its_own_was_scheduled() {
    let look =
        json!({"status": "${ tasks.a.status }", "output": "${ tasks.a.output }", "p": "${ tasks.b.status }"});
    let mut run = Run::of(vec![
        task("a", &[]),
        task("b", &[0]),
        task("go", &[]),
        spec("look", &[2], InputSpec::Template(look)),
    ]);
    run.done("go", json!(0));
    let before = run.input("look");
    assert_eq!(before, json!({"status": "running", "output": null, "p": "pending"}));
    run.done("a", json!(1));
    run.done("b", json!(1));
    assert_eq!(run.input("look"), before, "a call that is sent again carries what it carried before");
}

#[test]
fn all_tasks_can_be_read_by_a_name_made_at_run_time() {
    let mut run = Run::given(
        json!({"which": "a"}),
        vec![task("a", &[]), spec("b", &[0], InputSpec::Template(json!("${ tasks[input.which].output }")))],
    );
    run.done("a", json!({"x": 1}));
    assert_eq!(run.input("b"), json!({"x": 1}));
}

#[test]
fn an_input_that_cannot_be_made_says_where() {
    let run = Run::of(vec![spec("a", &[], InputSpec::Template(json!("${ input.nothing }")))]);
    let error = run.state.call_input(run.key("a")).unwrap_err();
    assert!(error.to_string().starts_with("input: "), "{error}");
    let error = run.state.call_input(CallKey::new(9, 0)).unwrap_err();
    assert_eq!(error.to_string(), "input: there is no task 9");
    assert!(run.state.call_input(CallKey::new(0, 9)).is_err());
}

#[test]
fn a_call_that_cannot_be_made_fails_its_task() {
    let mut run = Run::of(vec![task("a", &[])]);
    let input = Input::CannotCall {
        call: run.key("a"),
        class: FailureClass::Definition,
        message: "input: no such key".into(),
    };
    run.step(input.clone());
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.words_of_causes(), ["input: no such key", "task a: input: no such key"]);
    assert!(run.facts(|r| drop(r.step(input))).is_empty());
}

#[test]
fn a_call_that_is_under_way_cannot_be_given_up_as_impossible() {
    let mut run = Run::of(vec![task("a", &[])]);
    run.send("a");
    let input =
        Input::CannotCall { call: run.key("a"), class: FailureClass::Definition, message: "x".into() };
    assert!(run.facts(|r| drop(r.step(input))).is_empty());
}

#[test]
fn metadata_that_is_no_json_is_an_empty_object() {
    let mut start = created(json!(null));
    start.metadata_json = "{".into();
    let a = spec("a", &[], InputSpec::Template(json!("${ size(metadata) }")));
    assert_eq!(Run::start(plan(vec![a]), start).input("a"), json!(0));
}

#[test]
fn a_scattered_call_gets_its_item_by_the_way_of_its_input() {
    let each = |id: &str, input: InputSpec| {
        with(spec(id, &[0], input), |t| {
            t.spread = Spread::ForEach { list: "tasks.a.output".into(), width: None };
        })
    };
    let mut run = Run::of(vec![
        task("a", &[]),
        each("context", InputSpec::Context),
        each("previous", InputSpec::Previous),
        each(
            "mapped",
            InputSpec::Template(json!({"it": "${ item }", "at": "${ index }", "of": "${ count }"})),
        ),
    ]);
    run.done("a", json!(["x", "y"]));
    let context = json!({
        "input": {"q": 1}, "dependencies": {"a": ["x", "y"]}, "item": "y", "index": 1, "count": 2,
    });
    assert_eq!(run.input("context#1"), context);
    assert_eq!(run.input("previous#0"), json!("x"));
    assert_eq!(run.input("mapped#1"), json!({"it": "y", "at": 1, "of": 2}));
}
