//! What micro-benchmarks and the instruction budget have in common: an execution of ten tasks in sequence, and its log.
#![allow(dead_code, reason = "each program uses its part")]

use std::{sync::Arc, time::Duration};

use base::{AgentId, Effect, ExecutionId, Payload, Timestamp, WorkflowId};
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;
use workflow::{
    Assignment, CallKey, Caller, Compiled, Created, Event, Input, Settings, create, plan::RetryPolicy,
};

/// Tasks of the execution.
pub(crate) const TASKS: usize = 10;

/// The definition of a chain of ten.
pub(crate) fn chain() -> String {
    let mut yaml = "name: chain\nversion: \"1\"\ntype: sequential\ntasks:\n".to_owned();
    for task in 0..TASKS {
        yaml.push_str(&format!("  - {{id: t{task}, capability: noop}}\n"));
    }
    yaml
}

/// Text to plan.
pub(crate) fn plan(source: &str) -> Arc<Compiled> {
    let outcome = language::compile(source, &language::Options::default());
    let plan = outcome.compiled.expect("the definition is valid").plan;
    Arc::new(Compiled::new(plan).expect("a plan that was just compiled"))
}

fn created() -> Created {
    Created {
        workflow_id: WorkflowId::new(Uuid::from_u128(7)),
        workflow_name: "chain".into(),
        workflow_version: "1".into(),
        input: Payload::from_value(&json!({"question": "why", "depth": 3})),
        priority: 0,
        timeout: Duration::from_secs(3600),
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
        candidates: Vec::new(),
        estimated: Duration::ZERO,
        default_retry: RetryPolicy::none(),
        settings: Settings::default(),
    }
}

/// A whole execution: created, admitted, and for each task assigned and answered. Its log.
pub(crate) fn execution(plan: &Arc<Compiled>) -> Vec<Event> {
    let mut now = Timestamp::from_millis(1_000_000);
    let id = ExecutionId::new(Uuid::from_u128(1));
    let (mut state, step) = create(id, Arc::clone(plan), created(), now);
    let mut log = step.events;
    let mut take = |input: Input| {
        now = now.plus(Duration::from_millis(1));
        log.extend(state.step(&input, now).expect("the input fits the state").events);
    };
    take(Input::Admit);
    for task in 0..TASKS as u32 {
        let call = CallKey::new(task, 0);
        let to = Arc::new(Assignment {
            agent: AgentId::new("helper").expect("a key"),
            instance: "i1".into(),
            caller: Caller { member: "m1".into(), incarnation: 1 },
            input_hash: [0; 32],
            capability: "noop".into(),
            capability_version: "1.0.0".into(),
            effect: Effect::Pure,
            reason: "least loaded".into(),
        });
        take(Input::Assign { call, to });
        let output = Payload::from_value(&json!({"ok": true, "findings": ["a", "b"]}));
        take(Input::Answered { call, attempt: 1, output, call_us: 1000 });
    }
    assert!(state.status().is_final(), "the execution has ended");
    log
}

/// The log as the rows that its groups write: two events a row.
pub(crate) fn encode(log: &[Event]) -> Vec<Bytes> {
    log.chunks(2).map(|events| api::log::encode_row(events, 64 * 1024).0).collect()
}

/// And back.
pub(crate) fn decode(rows: &[Bytes]) -> usize {
    let row = |body: &Bytes| {
        api::log::decode_row(body.clone(), &|_| None).expect("a row that was just encoded").len()
    };
    rows.iter().map(row).sum()
}
