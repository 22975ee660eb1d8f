//! The language as its users meet it.

use std::sync::Arc;

use expr::{Expr, ExprErrorKind as Kind, Limits, Lookup, Node, Scope, Template};
use serde_json::{Value, json};

fn scope() -> Scope {
    Scope::new()
        .with("input", json!({"topic": "rust", "n": 3, "big": 18446744073709551615u64, "half": 0.5, "none": null}))
        .with(
            "tasks",
            json!({
                "research": {"output": {"findings": [{"t": "a", "s": 1}, {"t": "b", "s": 2}]}, "status": "completed"},
                "my-task": {"output": 7}
            }),
        )
        .with("items", json!([3, 1, 2]))
}

fn eval(source: &str) -> Result<Value, Kind> {
    Expr::compile(source).and_then(|e| e.eval(&scope())).map_err(|e| e.kind)
}

#[test]
fn expressions_give_json_values() {
    for (source, want) in [
        ("1 + 2", json!(3)),
        ("7 / 2", json!(3)),
        ("1.5 + 1.0", json!(2.5)),
        ("input.topic", json!("rust")),
        ("input.big", json!(18446744073709551615u64)),
        ("input.half", json!(0.5)),
        ("input.none", json!(null)),
        ("input.n * 2", json!(6)),
        (
            "input",
            json!({"topic": "rust", "n": 3, "big": 18446744073709551615u64, "half": 0.5, "none": null}),
        ),
        ("tasks.research.output.findings[1].t", json!("b")),
        ("tasks.research.output.findings.map(f, f.s)", json!([1, 2])),
        ("tasks.research.output.findings.filter(f, f.s > 1).map(f, {'title': f.t})", json!([{"title": "b"}])),
        ("tasks[\"my-task\"].output", json!(7)),
        ("tasks.`my-task`.output + 1", json!(8)),
        ("size(items) == 3 && items.exists(i, i == 2)", json!(true)),
        ("items.all(i, i > 0) ? 'yes' : 'no'", json!("yes")),
        ("has(input.topic) && !has(input.missing)", json!(true)),
        ("has(tasks.research.output) && tasks.research.status == 'completed'", json!(true)),
        ("'a' in ['a', 'b']", json!(true)),
        ("'topic' in input", json!(true)),
        ("input.topic.matches('^r.st$')", json!(true)),
        ("items + [4]", json!([3, 1, 2, 4])),
        ("{'a': [1, {'b': null}]}", json!({"a": [1, {"b": null}]})),
        ("duration('90s')", json!("90s")),
        ("timestamp('2026-01-02T03:04:05Z')", json!("2026-01-02T03:04:05Z")),
        ("b'abcd'", json!("YWJjZA==")),
        ("[1, 2].map(x, [3, 4].map(y, x * y))", json!([[3, 4], [6, 8]])),
        ("input.n == 3.0", json!(true)),
    ] {
        assert_eq!(eval(source), Ok(want), "{source}");
    }
}

#[test]
fn a_loop_over_a_map_goes_by_its_keys_in_order() {
    let keys: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
    let map: Value = keys.iter().rev().map(|k| (k.clone(), json!(1))).collect();
    let scope = Scope::new().with("m", map);
    for source in ["m.map(k, k)", "m.filter(k, m[k] == 1)"] {
        assert_eq!(Expr::compile(source).unwrap().eval(&scope).unwrap(), json!(keys), "{source}");
    }
    assert_eq!(
        eval("{10: 'c', 'x': 'e', 2u: 'b', true: 'a', 'y': 'f'}.map(k, k)"),
        Ok(json!([true, 2, 10, "x", "y"]))
    );
    assert_eq!(eval("{'a': 1, 'b': 2}.all(k, k < 'c') && {'a': 1}.exists(k, k == 'a')"), Ok(json!(true)));
}

