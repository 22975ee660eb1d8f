//! What is found in the larger constructs: each with its place, its code and a remedy.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use base::{Finding, Severity};
use language::{Options, compile, render};

fn findings(source: &str) -> Vec<Finding> {
    compile(source, &Options::default()).findings
}

/// `code line:column` of everything found.
fn found(source: &str) -> Vec<String> {
    findings(source).iter().map(|f| format!("{} {}:{}", f.code, f.line, f.column)).collect()
}

fn check(source: &str, want: &[&str]) {
    let all = findings(source);
    assert_eq!(found(source), want, "{}", render(&all, "x", source));
    assert!(all.iter().all(|f| !f.remedy.is_empty()), "{all:?}");
}

fn with(tasks: &str) -> String {
    format!("name: w\ntasks:\n{tasks}")
}

#[test]
fn edges_and_joins_that_do_not_fit_are_found() {
    for (tasks, want) in [
        ("- {id: a}\n- {id: b, depends_on: [{task: a, case: x}]}\n", "unknown-case 4:31"),
        (
            "- {id: s, switch: [{name: big, when: input.a}]}\n- {id: b, depends_on: [{task: s, case: bgi}]}\n",
            "unknown-case 4:31",
        ),
        ("- {id: s, switch: [{when: input.a, then: c}]}\n- {id: b}\n", "unknown-task 3:42"),
        ("- {id: a, on_error: [{task: z}]}\n", "unknown-task 3:29"),
        ("- {id: a}\n- {id: b, depends_on: [a], join: {quorum: 2}}\n", "impossible-join 4:34"),
        (
            "- {id: s, switch: [{when: input.a, then: a}, {when: input.b, then: b}]}\n- {id: a}\n- {id: b}\n- {id: c, depends_on: [{task: s, case: [a, b]}], join: {quorum: 2}}\n",
            "impossible-join 6:56",
        ),
        ("- {id: a}\n- {id: b, depends_on: [a], join: some}\n", "bad-value 4:34"),
        ("- {id: a}\n- {id: b, depends_on: [a], join: {quorum: 0}}\n", "bad-value 4:43"),
        ("- {id: a}\n- {id: b, depends_on: [a], rest: cancel}\n", "useless-rest 4:8"),
        ("- {id: a}\n- {id: b, depends_on: [{on: failed}]}\n", "missing-key 4:24"),
        ("- {id: a}\n- {id: b, depends_on: [{task: a, if: x}]}\n", "unknown-key 4:34"),
        ("- {id: a}\n- {id: b, depends_on: [{task: a, on: done, classes: [timeout]}]}\n", "bad-value 4:24"),
        (
            "- {id: s, switch: [{when: input.a, name: x}]}\n- {id: b, depends_on: [{task: s, case: x, on: failed}]}\n",
            "bad-value 4:24",
        ),
        ("- {id: a}\n- {id: b, depends_on: [a, {task: a, on: failed}]}\n", "bad-value 4:34"),
        ("- {id: s, switch: {cases: []}}\n", "missing-key 3:19"),
        ("- {id: s, switch: [{then: b}]}\n- {id: b}\n", "missing-key 3:20"),
        ("- {id: s, switch: [{name: x, when: input.a}, {name: x, when: input.b}]}\n", "bad-value 3:46"),
        ("- {id: s, switch: [{name: x, when: false}]}\n", "unreachable-task 3:11"),
        ("- {id: s, end: true}\n- {id: b, depends_on: [s]}\n", "unreachable-task 4:8"),
        ("- {id: s, fail: no}\n- {id: b, depends_on: [s]}\n", "unreachable-task 4:8"),
    ] {
        check(&with(tasks), &[want]);
    }
}

