//! Definitions run to their end on the state machine, with agents that are functions: what the patterns and the larger
//! constructs really do.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{AgentId, FailureClass, Payload, Timestamp, WorkflowId};
use language::{Options, compile, render};
use serde_json::{Value, json};
use workflow::{
    Assignment, CallKey, Caller, Compiled, Created, Effect, Input, State, Status, Verdict, create,
    plan::RetryPolicy,
};

/// Most calls of one run: a pattern that does not end is found, not waited for.
const CALLS_MAX: usize = 200;

const AGENTS: &str = "agents: {lead: {}, ada: {}, bob: {}, eve: {}}\n";

/// An agent: who it is, where it works, what it is given.
type Agent<'a> = &'a mut dyn FnMut(&str, &str, &Value) -> Result<Value, FailureClass>;

struct Done {
    status: Status,
    output: Value,
    /// `who@path` of every call, in order.
    calls: Vec<String>,
    causes: Vec<String>,
}

fn created(input: Value) -> Created {
    Created {
        workflow_id: WorkflowId::from_name(&base::Tenant::default(), "w"),
        workflow_name: "w".into(),
        workflow_version: "1".into(),
        input: Payload::from_value(&input),
        priority: 0,
        timeout: Duration::ZERO,
        retry_policy: "".into(),
        max_agents: 0,
        max_cpu_millis: 0,
        max_memory_bytes: 0,
        metadata_json: "".into(),
        checkpoint_every: Duration::ZERO,
        allocation_timeout: Duration::from_secs(30),
        trace: "".into(),
        correlation_id: "".into(),
        principal: "ann".into(),
        candidates: vec![],
        estimated: Duration::ZERO,
        default_retry: RetryPolicy::none(),
        settings: workflow::Settings::default(),
    }
}

fn run(source: &str, input: Value, agent: Agent<'_>) -> Done {
    let outcome = compile(source, &Options::default());
    let compiled = outcome.compiled.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "x", source)));
    let plan = Arc::new(Compiled::new(compiled.plan).unwrap());
    let now = Timestamp::from_millis(1_000_000);
    let id = "00000000-0000-4000-8000-000000000001".parse().unwrap();
    let (mut state, _) = create(id, plan, created(input), now);
    let mut now = now;
    let mut calls = Vec::new();
    state.step(&Input::Admit, now).unwrap();
    while !state.status().is_final() {
        assert!(calls.len() < CALLS_MAX, "it does not end: {calls:?}");
        if !advance(&mut state, now, &mut calls, agent) {
            let next = state
                .next_timer(now)
                .unwrap_or_else(|| panic!("it is stuck after {calls:?}: {}", state.current_phase()));
            now = next;
            state
                .step(
                    &Input::Tick { checkpoint: "00000000-0000-4000-8000-000000000002".parse().unwrap() },
                    now,
                )
                .unwrap();
        }
    }
    let output = state.output().map_or(Value::Null, |output| (*output.json().unwrap()).clone());
    let causes = state.causes().iter().map(|cause| format!("{cause:?}")).collect();
    Done { status: state.status(), output, calls, causes }
}

/// Does the first thing that is asked for; false when nothing is.
fn advance(state: &mut State, now: Timestamp, calls: &mut Vec<String>, agent: Agent<'_>) -> bool {
    for effect in state.outstanding() {
        match effect {
            Effect::Dispatch { call, at } if at <= now => {
                answer(state, call, now, calls, agent);
                return true;
            }
            Effect::AskApproval { task } => {
                let (who, path) = ("operator", state.task_path(task));
                calls.push(format!("{who}@{path}"));
                let form = agent(who, &path, &Value::Null);
                let verdict = if form.is_ok() { Verdict::Answered } else { Verdict::Rejected };
                let decide = Input::Decide {
                    task,
                    verdict,
                    by: "ann".into(),
                    names: vec![Arc::from("ann")],
                    comment: "".into(),
                    form: form.ok().map(|form| Payload::from_value(&form)),
                };
                state.step(&decide, now).unwrap();
                return true;
            }
            _ => {}
        }
    }
    false
}

