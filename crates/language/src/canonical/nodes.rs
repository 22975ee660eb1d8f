//! The canonical form of what a task does beside calling an agent, of edges, joins and turns.

use base::FailureClass;
use serde_json::{Map, Value, json};
use workflow::plan::{
    Approval, Budget, Edge, Exhausted, Join, NodeKind, Overlap, Rest, Saga, ScopeMode, SessionSpec, TaskPlan,
    Trigger, TriggerOn, Wait, Work,
};

use crate::{
    definition::{Body, Dependency, Task},
    read::extras::show_money,
};

use super::{Fields, retry};

fn classes(classes: &[FailureClass]) -> Vec<&'static str> {
    classes.iter().map(|class| class.as_str()).collect()
}

/// What the text says. An empty list in a sequence means "waits for nothing".
pub(super) fn depends_on(body: &Body, task: &Task, out: &mut Fields) {
    let Some(known) = &task.depends_on else { return };
    if !known.is_empty() || body.shape.in_sequence() {
        out.keep("depends_on", known.iter().map(dependency).collect());
    }
}

fn dependency(dependency: &Dependency) -> Value {
    let mut out = Fields::default();
    match &dependency.edge {
        Edge::Done => return dependency.task.as_str().into(),
        Edge::Case(case) => out.put("case", case.as_str()),
        Edge::Failed(on) => {
            out.put("on", "failed");
            out.put("classes", classes(on));
        }
        Edge::Ended => out.put("on", "ended"),
    }
    out.put("task", dependency.task.as_str());
    out.done()
}

fn join(join: Join) -> Value {
    match join {
        Join::All => Value::Null,
        Join::Any => "any".into(),
        Join::Quorum(n) => json!({"quorum": n}),
        Join::BestEffort => "best_effort".into(),
    }
}

fn rest(rest: Rest) -> Value {
    match rest {
        Rest::Keep => Value::Null,
        Rest::Cancel => "cancel".into(),
    }
}

/// The node of a task and everything that few tasks have.
pub(super) fn node(task: &Task, out: &mut Fields) {
    let plan = &task.plan;
    out.put("join", join(plan.join));
    out.put("rest", rest(plan.rest));
    out.put("on_event", task.on_event.clone());
    out.put("concurrency", plan.width);
    let caught = plan.catch.iter().map(|catch| {
        let mut one = Fields::default();
        one.put("classes", classes(&catch.on));
        one.keep("value", catch.value.clone());
        one.done()
    });
    out.put("on_error", caught.collect::<Vec<_>>());
    if let Some(pick) = &plan.pick {
        let among: Map<_, _> = pick
            .among
            .iter()
            .map(|(name, need)| {
                let mut one = Fields::default();
                one.put("role", need.role.clone());
                one.put("agent_id", need.agent.as_ref().map(|agent| agent.as_str()));
                one.put("capability", need.capability.clone());
                one.put("requirements", need.requirements.clone());
                one.put("tags", need.tags.clone());
                (name.clone(), one.done())
            })
            .collect();
        out.keep("pick", json!({"by": pick.by, "among": among}));
    }
    let mut spend = Fields::default();
    amount(&mut spend, "calls", plan.spend.calls);
    amount(&mut spend, "tokens", plan.spend.tokens);
    money(&mut spend, plan.spend.money_micros);
    out.put("spend", spend.done());
    if let Some(cache) = &plan.cache {
        let mut spec = Fields::default();
        spec.put("namespace", cache.namespace.as_str());
        spec.duration("ttl", cache.ttl);
        out.keep("cache", spec.done());
    }
    kind(&plan.kind, out);
    remote(plan, out);
}

/// What another engine does.
pub(super) fn remote(plan: &TaskPlan, out: &mut Fields) {
    if let Some(remote) = &plan.remote {
        out.put("provider", remote.provider.as_str());
        out.put("task_queue", remote.task_queue.clone());
        match &remote.work {
            Work::Workflow(name) => out.put("workflow_type", name.as_str()),
            Work::Chain(chain) => out.keep("chain", chain.clone()),
            Work::Graph(graph) => out.keep("graph", graph.clone()),
        }
    }
}

fn kind(kind: &NodeKind, out: &mut Fields) {
    match kind {
        NodeKind::Call => {}
        NodeKind::Transform { value } => out.keep("transform", value.clone()),
        NodeKind::Switch { cases, otherwise, many } => {
            let mut one = Fields::default();
            one.put(
                "cases",
                cases.iter().map(|c| json!({"name": c.name, "when": c.when})).collect::<Vec<_>>(),
            );
            one.put("otherwise", otherwise.clone());
            one.put("many", *many);
            out.keep("switch", one.done());
        }
        NodeKind::Wait(wait) => out.keep("wait", self::wait(wait)),
        NodeKind::Emit(emit) => {
            let mut one = Fields::default();
            one.put("topic", emit.topic.as_str());
            one.put("type", emit.event_type.as_str());
            if !emit.payload.is_null() {
                one.keep("payload", emit.payload.clone());
            }
            one.put("key", emit.key.clone());
            if emit.priority != 0 {
                one.put("priority", emit.priority);
            }
            out.keep("emit", one.done());
        }
        NodeKind::Child(child) => {
            let mut one = Fields::default();
            one.put("name", child.workflow.as_str());
            one.put("version", child.version.as_str());
            one.put("detached", child.detached);
            out.keep("workflow", one.done());
        }
        NodeKind::Scope(scope) => turns(&scope.mode, out),
        NodeKind::Set { vars } => out.keep("set", vars.clone()),
        NodeKind::Fail { message, class } => {
            out.keep("fail", json!({"message": message, "class": class.as_str()}));
        }
        NodeKind::End { output: None } => out.put("end", true),
        NodeKind::End { output: Some(output) } => out.keep("end", json!({"output": output})),
    }
}