#[test]
fn tasks_that_say_what_they_cannot_do_are_found() {
    for (task, want) in [
        ("id: a, wait: 3s, emit: x", "bad-value 3:21"),
        ("id: a, wait: 3s, agent: b", "not-for-node 3:21"),
        ("id: a, transform: 1, retry: none", "not-for-node 3:25"),
        ("id: a, transform: 1, for_each: [1]", "not-for-node 3:25"),
        ("id: a, tasks: [{id: b}], capability: c", "not-for-node 3:29"),
        ("id: a, transform: 1, until: input.x, max: 2", "not-for-node 3:41"),
        ("id: a, concurrency: 2", "not-for-node 3:8"),
        ("id: a, tasks: [{id: b, on_event: agent_status}]", "not-for-node 3:24"),
        ("id: a, compensate: {id: b}", "not-for-node 3:24"),
        ("id: a, compensate: {capability: b, tasks: []}", "not-for-node 3:39"),
        ("id: a, wait: {}", "missing-key 3:17"),
        ("id: a, wait: {event: {count: 1}}", "missing-key 3:25"),
        ("id: a, wait: {event: {topic: agent_status, cout: 1}}", "unknown-key 3:47"),
        ("id: a, wait: {signal: {}}", "missing-key 3:26"),
        ("id: a, wait: {timer: 1s, step: true}", "bad-value 3:29"),
        ("id: a, wait: {timer: [1]}", "bad-type 3:25"),
        ("id: a, emit: {payload: 1}", "missing-key 3:17"),
        ("id: a, workflow: {version: 1}", "missing-key 3:21"),
        ("id: a, workflow: b@^", "bad-value 3:21"),
        ("id: a, workflow: w", "recursive-workflow 3:11"),
        ("id: a, approval: {title: t}", "approval-by-anybody 3:21"),
        ("id: a, approval: {who: [b], escalate: [{after: 1h}]}", "missing-key 3:43"),
        (
            "id: a, approval: {who: [b], escalate: [{after: 2h, who: [c]}, {after: 1h, who: [d]}]}",
            "bad-value 3:42",
        ),
        ("id: a, end: false", "bad-value 3:16"),
        ("id: a, set: 1", "bad-type 3:16"),
        ("id: a, on_error: [{classes: [timeout]}]", "missing-key 3:22"),
        ("id: a, on_error: [{value: 1, fail: true}]", "bad-value 3:33"),
        ("id: a, on_error: [{value: 1}, {classes: [timeout], value: 2}]", "unreachable-handler 3:34"),
        ("id: a, on_error: whatever", "bad-value 3:21"),
        ("id: a, pick: {among: [b]}", "missing-key 3:17"),
        ("id: a, pick: {by: input.x}", "missing-key 3:17"),
        ("id: a, pick: {by: input.x, among: {b: {rol: c}}}", "unknown-key 3:43"),
        ("id: a, spend: {tokens: 0}", "bad-type 3:27"),
        ("id: a, spend: {money: free}", "bad-value 3:26"),
        ("id: a, spend: {calls: 2}", "bad-value 3:18"),
        ("id: a, cache: {tll: 1h}", "unknown-key 3:19"),
    ] {
        check(&with(&format!("- {{{task}}}\n")), &[want]);
    }
}

