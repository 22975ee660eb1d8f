//! Every construct of the language, and the plan it becomes.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use std::time::Duration;

use base::FailureClass;
use language::{Compiled, Options, compile, format_definition, render};
use serde_json::{Value, json};
use workflow::plan::{
    Edge, Exhausted, InputSpec, Join, NodeKind, OutputSpec, Overlap, PLAN_SCHEMA_NODES, Plan, Rest,
    ScopeMode, TaskPlan, TriggerOn, Wait,
};

/// Compiles without any finding; the canonical form gives the same plan; formatting changes nothing.
fn ok(source: &str) -> Compiled {
    let outcome = compile(source, &Options::default());
    assert_eq!(outcome.findings, [], "{}", render(&outcome.findings, "x", source));
    let first = outcome.compiled.unwrap();
    let again = compile(&first.canonical, &Options::default());
    let again = again.compiled.unwrap_or_else(|| panic!("{}: {:?}", first.canonical, again.findings));
    let (mut plan, mut other) = (first.plan.clone(), again.plan);
    assert_eq!(again.canonical, first.canonical);
    // The canonical form is sorted, so the order of equals may differ only in what stands apart.
    (plan.version, other.version) = Default::default();
    assert_eq!(other, plan, "{source}");
    let formatted = format_definition(source, None).unwrap();
    assert_eq!(compile(&formatted, &Options::default()).compiled.unwrap().content_hash, first.content_hash);
    workflow::Compiled::new(first.plan.clone()).unwrap_or_else(|error| panic!("{error}: {source}"));
    first
}

fn plan(tasks: &str) -> Plan {
    ok(&format!("name: w\ntasks:\n{tasks}")).plan
}

fn task<'a>(tasks: &'a [TaskPlan], id: &str) -> &'a TaskPlan {
    tasks.iter().find(|t| t.id == id).unwrap_or_else(|| panic!("no task {id}"))
}

fn inner(task: &TaskPlan) -> (&[TaskPlan], &ScopeMode) {
    match &task.kind {
        NodeKind::Scope(scope) => (&scope.tasks, &scope.mode),
        other => panic!("{other:?}"),
    }
}

/// What `task` waits for: names and edges.
fn before(tasks: &[TaskPlan], id: &str) -> Vec<(String, Edge)> {
    let task = task(tasks, id);
    let edge = |n: usize| task.edges.get(n).cloned().unwrap_or_default();
    task.after.iter().enumerate().map(|(n, &b)| (tasks[b as usize].id.clone(), edge(n))).collect()
}