fn answer(state: &mut State, call: CallKey, now: Timestamp, calls: &mut Vec<String>, agent: Agent<'_>) {
    let path = state.task_path(call.task);
    let need = state.need(call.task);
    let who = need.role.clone().or(need.capability.clone()).unwrap_or_default();
    calls.push(format!("{who}@{path}"));
    let given = (*state.call_input(call).unwrap().json().unwrap()).clone();
    let to = Arc::new(Assignment {
        agent: AgentId::new("helper").unwrap(),
        instance: "i1".into(),
        caller: Caller { member: "m1".into(), incarnation: 1 },
        input_hash: [0; 32],
        capability: "".into(),
        capability_version: "".into(),
        effect: base::Effect::Idempotent,
        reason: "".into(),
    });
    state.step(&Input::Assign { call, to }, now).unwrap();
    let attempt = state.call(call).unwrap().attempt;
    let input = match agent(&who, &path, &given) {
        Ok(value) => Input::Answered { call, attempt, output: Payload::from_value(&value), call_us: 1 },
        Err(class) => Input::AttemptFailed {
            call,
            attempt,
            class,
            message: "it broke".into(),
            outcome_known: true,
            retry_after: None,
            call_us: 1,
        },
    };
    state.step(&input, now).unwrap();
}

fn pattern(name: &str, with: &str) -> String {
    format!("name: w\nretry: none\n{AGENTS}orchestration_pattern: {name}\nwith: {with}\n")
}

/// Runs to completion.
fn completes(source: &str, input: Value, agent: Agent<'_>) -> (Value, Vec<String>) {
    let done = run(source, input, agent);
    assert_eq!(done.status, Status::Completed, "{:?} after {:?}", done.causes, done.calls);
    (done.output, done.calls)
}

fn who(calls: &[String]) -> Vec<&str> {
    calls.iter().map(|call| call.split('@').next().unwrap()).collect()
}

#[test]
fn a_supervisor_names_workers_until_it_is_done() {
    let mut seen = Vec::new();
    let (output, calls) = completes(
        &pattern("supervisor", "{supervisor: lead, workers: [ada, bob]}"),
        json!({"goal": 1}),
        &mut |who, _, given| {
            Ok(match who {
                "lead" => {
                    seen.push(given.clone());
                    match given["step"].as_u64().unwrap() {
                        0 => json!({"next": "bob", "instructions": "read"}),
                        1 => json!({"next": "ada"}),
                        _ => {
                            json!({"next": "done", "result": {"all": given["history"].as_array().unwrap().len()}})
                        }
                    }
                }
                other => json!({"from": other, "task": given["task"]["next"]}),
            })
        },
    );
    assert_eq!(output, json!({"all": 2}));
    assert_eq!(who(&calls), ["lead", "bob", "lead", "ada", "lead"]);
    assert_eq!(seen[0]["goal"], json!({"goal": 1}));
    assert_eq!(seen[1]["history"][0], json!({"worker": "bob", "answer": {"from": "bob", "task": "bob"}}));
}

#[test]
fn a_supervisor_cannot_name_who_is_not_allowed_and_its_steps_are_limited() {
    let source = pattern("supervisor", "{supervisor: lead, workers: [ada], max_steps: 3}");
    let refused = run(&source, json!({}), &mut |_, _, _| Ok(json!({"next": "eve"})));
    assert_eq!(refused.status, Status::Failed);
    assert!(refused.causes.iter().any(|cause| cause.contains("Definition")), "{:?}", refused.causes);
    let endless = run(&source, json!({}), &mut |_, _, _| Ok(json!({"next": "ada"})));
    assert_eq!((endless.status, endless.calls.len()), (Status::Failed, 6), "{:?}", endless.causes);
}