#[test]
fn loops_that_do_not_end_and_cycles_that_are_none_are_found() {
    for (source, want) in [
        (with("- {id: a, loop: {until: tasks.b.output.x}, tasks: [{id: b}]}\n"), vec!["unbounded-loop 3:17"]),
        (
            with("- {id: a, loop: {max: 2000000, until: loop.index > 3}, tasks: [{id: b}]}\n"),
            vec!["bad-value 3:23"],
        ),
        (with("- {id: a, loop: {max: 3, until: false}, tasks: [{id: b}]}\n"), vec!["endless-loop 3:41"]),
        (with("- {id: a, loop: {max: 3, while: input.go}, tasks: [{id: b}]}\n"), vec!["endless-loop 3:44"]),
        (with("- {id: a, loop: {max: 3, while: input.go, exhausted: stop}, tasks: [{id: b}]}\n"), vec![]),
        (with("- {id: a, loop: {max: 3}, for_each: [1], tasks: [{id: b}]}\n"), vec!["bad-value 3:37"]),
        (with("- {id: a, gather: {join: any}, tasks: [{id: b}]}\n"), vec!["bad-value 3:19"]),
        (with("- {id: a, gather: {join: any}}\n"), vec!["bad-value 3:19"]),
        (with("- {id: a, for_each: [], input: '${ item }'}\n"), vec!["empty-list 3:21"]),
        (with("- {id: a, for_each: [1, 2], gather: {join: {quorum: 3}}}\n"), vec!["impossible-join 3:3"]),
        (with("- {id: a, tasks: []}\n"), vec!["bad-value 3:11"]),
        (with("- {id: a, tasks: [{id: b}, {id: b}]}\n"), vec!["duplicate-id 3:33"]),
        (
            with("- {id: a, tasks: [{id: b, depends_on: [c]}, {id: c, depends_on: [b]}]}\n"),
            vec!["cycle 3:40"],
        ),
        (
            "name: w\nloops: [{from: b, to: a}]\ntasks: [{id: a}, {id: b, depends_on: [a]}]\n".into(),
            vec!["unbounded-loop 2:9"],
        ),
        (
            "name: w\nloops: [{from: a, to: b, max: 2}]\ntasks: [{id: a}, {id: b, depends_on: [a]}]\n".into(),
            vec!["bad-value 2:9"],
        ),
        ("name: w\nloops: [{from: a, to: z, max: 2}]\ntasks: [{id: a}]\n".into(), vec!["unknown-task 2:9"]),
        ("name: w\nloops: [{to: z, max: 2}]\ntasks: [{id: a}]\n".into(), vec!["missing-key 2:9"]),
        ("name: w\ntype: loop\ntasks: [{id: a}]\n".into(), vec!["unbounded-loop 1:7"]),
        ("name: w\nitems: input.x\ntasks: [{id: a}]\n".into(), vec!["bad-value 2:8"]),
        ("name: w\ntype: pipeline\nmax: 3\ntasks: [{id: a}]\n".into(), vec![]),
    ] {
        check(&source, &want);
    }
}

#[test]
fn events_that_never_come_are_found() {
    for (head, tasks, want) in [
        ("", "- {id: a, wait: {event: news}}\n", vec!["nobody-emits 3:11"]),
        ("", "- {id: a, on_event: news}\n", vec!["nobody-emits 3:8"]),
        ("", "- {id: a, wait: {event: news}}\n- {id: b, emit: news}\n", vec![]),
        (
            "",
            "- {id: a, wait: {event: news}}\n- {id: b, depends_on: [a], emit: news}\n",
            vec!["deadlock 3:11"],
        ),
        (
            "",
            "- {id: s, tasks: [{id: a, wait: {event: news}}]}\n- {id: c, depends_on: [s]}\n- {id: b, depends_on: [c], tasks: [{id: e, emit: news}]}\n",
            vec!["deadlock 3:27"],
        ),
        ("", "- {id: s, tasks: [{id: a, wait: {event: news}}, {id: e, emit: news}]}\n", vec![]),
        ("", "- {id: a, wait: {event: news}}\n- {id: b, emit: 'x-${ input.y }'}\n", vec![]),
        ("", "- {id: a, wait: {event: agent_status}}\n", vec![]),
        ("coordination: {event_driven: [news]}\n", "- {id: a, wait: {event: news}}\n", vec![]),
        ("coordination: {event_driven: {z: news}}\n", "- {id: a}\n", vec!["unknown-task 1:31"]),
        ("coordination: {graph_based: [task_flow, z]}\n", "- {id: a}\n", vec!["unknown-task 1:41"]),
    ] {
        check(&format!("{head}name: w\ntasks:\n{tasks}"), &want);
    }
}