fn case(name: &str) -> Edge {
    Edge::Case(name.into())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_switch_labels_the_edges_it_takes() {
    let tasks = plan(
        "- {id: look}
- id: choose
  depends_on: [look]
  switch:
    cases:
      - {when: tasks.look.output.size > 10, then: big}
      - {name: medium, when: tasks.look.output.size > 5, then: [middle, note]}
      - {name: tiny, when: tasks.look.output.size == 0}
    otherwise: small
- {id: big}
- {id: middle}
- {id: note}
- {id: small}
- {id: none, depends_on: [{task: choose, case: tiny}]}
- {id: after, depends_on: [big, middle, small], join: any}
- {id: either, depends_on: [{task: choose, case: [big, small]}]}
",
    )
    .tasks;
    let NodeKind::Switch { cases, otherwise, many } = &task(&tasks, "choose").kind else { panic!() };
    assert_eq!(cases.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["big", "medium", "tiny"]);
    assert_eq!((otherwise.as_deref(), *many), (Some("small"), false));
    assert_eq!(before(&tasks, "big"), [("choose".into(), case("big"))]);
    assert_eq!(before(&tasks, "middle"), [("choose".into(), case("medium"))]);
    assert_eq!(before(&tasks, "note"), [("choose".into(), case("medium"))]);
    assert_eq!(before(&tasks, "small"), [("choose".into(), case("small"))]);
    assert_eq!(before(&tasks, "none"), [("choose".into(), case("tiny"))]);
    assert_eq!(task(&tasks, "after").join, Join::Any);
    assert_eq!(
        before(&tasks, "either"),
        [("choose".into(), case("big")), ("either.choose.small".into(), Edge::Done)],
        "a second case comes through a task that does nothing"
    );
    let many = plan(
        "- {id: s, switch: {many: true, cases: [{when: input.a, then: a}, {when: input.b, then: b}]}}\n- {id: a}\n- {id: b}\n",
    );
    assert!(matches!(task(&many.tasks, "s").kind, NodeKind::Switch { many: true, .. }));
    let short = plan("- {id: s, switch: [{when: input.a, then: a}]}\n- {id: a}\n");
    assert_eq!(before(&short.tasks, "a"), [("s".into(), case("a"))]);
}

#[test]
fn edges_say_how_the_task_before_ended() {
    let tasks = plan(
        "- {id: a}
- {id: b, depends_on: [{task: a, on: failed, classes: [timeout, broken]}]}
- {id: c, depends_on: [{task: a, on: failed}]}
- {id: d, depends_on: [{task: a, on: ended}]}
- {id: e, depends_on: [{task: a, classes: [auth]}, b]}
- {id: f, depends_on: [a, b, c], join: {quorum: 2}, rest: cancel}
- {id: g, depends_on: [a, b], join: best_effort}
",
    )
    .tasks;
    let failed = |classes: &[FailureClass]| Edge::Failed(classes.to_vec());
    assert_eq!(before(&tasks, "b"), [("a".into(), failed(&[FailureClass::Timeout, FailureClass::Broken]))]);
    assert_eq!(before(&tasks, "c"), [("a".into(), failed(&[]))]);
    assert_eq!(before(&tasks, "d"), [("a".into(), Edge::Ended)]);
    let e = before(&tasks, "e");
    assert_eq!(e, [("a".into(), failed(&[FailureClass::Auth])), ("b".into(), Edge::Done)]);
    assert_eq!((task(&tasks, "f").join, task(&tasks, "f").rest), (Join::Quorum(2), Rest::Cancel));
    assert_eq!(task(&tasks, "g").join, Join::BestEffort);
    assert!(task(&tasks, "g").edges.is_empty(), "plain edges are not written");
}

#[test]
fn failures_are_answered_class_by_class() {
    let plan = plan(
        "- id: charge
  compensate: refund
  on_error:
    - {classes: [timeout, unavailable], task: later}
    - {classes: [rejected], value: {charged: false, why: '${ error.message }'}}
    - {classes: [auth], fail: true}
    - {classes: [broken], compensate: true}
    - {value: null}
- {id: later}
- {id: ship, depends_on: [charge, later], join: any}
- {id: calm, on_error: continue}
",
    );
    let tasks = &plan.tasks;
    let catch = &task(tasks, "charge").catch;
    assert_eq!(catch.len(), 2);
    assert_eq!(catch[0].on, [FailureClass::Rejected]);
    assert!(!catch[1].on.contains(&FailureClass::Auth) && catch[1].on.contains(&FailureClass::Error));
    assert_eq!(catch[1].on.len(), FailureClass::ALL.len() - 5, "what no entry before it answers");
    let failed = Edge::Failed(vec![FailureClass::Timeout, FailureClass::Unavailable]);
    assert_eq!(before(tasks, "later"), [("charge".into(), failed)]);
    assert_eq!(plan.saga.classes, [FailureClass::Broken]);
    assert_eq!(task(tasks, "calm").catch[0].value, Value::Null);
    assert!(task(tasks, "calm").catch[0].on.is_empty(), "every class");
}

#[test]
fn nodes_do_what_they_say() {
    let source = "name: w
coordination: {event_driven: [orders]}
tasks:
- {id: t, transform: {sum: '${ input.a + 1 }', list: [1, '${ input.b }']}}
- {id: v, depends_on: [t], set: {seen: '${ tasks.t.output.sum }'}}
- {id: e, emit: {topic: 'orders', type: created, payload: {id: '${ input.id }'}, key: input.id, priority: high}}
- {id: e2, emit: orders}
- {id: w1, wait: 30s}
- {id: w2, wait: {until: 'input.at'}}
- {id: w3, wait: {event: {topic: orders, filter: event.payload.size > 3, key: input.id, count: 2}}, timeout: 1h}
- {id: w4, wait: {signal: {name: go, schema: {type: object}}, timeout: 2h}}
- {id: w5, wait: {step: true}}
- {id: w6, wait: {event: orders}}
- id: ask
  approval:
    title: Pay ${ input.sum }?
    who: [ann, bob]
    form: {type: object, properties: {note: {type: string}}}
    escalate: [{after: 1h, who: [carol]}, {after: 1d, who: [dave]}]
    timeout: 2d
- {id: sub, workflow: billing@^1.2, input: {sum: 3}, timeout: 1h}
- {id: sub2, workflow: {name: 'bill-${ input.kind }', version: '>=2, <3', detached: true}}
- {id: f, when: input.bad, fail: {message: 'no ${ input.id }', class: rejected}}
- {id: x, when: input.done, end: {output: {ok: true}}}
- {id: y, when: input.over, end: true}
";
    let tasks = ok(source).plan.tasks;
    let kind = |id: &str| task(&tasks, id).kind.clone();
    assert_eq!(
        kind("t"),
        NodeKind::Transform { value: json!({"sum": "${ input.a + 1 }", "list": [1, "${ input.b }"]}) }
    );
    assert_eq!(kind("v"), NodeKind::Set { vars: json!({"seen": "${ tasks.t.output.sum }"}) });
    let NodeKind::Emit(emit) = kind("e") else { panic!() };
    assert_eq!((emit.topic.as_str(), emit.event_type.as_str(), emit.priority), ("orders", "created", 10));
    assert_eq!((emit.key.as_deref(), emit.payload), (Some("input.id"), json!({"id": "${ input.id }"})));
    assert_eq!(kind("w1"), NodeKind::Wait(Wait::Timer { until: "duration(\"30s\")".into() }));
    assert_eq!(kind("w2"), NodeKind::Wait(Wait::Timer { until: "input.at".into() }));
    let NodeKind::Wait(Wait::Event { topic, filter, key, count }) = kind("w3") else { panic!() };
    assert_eq!((topic.as_str(), filter.as_deref()), ("orders", Some("event.payload.size > 3")));
    assert_eq!((key.as_deref(), count), (Some("input.id"), 2));
    assert_eq!(task(&tasks, "w3").timeouts.total, Some(3600 * SECOND));
    assert_eq!(task(&tasks, "w3").timeouts.attempt, None);
    assert_eq!(
        kind("w4"),
        NodeKind::Wait(Wait::Signal { name: "go".into(), schema: Some(json!({"type": "object"})) })
    );
    assert_eq!(kind("w5"), NodeKind::Wait(Wait::Step));
    let NodeKind::Wait(Wait::Approval(asked)) = kind("ask") else { panic!() };
    assert_eq!((asked.title.as_str(), asked.who.len(), asked.escalate.len()), ("Pay ${ input.sum }?", 2, 2));
    assert_eq!(task(&tasks, "ask").timeouts.total, Some(2 * 86400 * SECOND));
    let NodeKind::Child(child) = kind("sub") else { panic!() };
    assert_eq!((child.workflow.as_str(), child.version.as_str(), child.detached), ("billing", "^1.2", false));
    assert_eq!(task(&tasks, "sub").input, InputSpec::Template(json!({"sum": 3})));
    let NodeKind::Child(child) = kind("sub2") else { panic!() };
    assert_eq!((child.version.as_str(), child.detached), (">=2, <3", true));
    assert_eq!(
        kind("f"),
        NodeKind::Fail { message: "no ${ input.id }".into(), class: FailureClass::Rejected }
    );
    assert_eq!(kind("x"), NodeKind::End { output: Some(json!({"ok": true})) });
    assert_eq!(kind("y"), NodeKind::End { output: None });
}

#[test]
fn who_does_it_may_be_picked_at_run_time() {
    let source = "name: w
agents: {a: {capabilities: [x]}, b: {}}
tasks:
- {id: route, agent: a}
- {id: one, depends_on: [route], pick: {by: tasks.route.output.next, among: [a, b]}}
- id: two
  depends_on: [route]
  pick:
    by: tasks.route.output.next
    among:
      first: a
      second: {agent_id: someone, capability: y}
      third: {tags: [fast]}
      b:
";
    let tasks = ok(source).plan.tasks;
    let pick = task(&tasks, "one").pick.as_ref().unwrap();
    assert_eq!(pick.by, "tasks.route.output.next");
    assert_eq!(pick.among["a"].capabilities, ["x"]);
    assert_eq!(task(&tasks, "one").need.capability, None);
    let among = &task(&tasks, "two").pick.as_ref().unwrap().among;
    assert_eq!(among["first"].role.as_deref(), Some("a"));
    assert_eq!(among["second"].agent.as_ref().unwrap().as_str(), "someone");
    assert_eq!(among["third"].tags, ["fast"]);
    assert_eq!(among["b"].role.as_deref(), Some("b"));
}

#[test]
fn what_undoes_a_task_goes_to_who_did_it() {
    let source = "name: w
agents: {bank: {}, shop: {}}
saga: {on_cancel: false, not_classes: [operator], timeout: 10m, retry: {max_attempts: 9}}
tasks:
- {id: pay, agent: bank, effect: compensatable, compensate: {capability: refund, input: {id: '${ output.id }'}, retry: none}}
- {id: pack, agent: shop, compensate: unpack}
- {id: send, agent: shop, compensate: {agent: bank, instructions: stop it}}
";
    let plan = ok(source).plan;
    assert!(plan.saga.on_failure && !plan.saga.on_cancel);
    assert_eq!((plan.saga.timeout, plan.saga.retry.as_ref().unwrap().max_attempts), (Some(600 * SECOND), 9));
    let undo = |id: &str| task(&plan.tasks, id).compensate.clone().unwrap();
    assert_eq!(
        (undo("pay").need.role.as_deref(), undo("pay").need.capability.as_deref()),
        (Some("bank"), Some("refund"))
    );
    assert_eq!(undo("pay").retry.unwrap().max_attempts, 1);
    assert_eq!(undo("pack").need.role.as_deref(), Some("shop"));
    assert_eq!(undo("pack").input, InputSpec::Template(json!({"output": "${ output }"})));
    assert_eq!(undo("send").need.role.as_deref(), Some("bank"));
    let plain = "name: w\ntasks: [{id: a, compensate: b}]";
    assert!(ok(plain).plan.saga.on_failure, "a compensation is meant to run");
}

#[test]
fn a_compensation_keeps_everything_it_says() {
    let source = "name: w
tasks:
- {id: a, compensate: {transform: {undone: '${ output }'}}}
- {id: b, compensate: {workflow: undo@^1, timeout: 1h}}
- {id: c, compensate: {capability: undo, on_error: continue, spend: {tokens: 3}}}
";
    let plan = ok(source).plan;
    let undo = |id: &str| task(&plan.tasks, id).compensate.clone().unwrap();
    assert_eq!(undo("a").kind, NodeKind::Transform { value: json!({"undone": "${ output }"}) });
    assert_eq!(undo("a").input, InputSpec::Context);
    assert!(matches!(undo("b").kind, NodeKind::Child(child) if child.workflow == "undo"));
    assert_eq!(undo("b").input, InputSpec::Template(json!({"output": "${ output }"})));
    assert_eq!((undo("c").catch.len(), undo("c").spend.tokens), (1, 3));
}

#[test]
fn a_definition_says_what_is_spent_remembered_and_started() {
    let source = "name: w
type: event-driven
vars: {count: 0, who: '${ input.name }'}
budget: {calls: 100, tokens: 50000, money: 12.5, depth: 3, time: 2h}
session: {id: input.user, load: [name], save: {name: '${ vars.who }'}, history: 5}
triggers:
  - {event: orders, filter: event.payload.sum > 3, input: '${ event.payload }', key: event.id, priority: low}
  - {name: nightly, cron: '0 3 * * 1-5', time_zone: Europe/Berlin, overlap: queue, catch_up: 1h, input: {full: true}}
  - {every: 5m, delay: 10s, overlap: cancel}
tasks:
- {id: a, spend: {tokens: 1000, money: '0.02'}, cache: {namespace: n, ttl: 1h}, input: {v: '${ vars.count }', s: '${ session }'}}
- {id: b, cache: true}
- {id: c, workflow: other, spend: {calls: 9, tokens: 70}}
";
    let plan = ok(source).plan;
    assert_eq!(plan.vars, Some(json!({"count": 0, "who": "${ input.name }"})));
    let budget = plan.limits.budget;
    assert_eq!(
        (budget.calls, budget.tokens, budget.money_micros, budget.depth),
        (100, 50_000, 12_500_000, 3)
    );
    assert_eq!(plan.limits.timeout, Some(7200 * SECOND));
    let session = plan.session.unwrap();
    assert_eq!((session.id.as_deref(), session.load.len(), session.history), (Some("input.user"), 1, 5));
    assert_eq!(plan.tasks[0].spend.money_micros, 20_000);
    assert_eq!((plan.tasks[2].spend.calls, plan.tasks[2].spend.tokens), (9, 70));
    assert_eq!(plan.tasks[0].cache.as_ref().unwrap().namespace, "n");
    assert!(plan.tasks[1].cache.is_some());
    let names: Vec<_> = plan.triggers.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["trigger-1", "nightly", "trigger-3"]);
    assert!(matches!(&plan.triggers[0].on, TriggerOn::Event { topic, .. } if topic == "orders"));
    assert_eq!((plan.triggers[0].priority, plan.triggers[0].key.as_deref()), (-10, Some("event.id")));
    let TriggerOn::Cron { zone, overlap, catch_up, .. } = &plan.triggers[1].on else { panic!() };
    assert_eq!((zone.as_str(), *overlap, *catch_up), ("Europe/Berlin", Overlap::Queue, 3600 * SECOND));
    assert!(matches!(plan.triggers[2].on, TriggerOn::Every { overlap: Overlap::Cancel, .. }));
}