#[test]
fn a_hierarchy_gives_work_to_teams_that_have_supervisors() {
    let source = pattern(
        "hierarchical",
        "{supervisor: lead, teams: {front: {supervisor: ada, workers: [bob]}, back: {supervisor: eve, workers: [bob]}}}",
    );
    let (output, calls) = completes(&source, json!({"goal": 1}), &mut |who, _, given| {
        let first = given["step"] == json!(0);
        Ok(match who {
            "lead" => match given["history"].as_array().unwrap().len() {
                0 => json!({"next": "back"}),
                _ => json!({"next": "done", "result": given["history"][0]}),
            },
            "ada" | "eve" if first => json!({"next": "bob"}),
            "ada" | "eve" => json!({"next": "done", "result": format!("{who} is done")}),
            _ => json!("worked"),
        })
    });
    assert_eq!(output, json!({"team": "back", "answer": "eve is done"}));
    assert_eq!(who(&calls), ["lead", "eve", "bob", "eve", "lead"]);
}

#[test]
fn work_is_handed_on_with_its_context() {
    let source = pattern("handoff", "{start: ada, agents: [ada, bob, eve]}");
    let (output, calls) = completes(&source, json!("help"), &mut |who, _, given| {
        Ok(match who {
            "ada" => json!({"handoff": "eve", "context": {"seen": given["goal"]}}),
            "eve" => json!({"handoff": "bob", "context": given["handed"]["context"]}),
            _ => json!({"answer": given["handed"]["context"]["seen"]}),
        })
    });
    assert_eq!(output, json!({"answer": "help"}));
    assert_eq!(who(&calls), ["ada", "eve", "bob"]);
}

#[test]
fn a_swarm_works_until_its_pool_is_empty() {
    let (output, calls) = completes(
        &pattern("swarm", "{agents: ada, width: 2}"),
        json!({"items": [1, 2]}),
        &mut |_, _, given| {
            let items = given["items"].as_array().unwrap();
            let new: Vec<Value> = items.iter().filter(|i| **i == json!(1)).map(|_| json!(7)).collect();
            Ok(json!({"findings": items, "new_items": new}))
        },
    );
    assert_eq!(output, json!({"findings": [[1], [2], [7]], "rounds": 2}));
    assert_eq!(calls.len(), 3);
}

#[test]
fn peers_hear_each_other_until_nobody_says_any_more() {
    let (output, calls) =
        completes(&pattern("network", "{peers: [ada, bob, eve]}"), json!("topic"), &mut |who, _, given| {
            let mail = given["mail"].as_array().unwrap().len();
            Ok(match (who, mail) {
                ("ada", 0) => json!({"messages": [{"to": "bob", "body": "hello"}], "result": 1}),
                ("bob", 1) => {
                    json!({"messages": [{"to": "ada", "body": given["mail"][0]["messages"][0]["body"]}]})
                }
                _ => json!({"result": mail}),
            })
        });
    assert_eq!(who(&calls), ["ada", "bob", "eve", "bob", "ada"]);
    let rounds = output.as_array().unwrap();
    assert_eq!(rounds.len(), 3);
    assert_eq!(rounds[2][0]["from"], "ada");
    assert_eq!(rounds[2][0]["result"], 1);
}

#[test]
fn a_router_names_who_answers() {
    let (output, calls) = completes(
        &pattern("router", "{router: lead, agents: [ada, bob]}"),
        json!("q"),
        &mut |who, _, given| {
            Ok(if who == "lead" { json!({"next": "bob"}) } else { json!([who, given["goal"]]) })
        },
    );
    assert_eq!((output, who(&calls)), (json!(["bob", "q"]), vec!["lead", "bob"]));
}

#[test]
fn a_discussion_goes_round_until_the_moderator_ends_it() {
    let source = pattern("round-robin", "{participants: [ada, bob], moderator: lead}");
    let (output, calls) = completes(&source, json!("t"), &mut |who, _, given| {
        Ok(match who {
            "lead" => json!({"done": given["history"].as_array().unwrap().len() == 2, "summary": "s"}),
            other => json!(other),
        })
    });
    assert_eq!(who(&calls), ["ada", "lead", "bob", "lead", "ada", "lead"]);
    assert_eq!(output["said"], "ada");
    let stopped = run(
        &pattern("round-robin", "{participants: [ada, bob], moderator: lead, max_turns: 2}"),
        json!("t"),
        &mut |_, _, _| Ok(json!({"done": false})),
    );
    assert_eq!((stopped.status, stopped.calls.len()), (Status::Completed, 4));
}