#[test]
fn what_cannot_be_undone_is_guarded_on_every_way() {
    let ask = "- {id: ask, approval: {who: [a]}}\n";
    let bare = "irreversible-unguarded";
    for (tasks, want) in [
        ("- {id: x, effect: irreversible}\n".to_owned(), vec![bare]),
        ("- {id: x, effect: irreversible, compensate: undo}\n".into(), vec![]),
        (format!("{ask}- {{id: x, depends_on: [ask], effect: irreversible}}\n"), vec![]),
        (format!("{ask}- {{id: y, depends_on: [ask]}}\n- {{id: x, depends_on: [y], effect: irreversible}}\n"), vec![]),
        (format!("{ask}- {{id: y}}\n- {{id: x, depends_on: [ask, y], effect: irreversible}}\n"), vec![]),
        (format!("{ask}- {{id: y}}\n- {{id: x, depends_on: [ask, y], join: any, effect: irreversible}}\n"), vec![bare]),
        (format!("{ask}- {{id: y}}\n- {{id: x, depends_on: [ask, y], join: best_effort, effect: irreversible}}\n"), vec![bare]),
        (format!("{ask}- {{id: x, depends_on: [{{task: ask, on: failed}}], effect: irreversible}}\n"), vec![bare]),
        (format!("{ask}- {{id: x, depends_on: [{{task: ask, on: ended}}], effect: irreversible}}\n"), vec![bare]),
        ("- {id: ask, when: input.big, approval: {who: [a]}}\n- {id: x, depends_on: [ask], effect: irreversible}\n".into(), vec![bare]),
        (
            "- {id: s, switch: {cases: [{when: input.big, then: ask}], otherwise: y}}\n- {id: ask, approval: {who: [a]}}\n- {id: y}\n- {id: x, depends_on: [ask, y], effect: irreversible}\n".into(),
            vec![bare],
        ),
        (
            "- {id: s, switch: {cases: [{when: input.big, then: ask}], otherwise: no}}\n- {id: ask, approval: {who: [a]}}\n- {id: x, depends_on: [ask], effect: irreversible}\n".into(),
            vec![],
        ),
        (format!("{ask}- {{id: b, depends_on: [ask], tasks: [{{id: x, effect: irreversible}}]}}\n"), vec![]),
        (format!("{ask}- {{id: b, tasks: [{{id: x, effect: irreversible}}]}}\n"), vec![bare]),
        ("- {id: t, transform: 1, compensate: undo}\n".into(), vec!["nothing-to-compensate"]),
        ("- {id: t, effect: pure, compensate: undo}\n".into(), vec!["nothing-to-compensate"]),
    ] {
        let source = with(&tasks);
        let all = findings(&source);
        let codes: Vec<_> = all.iter().map(|f| f.code.as_str()).collect();
        assert_eq!(codes, want, "{source}");
        assert!(all.iter().all(|f| f.severity == Severity::Warning && !f.remedy.is_empty()), "{all:?}");
    }
    let off = "name: w\nsaga: false\ntasks: [{id: a, compensate: b}]\n";
    check(off, &["nothing-to-compensate 2:7"]);
    check(
        "name: w\nsaga: {classes: [auth], not_classes: [auth]}\ntasks: [{id: a, compensate: b}]\n",
        &["bad-value 2:7"],
    );
}