#[test]
fn mistakes_are_told_apart() {
    for (source, want) in [
        ("", Kind::Syntax),
        ("1 +", Kind::Syntax),
        ("a b", Kind::Syntax),
        ("'open", Kind::Syntax),
        ("input.topic.matches('(')", Kind::Syntax),
        ("input.topic.matches(input.topic)", Kind::Syntax),
        ("nothing", Kind::Unknown),
        ("nothing.x + 1", Kind::Unknown),
        ("input.missing", Kind::Unknown),
        ("input.missing + 1", Kind::Unknown),
        ("now()", Kind::Unknown),
        ("Thing{a: 1}", Kind::Unknown),
        ("input.n / 0", Kind::Evaluation),
        ("items[9]", Kind::Evaluation),
        ("input.topic - 1", Kind::Evaluation),
        ("input.topic.name", Kind::Evaluation),
        ("1.0 / 0.0", Kind::Evaluation),
        ("9223372036854775807 + 1", Kind::Evaluation),
    ] {
        assert_eq!(eval(source), Err(want), "{source:?}");
    }
    for (source, want) in [
        ("1 +", "the expression ends too early"),
        ("1 + )", "`)` is not expected here"),
        ("a b", "`b` is not expected here"),
        ("a == 'open", "the text in quotes has no end"),
        ("a # b", "`#` is not expected here"),
        ("now()", "there is no function \"now\""),
    ] {
        let error = Expr::compile(source).unwrap_err().message;
        assert!(error.starts_with(want), "{source}: {error}");
    }
    let error = Expr::compile("input.n ==\n  * 2").unwrap_err();
    assert_eq!(error.line_column("input.n ==\n  * 2"), (2, 3), "{error}");
    assert!(Expr::compile("1").unwrap().eval_bool(&scope()).unwrap_err().message.contains("a number"));
    assert_eq!(Expr::compile("true").unwrap().eval_bool(&scope()), Ok(true));
}

#[test]
fn an_expression_names_what_it_reads() {
    for (source, want) in [
        ("tasks.research.output.findings", vec!["tasks.research.output.findings"]),
        ("input.a + input.b", vec!["input.a", "input.b"]),
        ("tasks.a.output[0].x", vec!["tasks.a.output"]),
        ("tasks['my-task'].output", vec!["tasks.my-task.output"]),
        ("items.map(i, i.x + n)", vec!["items", "n"]),
        ("has(tasks.a.output)", vec!["tasks.a.output"]),
        ("has(items[0].x)", vec!["items"]),
        ("{'a': [x, y.z]}", vec!["x", "y.z"]),
        ("tasks[input.name].output", vec!["input.name", "tasks"]),
        ("1 + 1", vec![]),
        ("items.map(i, items.map(j, i + j + k))", vec!["items", "k"]),
    ] {
        let expr = Expr::compile(source).unwrap();
        let got: Vec<_> = expr.references().iter().map(|path| path.join(".")).collect();
        assert_eq!(got, want, "{source}");
    }
}

struct OnlyAsked;
impl Lookup for OnlyAsked {
    fn get(&self, name: &str) -> Option<Node> {
        assert_eq!(name, "b", "nothing else is looked up");
        Some(Node::Map([("output".to_owned(), json!({"x": [1]}).into())].into()))
    }
    fn names(&self) -> Vec<String> {
        vec!["b".into()]
    }
}

#[test]
fn only_what_is_named_is_looked_up() {
    let scope = Scope::new().with("tasks", Node::Lazy(Arc::new(OnlyAsked)));
    for (source, want) in [
        ("tasks.b.output.x", json!([1])),
        ("size(tasks.b.output.x)", json!(1)),
        ("tasks.b", json!({"output": {"x": [1]}})),
        ("tasks.b.output.x.map(i, i + 1)", json!([2])),
        ("tasks", json!({"b": {"output": {"x": [1]}}})),
        ("size(tasks)", json!(1)),
    ] {
        assert_eq!(Expr::compile(source).unwrap().eval(&scope), Ok(want), "{source}");
    }
}