#[test]
fn a_plan_is_made_anew_after_each_step() {
    let source = pattern("plan-execute-replan", "{planner: lead, executor: ada}");
    let (output, calls) = completes(&source, json!("g"), &mut |who, _, given| {
        Ok(match who {
            "lead" => match given["history"].as_array().unwrap().len() {
                0 => json!({"steps": ["a", "b", "c"]}),
                1 => json!({"steps": ["c"]}),
                _ => json!({"steps": [], "result": given["history"]}),
            },
            _ => given["step"].clone(),
        })
    });
    assert_eq!(output, json!([{"step": "a", "answer": "a"}, {"step": "c", "answer": "c"}]));
    assert_eq!(who(&calls), ["lead", "ada", "lead", "ada", "lead"]);
}

#[test]
fn a_draft_is_judged_until_it_is_accepted() {
    for (name, with) in [
        ("evaluator-optimizer", "{optimizer: ada, evaluator: eve}"),
        ("pair", "{author: ada, reviewer: eve}"),
    ] {
        let (output, calls) = completes(&pattern(name, with), json!("g"), &mut |who, _, given| {
            Ok(match who {
                "ada" => json!({"text": given["before"]["feedback"]["feedback"]}),
                _ => json!({"accepted": given["draft"]["text"] == json!("shorter"), "feedback": "shorter"}),
            })
        });
        assert_eq!(output, json!({"text": "shorter"}), "{name}");
        assert_eq!(calls.len(), 4, "{name}");
    }
}

#[test]
fn debaters_hear_all_others_and_a_judge_decides() {
    let (output, calls) = completes(
        &pattern("debate", "{debaters: [ada, bob], judge: eve, rounds: 2}"),
        json!("t"),
        &mut |who, _, given| {
            Ok(match who {
                "eve" => {
                    json!({"rounds": given["rounds"].as_array().unwrap().len(), "heard": given["rounds"][1][0]["argument"]})
                }
                other => json!([other, given["round"], given["said"].as_array().map_or(0, Vec::len)]),
            })
        },
    );
    assert_eq!(output, json!({"rounds": 2, "heard": ["ada", 1, 2]}));
    assert_eq!(calls.len(), 5);
}

#[test]
fn the_first_good_answer_wins_the_race() {
    let source = pattern("race", "{contestants: [ada, bob, eve], accept: tasks.answer.output > 5}");
    let (output, _) =
        completes(&source, json!("t"), &mut |who, _, _| Ok(json!(if who == "bob" { 9 } else { 1 })));
    assert_eq!(output, json!({"winner": "bob", "answer": 9}));
    let nobody = run(&source, json!("t"), &mut |_, _, _| Ok(json!(1)));
    assert_eq!(nobody.status, Status::Failed);
}

#[test]
fn items_are_mapped_and_reduced() {
    let (output, calls) = completes(
        &pattern("map-reduce", "{mapper: ada, reducer: lead}"),
        json!({"items": [1, 2, 3]}),
        &mut |who, _, given| {
            Ok(if who == "ada" {
                json!(given["item"].as_i64().unwrap() * 2)
            } else {
                given["results"].clone()
            })
        },
    );
    assert_eq!((output, calls.len()), (json!([2, 4, 6]), 4));
}

#[test]
fn an_operator_names_each_next_step() {
    let mut asked = 0;
    let (output, calls) =
        completes(&pattern("manual", "{agents: [ada, bob]}"), json!("g"), &mut |who, _, _| {
            asked += i32::from(who == "operator");
            Ok(match (who, asked) {
                ("operator", 1) => json!({"next": "bob"}),
                ("operator", _) => json!({"next": "done", "result": "enough"}),
                _ => json!("worked"),
            })
        });
    assert_eq!((output, who(&calls)), (json!("enough"), vec!["operator", "bob", "operator"]));
}