fn wait(wait: &Wait) -> Value {
    match wait {
        Wait::Timer { until } => json!({"timer": until}),
        Wait::Event { topic, filter, key, count } => {
            let mut one = Fields::default();
            one.put("topic", topic.as_str());
            one.put("filter", filter.clone());
            one.put("key", key.clone());
            if *count != 1 {
                one.put("count", *count);
            }
            json!({"event": one.done()})
        }
        Wait::Signal { name, schema } => {
            let mut one = Fields::default();
            one.put("name", name.as_str());
            if let Some(schema) = schema {
                one.keep("schema", schema.clone());
            }
            json!({"signal": one.done()})
        }
        Wait::Approval(asked) => json!({"approval": approval(asked)}),
        Wait::Step => json!({"step": true}),
    }
}

fn approval(asked: &Approval) -> Value {
    let mut one = Fields::default();
    one.put("title", asked.title.as_str());
    one.put("who", asked.who.clone());
    if let Some(form) = &asked.form {
        one.keep("form", form.clone());
    }
    let steps = asked.escalate.iter().map(|step| {
        let mut one = Fields::default();
        one.duration("after", Some(step.after));
        one.put("who", step.who.clone());
        one.done()
    });
    one.put("escalate", steps.collect::<Vec<_>>());
    one.done()
}

fn turns(mode: &ScopeMode, out: &mut Fields) {
    match mode {
        ScopeMode::Once => {}
        ScopeMode::Loop { while_, until, max, exhausted, delay, start, carry, history, gather } => {
            let mut one = Fields::default();
            one.put("while", while_.clone());
            one.put("until", until.clone());
            one.put("max", *max);
            if *exhausted == Exhausted::Stop {
                one.put("exhausted", "stop");
            }
            one.duration("delay", *delay);
            if let Some(start) = start {
                one.keep("start", start.clone());
            }
            if let Some(carry) = carry {
                one.keep("carry", carry.clone());
            }
            one.put("history", *history);
            one.put("gather", *gather);
            out.keep("loop", one.done());
        }
        ScopeMode::ForEach { list, width, ordered, join: needed, rest: others, partial } => {
            out.put("for_each", list.as_str());
            out.put("max_parallel", *width);
            out.put("ordered", *ordered);
            let mut one = Fields::default();
            one.put("join", join(*needed));
            one.put("rest", rest(*others));
            one.put("partial", *partial);
            out.put("gather", one.done());
        }
    }
}

fn amount(out: &mut Fields, key: &str, amount: u64) {
    if amount > 0 {
        out.put(key, amount);
    }
}

fn money(out: &mut Fields, micros: u64) {
    if micros > 0 {
        // As text: a number of the text would lose digits.
        out.put("money", show_money(micros));
    }
}

pub(super) fn budget(budget: &Budget) -> Value {
    let mut out = Fields::default();
    amount(&mut out, "calls", budget.calls);
    amount(&mut out, "tokens", budget.tokens);
    money(&mut out, budget.money_micros);
    amount(&mut out, "depth", u64::from(budget.depth));
    out.done()
}

pub(super) fn saga(saga: &Saga) -> Value {
    let mut out = Fields::default();
    out.keep("on_failure", saga.on_failure.into());
    out.keep("on_cancel", saga.on_cancel.into());
    out.put("classes", classes(&saga.classes));
    out.put("not_classes", classes(&saga.not_classes));
    out.duration("timeout", saga.timeout);
    out.put("retry", saga.retry.as_ref().map_or(Value::Null, retry));
    out.done()
}

pub(super) fn session(spec: &SessionSpec) -> Value {
    let mut out = Fields::default();
    out.put("id", spec.id.clone());
    out.put("load", spec.load.clone());
    if let Some(save) = &spec.save {
        out.keep("save", save.clone());
    }
    out.keep("history", spec.history.into());
    out.done()
}

pub(super) fn trigger(trigger: &Trigger) -> Value {
    let mut out = Fields::default();
    out.put("name", trigger.name.as_str());
    match &trigger.on {
        TriggerOn::Event { topic, filter } => {
            out.put("event", topic.as_str());
            out.put("filter", filter.clone());
        }
        TriggerOn::Cron { cron, zone, overlap: over, catch_up } => {
            out.put("cron", cron.as_str());
            out.put("time_zone", zone.as_str());
            overlap(*over, *catch_up, &mut out);
        }
        TriggerOn::Every { every, delay, overlap: over, catch_up } => {
            out.duration("every", Some(*every));
            out.duration("delay", *delay);
            overlap(*over, *catch_up, &mut out);
        }
    }
    if let Some(input) = &trigger.input {
        out.keep("input", input.clone());
    }
    out.put("key", trigger.key.clone());
    if trigger.priority != 0 {
        out.put("priority", trigger.priority);
    }
    out.done()
}

fn overlap(overlap: Overlap, catch_up: std::time::Duration, out: &mut Fields) {
    out.put(
        "overlap",
        match overlap {
            Overlap::Skip => Value::Null,
            Overlap::Queue => "queue".into(),
            Overlap::Allow => "allow".into(),
            Overlap::Cancel => "cancel".into(),
        },
    );
    out.duration("catch_up", Some(catch_up).filter(|time| !time.is_zero()));
}