#[test]
fn templates_fill_in_values_and_texts() {
    let template = json!({
        "whole": "${ tasks.research.output.findings }",
        "text": "about ${input.topic}: ${ input.n } and ${ {'a': '}'} }",
        "list": ["plain", "${input.n + 1}", 5, null],
        "escaped": "$${input.topic} costs $5",
    });
    let template = Template::compile(&template).unwrap();
    assert_eq!(
        template.render(&scope()).unwrap(),
        json!({
            "whole": [{"t": "a", "s": 1}, {"t": "b", "s": 2}],
            "text": "about rust: 3 and {\"a\":\"}\"}",
            "list": ["plain", 4, 5, null],
            "escaped": "${input.topic} costs $5",
        })
    );
    let paths: Vec<_> = template.references().iter().map(|path| path.join(".")).collect();
    assert_eq!(paths, ["input.n", "input.topic", "tasks.research.output.findings"]);
    let fixed = Template::compile(&json!({"a": ["$1", "{}"]})).unwrap();
    assert!(fixed.is_fixed() && !template.is_fixed());
    for (bad, offset) in [("x ${1 +", 2), ("abc ${ 1 + }", 10), ("${}", 2)] {
        assert_eq!(Template::compile(&json!([bad])).unwrap_err().offset, offset, "{bad}");
    }
    let mut deep = json!("x");
    for _ in 0..200 {
        deep = json!([deep]);
    }
    assert_eq!(Template::compile(&deep).unwrap_err().kind, Kind::Limit);
}

#[test]
fn what_would_take_too_long_ends_at_a_limit() {
    let many: Vec<i64> = (0..2000).collect();
    let scope = Scope::new().with("l", json!(many)).with("s", json!("x".repeat(1000)));
    let double = (0..25).fold("[s]".to_owned(), |source, _| format!("{source}.map(x, x + x)"));
    for source in [
        "l.all(a, l.all(b, l.all(c, l.all(d, a + b + c + d >= 0))))",
        "size(l.map(a, l.map(b, l)))",
        "l.map(a, l.map(b, [s, s]))",
        "l.all(a, l == l)",
        "l.filter(a, l.exists(b, -1 in l))",
        "l.all(a, l.all(b, s.matches('(a|b)*c')) || true)",
        double.as_str(),
    ] {
        let expr = Expr::compile(source).unwrap_or_else(|e| panic!("{source}: {e}"));
        let error = expr.eval(&scope).expect_err(source);
        assert_eq!(error.kind, Kind::Limit, "{source}: {error}");
    }
    assert_eq!(Expr::compile("size(l.map(a, a * 2))").unwrap().eval(&scope), Ok(json!(2000)));
}

#[test]
fn texts_over_the_limits_are_refused() {
    let nested = format!("{}1{}", "(".repeat(40), ")".repeat(40));
    for source in [
        "1".repeat(10_000),
        vec!["1"; 300].join(" + "),
        "!".repeat(300) + "true",
        nested,
        "l.map(a, l.map(b, l.map(c, l.map(d, l.map(e, 1)))))".into(),
        "'x'.matches('(a{1000}){1000}')".into(),
        vec!["1"; 300].join(" in "),
    ] {
        assert_eq!(Expr::compile(&source).unwrap_err().kind, Kind::Limit, "{source}");
    }
    let punctuation = format!("'{}'", ".".repeat(1000));
    assert!(Expr::compile(&punctuation).is_ok(), "texts do not count as operators");
    let small = Limits { steps_max: 10, ..Limits::DEFAULT };
    let expr = Expr::compile_with("[1, 2, 3, 4, 5].map(x, x)", &small).unwrap();
    assert_eq!(expr.eval(&Scope::new()).unwrap_err().kind, Kind::Limit);
}