#[test]
fn expressions_see_what_is_there_in_their_place() {
    let unknown = |place: &str| vec![format!("unknown-variable {place}")];
    for (tasks, want) in [
        ("- {id: a, input: '${ loop.index }'}\n", unknown("3:22")),
        ("- {id: a, input: '${ scope.input }'}\n", unknown("3:22")),
        ("- {id: a, input: '${ event.id }'}\n", unknown("3:22")),
        ("- {id: a, on_event: agent_status, input: '${ event.id }'}\n", vec![]),
        ("- {id: a, input: '${ error.class }'}\n", unknown("3:22")),
        ("- {id: a, on_error: [{value: '${ error.klass }'}]}\n", unknown("3:34")),
        ("- {id: a, input: '${ output }'}\n", unknown("3:22")),
        ("- {id: a, compensate: {capability: c, input: '${ output.x + tasks.a.output.y }'}}\n", vec![]),
        ("- {id: a, loop: {max: 2, while: tasks.b.output}, tasks: [{id: b}]}\n", unknown("3:33")),
        ("- {id: a, loop: {max: 2, while: loop.last == null}, tasks: [{id: b}]}\n", vec![]),
        ("- {id: a, loop: {max: 2, start: '${ loop.index }'}, tasks: [{id: b}]}\n", unknown("3:37")),
        ("- {id: a, loop: {max: 2, carry: '${ loop.carry + tasks.b.output }'}, tasks: [{id: b}]}\n", vec![]),
        ("- {id: a, loop: {max: 2}, tasks: [{id: b, input: '${ loop.lats }'}]}\n", unknown("3:54")),
        (
            "- {id: a, for_each: input.l, tasks: [{id: b, when: item > index, tasks: [{id: c, input: '${ item + scope.input }'}]}]}\n",
            vec![],
        ),
        (
            "- {id: a, tasks: [{id: b}]}\n- {id: c, depends_on: [a], input: '${ tasks.b.output }'}\n",
            unknown("4:39"),
        ),
        (
            "- {id: a}\n- {id: c, tasks: [{id: d, input: '${ tasks.a.output }'}]}\n",
            vec!["not-a-dependency 4:38".into()],
        ),
        ("- {id: a}\n- {id: c, depends_on: [a], tasks: [{id: d, input: '${ tasks.a.output }'}]}\n", vec![]),
        (
            "- {id: a, tasks: [{id: b}, {id: c, input: '${ tasks.b.output }'}]}\n",
            vec!["not-a-dependency 3:47".into()],
        ),
        ("- {id: a, wait: {event: {topic: agent_status, filter: event.payload.x == input.y}}}\n", vec![]),
        ("- {id: a, switch: [{when: tasks.z.output, name: x}]}\n", unknown("3:27")),
        ("- {id: a, transform: '${ vars.x + session.y }'}\n", vec![]),
        ("- {id: a, pick: {by: nothing, among: [b]}}\n", unknown("3:22")),
    ] {
        let source = with(tasks);
        assert_eq!(found(&source), want, "{}", render(&findings(&source), "x", &source));
    }
    for (head, want) in [
        ("vars: {a: '${ tasks.a.output }'}", "unknown-variable 2:15"),
        ("session: {id: vars.a}", "unknown-variable 2:15"),
        ("triggers: [{event: x, filter: input.a}]", "unknown-variable 2:31"),
        ("triggers: [{event: x, every: 1s}]", "missing-key 2:12"),
        ("triggers: [{every: 1s, filter: event.a}]", "bad-value 2:12"),
        ("triggers: [{cron: '* *'}]", "bad-value 2:19"),
        ("triggers: [{event: x, name: a}, {event: y, name: a}]", "bad-value 2:33"),
        ("triggers: [{event: x, wehn: 1}]", "unknown-key 2:23"),
        ("budget: {money: -1}", "bad-value 2:17"),
        ("budget: {tokens: many}", "bad-type 2:18"),
        ("memory: [1]", "bad-type 2:9"),
        ("session: {lod: [a]}", "unknown-key 2:11"),
        ("budget: {call: 3}", "unknown-key 2:10"),
        ("coordination: {type: chaos}", "bad-value 2:22"),
    ] {
        check(&format!("name: w\n{head}\ntasks: [{{id: a}}]\n"), &[want]);
    }
}

#[test]
fn a_role_narrower_than_its_task_is_found() {
    let source = "name: w\nagents: {r: {count: 2}}\ntasks: [{id: a, agent: r, parallel: true, count: 3}]\n";
    check(source, &["too-few-agents 3:43"]);
}