#[test]
fn every_built_in_pattern_is_run_here() {
    let here = include_str!("running.rs");
    for pattern in language::built_in_patterns() {
        let used = [format!("pattern(\"{}\"", pattern.name), format!("(\"{}\", ", pattern.name)];
        let on_a_line_of_its_own = format!("\n        \"{}\",\n", pattern.name);
        assert!(
            used.iter().any(|used| here.contains(used)) || here.contains(&on_a_line_of_its_own),
            "{}",
            pattern.name
        );
    }
}

#[test]
fn the_larger_constructs_do_what_the_reference_says() {
    let source = "name: w
retry: none
tasks:
- {id: look}
- id: choose
  depends_on: [look]
  switch: {cases: [{when: tasks.look.output > 10, then: big}], otherwise: small}
- {id: big}
- {id: small, on_error: [{classes: [rejected], value: {caught: '${ error.class }'}}]}
- {id: after, depends_on: [big, small], join: any, transform: '${ tasks.small.output }'}
- {id: risky, depends_on: [after], on_error: [{classes: [timeout], task: plan_b}]}
- {id: plan_b}
- id: each
  depends_on: [risky, plan_b]
  join: any
  for_each: [1, 2, 3]
  gather: {join: {quorum: 2}, partial: true}
  tasks: [{id: one, input: '${ item }'}]
- {id: count, depends_on: [each], loop: {until: tasks.count.output >= 3, max: 5}, input: '${ loop.index }'}
output: {after: '${ tasks.after.output }', statuses: '${ tasks.each.output.map(t, t.status) }', count: '${ tasks.count.output }'}
";
    let (output, calls) = completes(source, json!({}), &mut |who, _, given| match who {
        "look" => Ok(json!(3)),
        "small" => Err(FailureClass::Rejected),
        "risky" => Err(FailureClass::Timeout),
        "one" if *given == json!(2) => Err(FailureClass::Error),
        "count" => Ok(json!(given.as_i64().unwrap() + 1)),
        _ => Ok(given.clone()),
    });
    assert_eq!(output["after"], json!({"caught": "rejected"}));
    assert_eq!(output["count"], 3);
    assert!(!who(&calls).contains(&"big") && who(&calls).contains(&"plan_b"), "{calls:?}");
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for status in output["statuses"].as_array().unwrap() {
        *statuses.entry(status.as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(statuses["completed"], 2, "{statuses:?}");
}

#[test]
fn a_cycle_that_is_declared_goes_round_and_is_left() {
    let source = "graph:
  name: g
  retry: none
  nodes: [draft, review, print]
  edges: [[draft, review], [review, draft], [review, print]]
  loops: [{from: review, to: draft, until: tasks.review.output.ok, max: 5}]
  finish: [print]
";
    let mut turns = 0;
    let (output, calls) = completes(source, json!("in"), &mut |who, _, given| {
        turns += i32::from(who == "review");
        Ok(if who == "review" { json!({"ok": turns == 3, "turns": turns}) } else { given.clone() })
    });
    assert_eq!(output, json!({"ok": true, "turns": 3}));
    assert_eq!(calls.len(), 7);
}

#[test]
fn what_completed_is_undone_in_reverse_order() {
    let source = "name: w
type: sequential
retry: none
tasks:
- {id: flight, compensate: cancel_flight}
- {id: hotel, compensate: {capability: cancel_hotel, input: {id: '${ output.id }'}}}
- {id: card}
";
    let mut undone = Vec::new();
    let done = run(source, json!({}), &mut |who, _, given| match who {
        "card" => Err(FailureClass::Rejected),
        "cancel_flight" | "cancel_hotel" => {
            undone.push((who.to_owned(), given.clone()));
            Ok(json!(true))
        }
        other => Ok(json!({"id": other})),
    });
    assert_eq!(done.status, Status::Compensated, "{:?}", done.causes);
    let want =
        [("cancel_hotel", json!({"id": "hotel"})), ("cancel_flight", json!({"output": {"id": "flight"}}))];
    assert_eq!(undone, want.map(|(who, given)| (who.to_owned(), given)));
}

#[test]
fn items_stream_through_a_pipeline_and_branches_are_gathered() {
    let source = "name: w\ntype: pipeline\nitems: input.rows\nbuffer: 2\nordered: true\ntasks: [{id: double, concurrency: 1}, {id: add}]\n";
    let (output, calls) = completes(source, json!({"rows": [1, 2, 3]}), &mut |who, _, given| {
        let n = given.as_i64().unwrap();
        Ok(json!(if who == "double" { n * 2 } else { n + 1 }))
    });
    assert_eq!((output, calls.len()), (json!([3, 5, 7]), 6));
    let source = "name: w\nretry: none\ntype: scatter-gather\njoin: {quorum: 2}\npartial: true\ntasks: [{id: a}, {id: b}, {id: c}]\n";
    let (output, _) = completes(source, json!(1), &mut |who, _, _| {
        if who == "b" { Err(FailureClass::Error) } else { Ok(json!(who)) }
    });
    assert_eq!(output["a"], json!({"status": "completed", "output": "a", "error": null}));
    assert_eq!(output["b"]["output"], Value::Null, "never the words of an error");
    assert_eq!(output["b"]["error"]["class"], "error");
}

/// What the control-flow examples give that need nothing from outside but agents: number, input, output.
const CONTROL_FLOW: &[(u32, &str, &str)] = &[
    (1, "null", r#"{"step": 2}"#),
    (2, "null", r#"{"left": "left", "right": "right"}"#),
    (3, "null", "3"),
    (4, r#"{"size": 12}"#, r#"{"large": "large"}"#),
    (5, r#"{"size": 2}"#, r#""merged""#),
    (6, r#"{"mail": true, "phone": false, "post": true}"#, r#"{"mail": "mailed", "post": "posted"}"#),
    (7, r#"{"mail": true, "phone": false, "post": true}"#, r#""merged""#),
    (8, "null", r#"["after left", "after right"]"#),
    (9, "null", r#""went on after the first""#),
    (10, r#"{"first": "read"}"#, r#"{"state": "end", "count": 5}"#),
    (11, "null", r#"{"short": "done", "long": null}"#),
    (13, "null", "3"),
    (14, r#"{"files": ["a", "b"]}"#, "2"),
    (15, r#"{"items": [8, 3]}"#, "6"),
    (17, "null", r#"{"a2": {"ok": true}, "b2": {"ok": true}}"#),
    (18, "null", r#"{"change": "changed while it was open"}"#),
    (21, "null", "128"),
    (28, "null", r#""round 1""#),
    (29, "null", r#""the slow one was cancelled""#),
    (30, "null", r#""two of three""#),
    (31, "null", r#""round 1""#),
    (32, "null", r#""two of three""#),
    (36, r#"{"items": [3, 3], "enough": 4}"#, "4"),
    (37, r#"{"left": true, "right": true, "deep": false}"#, r#""merged""#),
    (38, r#"{"again": 3, "once": true}"#, r#""merged""#),
    (39, "null", r#"[{"first": "first"}, {"second": "second"}]"#),
    (40, "null", r#"{"a": {"ok": true}, "b": {"ok": true}, "c": {"ok": true}}"#),
    (41, "null", r#""one thread again""#),
    (42, "null", r#"["thread 1 goes on", "thread 2 goes on", "thread 3 goes on"]"#),
    (43, "null", r#""enough""#),
];

#[test]
fn the_control_flow_examples_give_what_the_patterns_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/patterns/control-flow");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 43);
    let mut odd = Vec::new();
    for (number, input, want) in CONTROL_FLOW {
        let source = std::fs::read_to_string(&files[*number as usize - 1]).unwrap();
        let input = serde_json::from_str(input).unwrap();
        let done = run(&source, input, &mut |who, _, _| match who {
            "noop" => Ok(json!({"ok": true})),
            _ => Err(FailureClass::Definition),
        });
        let want: Value = serde_json::from_str(want).unwrap();
        if done.status != Status::Completed || done.output != want {
            odd.push(format!("WCP-{number}: {} instead of {want}, {:?}", done.output, done.causes));
        }
    }
    assert_eq!(odd, Vec::<String>::new());
}