#[test]
fn coordination_says_which_tasks_events_start() {
    let source = "name: w
coordination:
  type: hybrid
  event_driven: [agent_status, {b: news}]
  graph_based: [task_flow, dependencies, a]
tasks: [{id: a}, {id: b, depends_on: [a]}, {id: c, on_event: data_updates}]
";
    let plan = ok(source).plan;
    assert_eq!(
        plan.event_driven.iter().collect::<Vec<_>>(),
        [(&"b".to_owned(), &"news".to_owned()), (&"c".to_owned(), &"data_updates".to_owned())]
    );
    assert_eq!(plan.metadata["coordination"]["type"], "hybrid");
}

#[test]
fn a_block_a_loop_and_a_list_hold_tasks() {
    let source = "name: w
tasks:
- id: block
  input: {x: 1}
  tasks:
    - {id: a, input: '${ scope.input.x }'}
    - {id: b, depends_on: [a]}
  output: {both: ['${ tasks.a.output }', '${ tasks.b.output }']}
- id: improve
  depends_on: [block]
  timeout: 1h
  loop: {until: tasks.judge.output.ok, max: 5, exhausted: stop, delay: 2s, start: 0, carry: '${ loop.carry + 1 }', history: true}
  type: sequential
  tasks:
    - {id: draft, input: {from: '${ tasks.block.output }', last: '${ loop.last }', n: '${ loop.index }', h: '${ loop.history }'}}
    - {id: judge, retry: none}
  output_tasks: [judge]
- id: each
  for_each: input.list
  max_parallel: 3
  ordered: true
  gather: {join: {quorum: 2}, rest: cancel, partial: true}
  tasks:
    - {id: read, concurrency: 2, input: '${ item }'}
    - {id: write, depends_on: [read], input: {i: '${ index }', of: '${ count }', r: '${ tasks.read.output }'}}
- {id: count, loop: {max: 3, gather: true}, tasks: [{id: tick}]}
- {id: again, until: tasks.again.output.ok, max: 4, agent: someone, retry: none, timeout: 5s, when: input.go}
- {id: vote, for_each: [1, 2, 3], gather: {join: any}, capability: voting, input: '${ item }'}
";
    let tasks = ok(source).plan.tasks;
    let (block, mode) = inner(task(&tasks, "block"));
    assert_eq!((block.len(), mode), (2, &ScopeMode::Once));
    let NodeKind::Scope(scope) = &task(&tasks, "block").kind else { panic!() };
    assert!(matches!(scope.output, OutputSpec::Template(_)));
    let (body, mode) = inner(task(&tasks, "improve"));
    assert_eq!(body[1].after, [0], "a sequence inside of a task");
    let ScopeMode::Loop { until, max, exhausted, delay, start, carry, history, .. } = mode else { panic!() };
    assert_eq!((until.as_deref(), *max, *exhausted), (Some("tasks.judge.output.ok"), 5, Exhausted::Stop));
    assert_eq!((*delay, start.clone(), *history), (Some(2 * SECOND), Some(json!(0)), true));
    assert_eq!(carry.clone(), Some(json!("${ loop.carry + 1 }")));
    assert_eq!(task(&tasks, "improve").timeouts.total, Some(3600 * SECOND));
    let (body, mode) = inner(task(&tasks, "each"));
    assert_eq!(body[0].width, Some(2));
    let ScopeMode::ForEach { list, width, ordered, join, rest, partial } = mode else { panic!() };
    assert_eq!((list.as_str(), *width, *ordered), ("input.list", Some(3), true));
    assert_eq!((*join, *rest, *partial), (Join::Quorum(2), Rest::Cancel, true));
    let ScopeMode::Loop { exhausted, gather, .. } = inner(task(&tasks, "count")).1 else { panic!() };
    assert_eq!((*exhausted, *gather), (Exhausted::Stop, true), "counted turns end by being counted");
    let (body, mode) = inner(task(&tasks, "again"));
    assert_eq!((body[0].id.as_str(), body[0].when.as_deref()), ("again", None));
    assert_eq!(body[0].timeouts.attempt, Some(5 * SECOND));
    assert!(matches!(mode, ScopeMode::Loop { max: 4, .. }));
    assert_eq!(task(&tasks, "again").when.as_deref(), Some("input.go"));
    let (body, mode) = inner(task(&tasks, "vote"));
    assert_eq!(body[0].need.capability.as_deref(), Some("voting"));
    assert!(matches!(mode, ScopeMode::ForEach { join: Join::Any, .. }));
}

