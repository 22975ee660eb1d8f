//! Random plans, starts, answers and fates.

use std::time::Duration;

use base::{Effect as Class, FailureClass, Payload, WorkflowId};
use serde_json::{Value, json};
use uuid::Uuid;
use workflow::{
    Created, Settings,
    plan::{
        Backoff, Budget, InputSpec, Limits, OutputSpec, PLAN_SCHEMA, Plan, RetryPolicy, Spread, TaskPlan,
        Timeouts,
    },
};

use crate::{Rng, world::Fate};

pub(crate) fn plan(rng: &mut Rng, tasks: usize) -> Plan {
    let tasks: Vec<TaskPlan> = (0..tasks).map(|i| task(rng, i as u32)).collect();
    let last = format!("t{}", tasks.len().saturating_sub(1));
    let output = match rng.below(6) {
        0 if !tasks.is_empty() => OutputSpec::Tasks(vec!["t0".into(), last]),
        1 if !tasks.is_empty() => OutputSpec::Template(json!({"first": "${ tasks.t0.output }"})),
        2 if rng.one_in(4) => OutputSpec::Template(json!("${ input.missing }")),
        _ => OutputSpec::Sinks,
    };
    Plan {
        schema: PLAN_SCHEMA,
        name: "sim".into(),
        version: "1".into(),
        tasks,
        limits: Limits {
            timeout: None,
            max_retries: rng.sometimes(4, |r| r.below(4) as u32),
            allowed_failures: if rng.one_in(2) { rng.below(3) as u32 } else { 0 },
            max_calls: rng.sometimes(2, |r| r.below(4) as u32),
            queue_size: rng.sometimes(4, |r| r.below(4) as u32),
            ..Limits::default()
        },
        output,
        ..Plan::default()
    }
}

pub(crate) fn task(rng: &mut Rng, index: u32) -> TaskPlan {
    let after: Vec<u32> = (0..index).filter(|_| rng.one_in(3)).collect();
    let before = after.first().map(|t| format!("tasks.t{t}.output"));
    TaskPlan {
        id: format!("t{index}"),
        when: rng.sometimes(6, |r| when(r, before.as_deref(), index)),
        input: input(rng, index),
        spread: spread(rng, before),
        retry: rng.sometimes(2, retry),
        timeouts: timeouts(rng),
        optional: rng.one_in(6),
        after,
        ..TaskPlan::default()
    }
}

fn when(rng: &mut Rng, before: Option<&str>, index: u32) -> String {
    match (rng.below(8), before) {
        (0, _) => "false".into(),
        (1, _) => "input.missing.field".into(),
        (2, Some(path)) => format!("{path} != null"),
        (3, _) => format!("tasks.t{}.status != 'failed'", rng.below(u64::from(index) + 1)),
        _ => "input.flag".into(),
    }
}

fn input(rng: &mut Rng, index: u32) -> InputSpec {
    match rng.below(8) {
        0 => InputSpec::Execution,
        1 | 2 => InputSpec::Previous,
        // Reads tasks that may be under way at the same time.
        3 => InputSpec::Template(json!({"all": "${ tasks }"})),
        4 => {
            let other = rng.below(u64::from(index) + 3);
            InputSpec::Template(
                json!({"list": "${ input.list }", "state": format!("${{ tasks.t{other}.status }}")}),
            )
        }
        5 if rng.one_in(3) => InputSpec::Template(json!({"it": "${ item }", "at": "${ index }"})),
        _ => InputSpec::Context,
    }
}

fn spread(rng: &mut Rng, before: Option<String>) -> Spread {
    let width = rng.sometimes(2, |r| r.below(3) as u32);
    match (rng.below(8), before) {
        (0, _) => Spread::ForEach { list: "input.list".into(), width },
        (1, Some(list)) if rng.one_in(2) => Spread::ForEach { list, width },
        (1, _) => Spread::ForEach { list: "[1, 2, 3, 4]".into(), width },
        (2, _) => Spread::ForEach { list: "tasks.map(t, t)".into(), width },
        (3 | 4, _) => Spread::Parallel { count: width },
        _ => Spread::One,
    }
}

fn retry(rng: &mut Rng) -> RetryPolicy {
    let backoff = [Backoff::Fixed, Backoff::Linear, Backoff::Exponential][rng.below(3) as usize];
    RetryPolicy {
        max_attempts: rng.below(5) as u32,
        backoff,
        base_delay: Duration::from_millis(rng.below(2000)),
        max_delay: Duration::from_millis(rng.below(5000)),
        on: if rng.one_in(4) { vec![FailureClass::Rejected, FailureClass::Error] } else { vec![] },
        patterns: if rng.one_in(8) { vec!["busy".into()] } else { vec![] },
    }
}

fn timeouts(rng: &mut Rng) -> Timeouts {
    let limit = |rng: &mut Rng| rng.sometimes(4, |r| Duration::from_millis(r.below(8000)));
    Timeouts { queue: limit(rng), attempt: limit(rng), heartbeat: None, total: limit(rng) }
}