#[test]
fn the_deepest_allowed_tree_fits_a_small_stack() {
    let sources = [
        vec!["1"; 63].join(" + "),
        vec!["a"; 63].join(" + "),
        "!".repeat(63) + "true",
        "a".to_owned() + &".a".repeat(63),
        format!("{}1{}", "(".repeat(31), ")".repeat(31)),
        format!("{}1{}", "[".repeat(31), "]".repeat(31)),
        format!("{}1{}", "{'a':".repeat(31), "}".repeat(31)),
        "true ? 1 : ".repeat(20) + "2",
        vec!["true"; 120].join(" && "),
        "x".to_owned() + &"[0]".repeat(62),
        "[1].map(x, [1].map(y, [1].map(z, [1].map(q, [[[[[[[[[[x + y + z + q]]]]]]]]]]))))".into(),
    ];
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || {
            for source in sources {
                let expr = Expr::compile(&source).unwrap_or_else(|e| panic!("{source}: {e}"));
                let _ = expr.eval(&Scope::new().with("a", json!({})).with("x", json!([])));
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn errors_and_values_show_themselves_shortly() {
    let expr = Expr::compile("input.n").unwrap();
    assert_eq!((expr.source(), format!("{expr:?}").as_str()), ("input.n", "Expr(\"input.n\")"));
    assert_eq!(expr, Expr::compile("input.n").unwrap());
    let long = Scope::new().with("s", json!("x".repeat(10_000)));
    let error = Expr::compile("s - 1").unwrap().eval(&long).unwrap_err();
    assert!(error.message.chars().count() < 400 && !error.message.contains('@'), "{error}");
    let looped = Expr::compile("s.map(x, x)").unwrap().eval(&long).unwrap_err();
    assert!(looped.kind == Kind::Evaluation && !looped.message.contains('@'), "{looped}");
    let lazy =
        Scope::new().with("tasks", Node::Lazy(Arc::new(OnlyAsked))).with("m", Node::Map(Default::default()));
    assert_eq!(format!("{lazy:?}"), "Scope { variables: {\"m\": {}, \"tasks\": …} }");
    assert!(lazy.get("m").is_some() && lazy.get("x").is_none());
    assert_eq!(Limits::default(), Limits::DEFAULT);
    assert_eq!(Template::compile(&json!("${ a }")).unwrap(), Template::compile(&json!("${ a }")).unwrap());
}

#[test]
fn values_that_json_cannot_hold_or_that_are_missing_are_told() {
    for (source, kind, part) in [
        ("type(1)", Kind::Evaluation, "JSON cannot hold"),
        ("[1.0 / 0.0]", Kind::Evaluation, "not finite"),
        ("tasks.nobody", Kind::Unknown, "no member \"nobody\""),
        ("input.none.x", Kind::Evaluation, "null has no member"),
        ("items.x", Kind::Evaluation, "a list has no member"),
        ("input.n.x", Kind::Evaluation, "a number has no member"),
    ] {
        let error = Expr::compile(source).unwrap().eval(&scope()).unwrap_err();
        assert!(error.kind == kind && error.message.contains(part), "{source}: {error}");
    }
    for (source, want) in
        [("true", "true or false"), ("b''", ""), ("18446744073709551615u", ""), ("duration('1500ms')", "")]
    {
        let value = Expr::compile(source).unwrap().eval(&scope());
        assert!(value.is_ok(), "{source}: {want}");
    }
    assert_eq!(eval("18446744073709551615u"), Ok(json!(18446744073709551615u64)));
    assert_eq!(eval("duration('1500ms')"), Ok(json!("1.5s")));
    for (value, name) in
        [(json!(true), "a boolean"), (json!({}), "an object"), (json!("x"), "a text"), (json!(null), "null")]
    {
        let scope = Scope::new().with("v", value.clone());
        let result = Expr::compile("v").unwrap().eval_bool(&scope);
        match value {
            Value::Bool(b) => assert_eq!(result, Ok(b)),
            _ => assert!(result.unwrap_err().message.contains(name)),
        }
    }
}

#[test]
fn loop_is_a_variable_though_cel_reserves_the_word() {
    let mut scope = Scope::new();
    scope.set("loop", Arc::new(json!({"index": 3, "history": [1, 2], "loop": {"last": 7}})));
    scope.set("tasks", Arc::new(json!({"loop": {"output": 5}})));
    for (source, want) in [
        ("loop.index", json!(3)),
        ("loop.index + 1", json!(4)),
        ("[1, 2].map(x, x * loop.index)", json!([3, 6])),
        ("loop.history.exists(l, l == 2) ? 'loop' : \"no loop\"", json!("loop")),
        ("loop['index'] == loop . index", json!(true)),
        ("loop.loop.last + tasks.loop.output", json!(12)),
        ("{'loop': size(loop.history)}", json!({"loop": 2})),
    ] {
        let expr = Expr::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(expr.eval(&scope).unwrap(), want, "{source}");
        assert!(expr.references().iter().all(|path| path[0] != "l00p"), "{source}");
        assert_eq!(expr.source(), source);
    }
    let wrong = Expr::compile("loop loop").unwrap_err();
    assert!(!wrong.message.contains("l00p"), "{wrong}");
}