#[test]
fn the_nine_types_arrange_the_tasks() {
    let run = |head: &str, tasks: &str| ok(&format!("name: w\n{head}\ntasks: {tasks}\n")).plan;
    let three = "[{id: a}, {id: b}, {id: c}]";
    assert_eq!(run("type: sequential", three).tasks[2].after, [1]);
    for kind in ["parallel", "dag", "fanout", "event-driven", "conditional"] {
        let plan = run(&format!("type: {kind}"), three);
        assert!(plan.tasks.iter().all(|t| t.after.is_empty()), "{kind}");
        assert_eq!(plan.schema, 1, "{kind}");
    }
    let pipeline = run(
        "type: pipeline\nitems: input.rows\nbuffer: 8\nordered: true",
        "[{id: a, concurrency: 2}, {id: b}]",
    );
    assert_eq!(pipeline.schema, PLAN_SCHEMA_NODES);
    let (stages, mode) = inner(&pipeline.tasks[0]);
    assert!(matches!(mode, ScopeMode::ForEach { width: Some(8), ordered: true, .. }));
    assert_eq!(
        (stages[0].width, stages[0].input.clone()),
        (Some(2), InputSpec::Template("${ item }".into()))
    );
    assert_eq!((stages[1].after.clone(), stages[1].input.clone()), (vec![0], InputSpec::Previous));
    let plain = run("type: pipeline", "[{id: a}, {id: b}]");
    assert_eq!((plain.tasks[1].after.clone(), plain.tasks[1].input.clone()), (vec![0], InputSpec::Previous));
    let scatter = run("type: scatter-gather\njoin: {quorum: 2}\nrest: cancel\npartial: true", three);
    let gather = task(&scatter.tasks, "gather");
    assert_eq!((gather.join, gather.rest, gather.after.len()), (Join::Quorum(2), Rest::Cancel, 3));
    let NodeKind::Transform { value } = &gather.kind else { panic!() };
    assert_eq!(value["b"]["status"], "${ tasks[\"b\"].status }");
    let items = run("type: scatter_gather\nitems: [1, 2]\njoin: best_effort", "[{id: a}]");
    assert!(matches!(inner(&items.tasks[0]).1, ScopeMode::ForEach { join: Join::BestEffort, .. }));
    let conditional =
        run("type: conditional\nswitch: {cases: [{when: input.a, then: a}], otherwise: b}", three);
    assert_eq!(before(&conditional.tasks, "b"), [("switch".into(), case("b"))]);
    assert!(before(&conditional.tasks, "c").is_empty());
    let turns = run(
        "type: loop\nuntil: tasks.b.output.ok\nmax: 9\noutput: '${ tasks.b.output }'",
        "[{id: a}, {id: b}]",
    );
    assert_eq!(turns.tasks[0].id, "loop");
    assert!(matches!(inner(&turns.tasks[0]).1, ScopeMode::Loop { max: 9, .. }));
    let list = run("type: loop\nfor_each: input.rows", "[{id: a, input: '${ item }'}]");
    assert!(matches!(inner(&list.tasks[0]).1, ScopeMode::ForEach { width: Some(1), ordered: true, .. }));
    let nested = run(
        "",
        "[{id: p, type: pipeline, for_each: input.l, tasks: [{id: a}, {id: l, loop: {max: 2}, tasks: [{id: x, type: kind}]}]}]",
    );
    let (stages, _) = inner(&nested.tasks[0]);
    assert_eq!(inner(&stages[1]).0[0].need.capability.as_deref(), Some("kind"));
}