pub(crate) fn created(rng: &mut Rng) -> Created {
    let list: Vec<u64> = (0..rng.below(5)).collect();
    let some = |rng: &mut Rng, ms: u64| Duration::from_millis(if rng.one_in(2) { rng.below(ms) } else { 0 });
    Created {
        workflow_id: WorkflowId::new(Uuid::from_u128(7)),
        workflow_name: "sim".into(),
        workflow_version: "1".into(),
        input: Payload::from_value(&json!({"flag": !rng.one_in(4), "list": list})),
        priority: 0,
        timeout: some(rng, 120_000),
        retry_policy: ["", "", "none", "linear", "unheard of"][rng.below(5) as usize].into(),
        max_agents: if rng.one_in(4) { 1 + rng.below(3) as u32 } else { 0 },
        max_cpu_millis: 0,
        max_memory_bytes: 0,
        metadata_json: "".into(),
        checkpoint_every: some(rng, 3000),
        allocation_timeout: some(rng, 9000),
        trace: "".into(),
        principal: "".into(),
        candidates: vec![],
        estimated: Duration::ZERO,
        default_retry: retry(rng),
        settings: settings(rng),
        correlation_id: "".into(),
    }
}

fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings::default();
    if rng.one_in(4) {
        settings.session = "talk".into();
        settings.vars = Some(Payload::json_text("{\"n\": 2, \"seen\": [1]}"));
        settings.history = Some(Payload::json_text("[{\"input\": 1, \"output\": 2}]"));
    }
    if rng.one_in(8) {
        (settings.events_max, settings.event_ttl) = (3, Duration::from_secs(5));
    }
    if rng.one_in(8) {
        settings.budget = Budget { calls: 2 + rng.below(12), ..Budget::default() };
    }
    settings
}

/// Something an agent may answer, good JSON or not.
pub(crate) fn value(rng: &mut Rng) -> Payload {
    match rng.below(8) {
        0 => Payload::json_text("[\"x\", \"y\", \"z\"]"),
        1 => Payload::json_text("{\"items\": [1, 2], \"more\": [3]}"),
        2 => Payload::json_text("{\"only\": [7, 8]}"),
        3 => Payload::new("text/plain".into(), "words \"and\" more".into()),
        4 => Payload::json_text("null"),
        5 => Payload::json_text(""),
        6 => Payload::json_text("[]"),
        _ => Payload::json_text("{\"ok\": true}"),
    }
}

/// An answer that fits the protocol of every pattern, more often than not.
pub(crate) fn polite(rng: &mut Rng) -> Payload {
    let who = ["ann", "bob", "carol", "done", "front", "nobody"][rng.below(6) as usize];
    let mut answer = json!({
        "ok": rng.one_in(2), "next": who, "done": rng.one_in(2), "accepted": rng.one_in(2), "agree": rng.one_in(2),
        "result": rng.below(9), "n": rng.below(9), "items": [1, 2], "findings": [rng.below(4)],
        "steps": if rng.one_in(2) { json!([]) } else { json!([{"do": 1}]) },
        "new_items": if rng.one_in(3) { json!([7]) } else { json!([]) },
        "messages": if rng.one_in(2) { json!([]) } else { json!([{"to": who, "body": 1}]) },
    });
    if rng.one_in(2) {
        answer["handoff"] = json!(who);
    }
    Payload::from_value(&answer)
}

/// An answer that takes a definition to its end: it names somebody of `names`, and has what examples read.
pub(crate) fn helpful(rng: &mut Rng, names: &[String]) -> Payload {
    let named = if rng.one_in(3) { None } else { rng.pick(names.iter()) };
    let who = named.map_or("done", String::as_str);
    let mut answer = json!({
        "ok": true, "next": who, "done": rng.one_in(3), "accepted": rng.one_in(2), "agree": true, "result": rng.below(9),
        "n": 9, "items": [1, 2], "findings": [1], "steps": if rng.one_in(2) { json!([]) } else { json!([{"do": 1}]) },
        "new_items": [], "messages": if rng.one_in(2) { json!([]) } else { json!([{"to": who, "body": 1}]) },
        "report": "words", "quality": {"score": 0.9}, "documents": ["a"], "key_terms": ["b"], "confidence": 0.9, "passed": true, "program": "p", "previous": "q", "target": "t", "release": "r",
        "requirements": [1], "tasks": [1], "assignments": [{"requirement": 1}], "workspace": "w", "deployment": "d",
    });
    if rng.one_in(2) {
        answer["handoff"] = json!(who);
    }
    Payload::from_value(&answer)
}

/// The names among which answers choose, wherever they stand in a plan.
pub(crate) fn names(plan: &Value, found: &mut Vec<String>) {
    match plan {
        Value::Object(members) => {
            if let Some(Value::Object(among)) = members.get("among") {
                found.extend(among.keys().cloned());
            }
            members.values().for_each(|member| names(member, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| names(element, found)),
        _ => {}
    }
}

pub(crate) fn answer(rng: &mut Rng, keeps_to_protocols: bool) -> Payload {
    if keeps_to_protocols && !rng.one_in(6) { polite(rng) } else { value(rng) }
}

pub(crate) fn fate(rng: &mut Rng, polite: bool) -> Fate {
    match rng.below(10) {
        0..6 => Fate::Answer(answer(rng, polite)),
        6 | 7 => {
            let class = FailureClass::ALL[rng.below(FailureClass::ALL.len() as u64) as usize];
            Fate::Fail(class, rng.one_in(2))
        }
        8 => Fate::Ask,
        _ => Fate::Silent,
    }
}

pub(crate) fn fate_after_answer(rng: &mut Rng, polite: bool) -> Fate {
    if rng.one_in(4) { Fate::Ask } else { Fate::Answer(answer(rng, polite)) }
}

pub(crate) fn class(rng: &mut Rng) -> Class {
    [Class::Pure, Class::Idempotent, Class::Compensatable, Class::Irreversible][rng.below(4) as usize]
}