#[test]
fn an_edge_that_closes_a_cycle_becomes_a_bounded_loop() {
    let source = "graph:
  name: g
  nodes: [read, draft, review, print, archive]
  edges: [[read, draft], [draft, review], [review, draft], [review, print], [draft, archive]]
  loops: [{from: review, to: draft, until: tasks.review.output.ok, max: 5}]
";
    let plan = ok(source).plan;
    let ids: Vec<_> = plan.tasks.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids, ["read", "loop-draft", "draft", "review", "archive", "print"]);
    let (body, mode) = inner(task(&plan.tasks, "loop-draft"));
    assert_eq!(body.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["draft", "review"]);
    assert!(matches!(mode, ScopeMode::Loop { max: 5, .. }));
    assert_eq!(before(&plan.tasks, "loop-draft"), [("read".into(), Edge::Done)]);
    assert_eq!(before(&plan.tasks, "print"), [("review".into(), Edge::Done)]);
    let NodeKind::Transform { value } = &task(&plan.tasks, "review").kind else { panic!() };
    assert_eq!(value, "${ tasks[\"loop-draft\"].output[\"review\"] }");
    // A switch inside of it still leads out by its cases.
    let source = "name: g
type: sequential
loops: [{id: work, from: choose, to: try, while: 'loop.index == 0 || true', max: 5}]
tasks:
- {id: try}
- {id: choose, switch: {cases: [{when: tasks.try.output.ok, then: good}], otherwise: bad}}
- {id: good}
- {id: bad}
- {id: undo, depends_on: [{task: try, on: failed}]}
";
    let tasks = ok(source).plan.tasks;
    assert_eq!(before(&tasks, "good"), [("choose".into(), case("good"))]);
    assert!(matches!(&task(&tasks, "choose").kind, NodeKind::Switch { many: true, .. }));
    assert_eq!(
        before(&tasks, "undo"),
        [("work".into(), Edge::Failed(vec![]))],
        "a failure inside is the loop's"
    );
}

#[test]
fn bodies_count_towards_the_limit_of_tasks_and_of_depth() {
    let mut source = "{id: t, agent: a}".to_owned();
    for n in 0..17 {
        source = format!("{{id: s{n}, tasks: [{source}]}}");
    }
    let outcome = compile(&format!("name: w\ntasks: [{source}]"), &Options::default());
    assert_eq!(outcome.findings[0].code, "limit-depth");
    let limits = language::Limits { tasks_max: 3, ..Default::default() };
    let source = "name: w\ntasks: [{id: a, tasks: [{id: b}, {id: c}, {id: d}]}]";
    let outcome = compile(source, &Options { limits, ..Options::default() });
    assert_eq!(outcome.findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["limit-tasks"]);
}
