//! What a plan will do: levels, critical path, estimates, candidates. Linear in tasks and dependencies.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use base::{AgentId, units::Resources};
use serde_json::{Value, json};
use workflow::plan::{Need, NodeKind, Plan, Spread, TaskPlan};

use crate::{
    allocate::{Allocation, Allotment, Choice, Job, allocate},
    offers::{Offer, Offers},
};

/// Numbers of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// Level of each task by index: 0 waits for nothing, the others stand one above the highest they wait for.
    pub levels: Vec<u32>,
    /// How many levels there are.
    pub depth: u32,
    /// Tasks at the same level, at most.
    pub width: u32,
    /// Indices along the longest way through the plan, first to last.
    pub critical_path: Vec<u32>,
    /// Time until the last task is done: along the critical path, and waiting where agents have no more room.
    pub duration: Duration,
    /// Price of all calls with the agents that were chosen.
    pub cost: f64,
    /// Tasks whose time is not known; they count nothing in [`Analysis::duration`].
    pub unknown_durations: u32,
    /// The most that is taken at once, if every task of a level runs together.
    pub resources: Resources,
    /// Agents that are used: of each role its count, and each pinned agent or need without a role once.
    pub agents: u32,
}

/// Analyses `plan` with the agents that [`allocate`] chooses of the fleet. How long a call takes says the task itself
/// ([`TaskPlan::expected`]), else the agent.
pub fn analyse(plan: &Plan, offers: Option<&dyn Offers>) -> Analysis {
    let asked = Asked::of(plan, offers);
    with_times(plan, &asked, &asked.allocate(plan))
}

/// What the fleet says to each need; equal needs are asked once.
#[derive(Default)]
struct Asked {
    offers: Vec<Offer>,
    /// As numbers: what the allocation chooses from.
    choices: Vec<Vec<Choice>>,
    /// Which of them, by task.
    of: Vec<u32>,
    /// Calls at once of each agent.
    capacities: Vec<u32>,
}

impl Asked {
    fn of(plan: &Plan, offers: Option<&dyn Offers>) -> Self {
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut agents: HashMap<AgentId, u32> = HashMap::new();
        let mut out = Self { of: Vec::with_capacity(plan.tasks.len()), ..Self::default() };
        // What calls nobody: the first of all, asked of nobody.
        out.offers.push(Offer::default());
        out.choices.push(Vec::new());
        for task in &plan.tasks {
            if !asks_the_fleet(task) {
                out.of.push(0);
                continue;
            }
            let key = format!("{:?} {:?} {:?}", task.need, task.resources, task.expected);
            let n = *known.entry(key).or_insert_with(|| {
                let offers = offers.filter(|_| task.remote.is_none());
                let offer =
                    offers.map(|offers| offers.offer(&task.need, &task.resources)).unwrap_or_default();
                let mut choices = Vec::with_capacity(offer.choices.len());
                for chance in &offer.choices {
                    let agent = *agents.entry(chance.agent_id.clone()).or_insert_with(|| {
                        out.capacities.push(chance.capacity);
                        out.capacities.len() as u32 - 1
                    });
                    let duration = task.expected.or(chance.expected);
                    choices.push(Choice { agent, duration, cost: chance.cost });
                }
                if choices.is_empty() && task.expected.is_some() {
                    choices.push(Choice { agent: u32::MAX, duration: task.expected, cost: 0.0 });
                }
                out.offers.push(offer);
                out.choices.push(choices);
                out.offers.len() as u32 - 1
            });
            out.of.push(n);
        }
        out
    }

    fn offer(&self, task: usize) -> &Offer {
        &self.offers[self.of[task] as usize]
    }

    fn choices(&self, task: usize) -> &[Choice] {
        &self.choices[self.of[task] as usize]
    }

    fn allocate(&self, plan: &Plan) -> Allocation {
        let jobs: Vec<Job<'_>> = plan
            .tasks
            .iter()
            .enumerate()
            .map(|(t, task)| Job { after: &task.after, calls: calls(task), choices: self.choices(t) })
            .collect();
        allocate(&jobs, &self.capacities, plan.limits.max_calls.unwrap_or(u32::MAX))
    }
}

fn with_times(plan: &Plan, asked: &Asked, allocation: &Allocation) -> Analysis {
    let tasks = plan.tasks.len();
    let mut out = Analysis { levels: vec![0; tasks], ..Analysis::default() };
    (out.duration, out.cost) = (allocation.length, allocation.cost);
    // The longest way to the end of each task: time, then number of tasks, so that unknown times still give a path.
    let mut longest: Vec<(Duration, u32)> = vec![(Duration::ZERO, 0); tasks];
    let mut from: Vec<u32> = vec![u32::MAX; tasks];
    let mut last = u32::MAX;
    let mut per_level: Vec<(u32, Resources)> = Vec::new();
    for (t, task) in plan.tasks.iter().enumerate() {
        for &before in &task.after {
            let b = before as usize;
            out.levels[t] = out.levels[t].max(out.levels[b] + 1);
            if from[t] == u32::MAX || longest[b] > longest[from[t] as usize] {
                from[t] = before;
            }
        }
        let known = takes_no_time(task) || asked.choices(t).iter().any(|choice| choice.duration.is_some());
        out.unknown_durations += u32::from(!known);
        let Allotment { start, finish, .. } = allocation.jobs[t];
        let before = if from[t] == u32::MAX { (Duration::ZERO, 0) } else { longest[from[t] as usize] };
        longest[t] = (before.0.saturating_add(finish.saturating_sub(start)), before.1 + 1);
        if last == u32::MAX || longest[t] > longest[last as usize] {
            last = t as u32;
        }
        let level = out.levels[t] as usize;
        if per_level.len() <= level {
            per_level.resize(level + 1, Default::default());
        }
        per_level[level].0 += 1;
        per_level[level].1 = per_level[level].1.plus(&task.resources.times(u64::from(calls(task))));
    }
    out.depth = per_level.len() as u32;
    out.width = per_level.iter().map(|(n, _)| *n).max().unwrap_or(0);
    out.resources = per_level.iter().fold(Resources::default(), |most, (_, sum)| most.max(sum));
    out.agents = agents(plan);
    let mut at = last;
    while at != u32::MAX {
        out.critical_path.push(at);
        at = from[at as usize];
    }
    out.critical_path.reverse();
    out
}

/// Calls of a task at once, as far as the definition says.
pub fn calls(task: &TaskPlan) -> u32 {
    match &task.spread {
        Spread::One => 1,
        Spread::ForEach { width, .. } => width.unwrap_or(1),
        Spread::Parallel { count } => count.unwrap_or(1),
    }
}

/// Whether the fleet can say now who will do the task: whom an answer names, or what a body asks for in its turns, is
/// not known yet.
fn asks_the_fleet(task: &TaskPlan) -> bool {
    matches!(task.kind, NodeKind::Call) && task.pick.is_none()
}

/// Done as soon as it begins.
fn takes_no_time(task: &TaskPlan) -> bool {
    match &task.kind {
        NodeKind::Transform { .. }
        | NodeKind::Switch { .. }
        | NodeKind::Emit(_)
        | NodeKind::Set { .. }
        | NodeKind::Fail { .. }
        | NodeKind::End { .. } => true,
        NodeKind::Call | NodeKind::Wait(_) | NodeKind::Child(_) | NodeKind::Scope(_) => false,
    }
}

/// What a task does, in a word.
fn kind(task: &TaskPlan) -> &'static str {
    match &task.kind {
        NodeKind::Call => "call",
        NodeKind::Transform { .. } => "transform",
        NodeKind::Switch { .. } => "switch",
        NodeKind::Wait(_) => "wait",
        NodeKind::Emit(_) => "emit",
        NodeKind::Child(_) => "sub_workflow",
        NodeKind::Scope(_) => "body",
        NodeKind::Set { .. } => "set",
        NodeKind::Fail { .. } => "fail",
        NodeKind::End { .. } => "end",
    }
}

/// What the tasks that call an agent need, those of bodies and those that an answer may name too.
fn needs<'a>(tasks: &'a [TaskPlan], out: &mut Vec<&'a Need>) {
    for task in tasks {
        match (&task.kind, &task.pick) {
            (NodeKind::Call, Some(pick)) => out.extend(pick.among.values()),
            (NodeKind::Call, None) => out.push(&task.need),
            (NodeKind::Scope(scope), _) => needs(&scope.tasks, out),
            _ => {}
        }
    }
}

fn agents(plan: &Plan) -> u32 {
    let mut all = Vec::new();
    needs(&plan.tasks, &mut all);
    let roles: BTreeSet<&str> = all.iter().filter_map(|need| need.role.as_deref()).collect();
    let of_roles: u32 =
        roles.iter().map(|name| plan.roles.get(*name).and_then(|role| role.count).unwrap_or(1)).sum();
    let others: BTreeSet<(Option<&str>, Option<&str>)> = all
        .iter()
        .filter(|need| need.role.is_none())
        .map(|need| (need.agent.as_ref().map(|a| a.as_str()), need.capability.as_deref()))
        .collect();
    of_roles + others.len() as u32
}

/// Explains `plan` as JSON: `{workflow, levels, critical_path, estimated_duration_ms, unknown_durations,
/// estimated_resources, tasks}`. With `offers` also `estimated_cost`, and each task names its candidates and why they are
/// on the list (a task that calls nobody, or whom an answer will name, has none), and under `allocation` the one that was chosen: `{agent_id, cost, start_ms, duration_ms, slack_ms}`.
pub fn explain(plan: &Plan, offers: Option<&dyn Offers>) -> Value {
    let asked = Asked::of(plan, offers);
    let allocation = asked.allocate(plan);
    let analysis = with_times(plan, &asked, &allocation);
    let id = |t: u32| plan.tasks[t as usize].id.as_str();
    let mut levels: Vec<Vec<&str>> = vec![Vec::new(); analysis.depth as usize];
    for (t, &level) in analysis.levels.iter().enumerate() {
        levels[level as usize].push(id(t as u32));
    }
    let tasks: Vec<Value> = plan
        .tasks
        .iter()
        .enumerate()
        .map(|(t, task)| {
            let mut out = task_json(plan, task, analysis.levels[t]);
            let expected = asked.choices(t).iter().filter_map(|c| c.duration).min();
            if let Some(expected) = expected {
                out["expected_ms"] = millis(expected).into();
            }
            if offers.is_some() && asks_the_fleet(task) {
                add_agents(&mut out, asked.offer(t), &allocation.jobs[t]);
            }
            out
        })
        .collect();
    let mut out = json!({
        "workflow": {"name": plan.name, "version": plan.version, "orchestration_pattern": plan.pattern},
        "levels": levels,
        "critical_path": analysis.critical_path.iter().map(|&t| id(t)).collect::<Vec<_>>(),
        "estimated_duration_ms": millis(analysis.duration),
        "unknown_durations": analysis.unknown_durations,
        "estimated_resources": estimated_resources(&analysis),
        "tasks": tasks,
    });
    if offers.is_some() {
        out["estimated_cost"] = analysis.cost.into();
    }
    out
}

/// Who could do the task, and who was chosen.
fn add_agents(out: &mut Value, offer: &Offer, given: &Allotment) {
    out["candidates"] = json!(offer.candidates);
    if let Some(shortage) = &offer.shortage {
        out["shortage"] = shortage.text().into();
    }
    if let Some(chosen) = given.choice.and_then(|at| offer.choices.get(at as usize)) {
        out["allocation"] = json!({
            "agent_id": chosen.agent_id,
            "cost": given.cost,
            "start_ms": millis(given.start),
            "duration_ms": millis(given.finish.saturating_sub(given.start)),
            "slack_ms": millis(given.slack),
        });
    }
}

/// `{cpu_millis, memory_bytes, network_mbps, agents, duration_ms}`.
pub(crate) fn estimated_resources(analysis: &Analysis) -> Value {
    json!({
        "cpu_millis": analysis.resources.cpu_millis,
        "memory_bytes": analysis.resources.memory_bytes,
        "network_mbps": analysis.resources.network_mbps,
        "agents": analysis.agents,
        "duration_ms": millis(analysis.duration),
    })
}

impl Analysis {
    /// `{cpu_millis, memory_bytes, network_mbps, agents, duration_ms}`, as answers carry it.
    pub fn resources_json(&self) -> Value {
        estimated_resources(self)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn task_json(plan: &Plan, task: &TaskPlan, level: u32) -> Value {
    let names: Vec<_> = task.after.iter().map(|&t| plan.tasks[t as usize].id.as_str()).collect();
    let mut out = json!({
        "id": task.id,
        "level": level,
        "kind": kind(task),
        "depends_on": names,
        "need": task.need,
        "spread": task.spread,
        "resources": task.resources,
    });
    let Some(fields) = out.as_object_mut() else { return out };
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    if !task.name.is_empty() {
        put("name", task.name.as_str().into());
    }
    if let Some(when) = &task.when {
        put("when", when.as_str().into());
    }
    if let Some(remote) = &task.remote {
        put(
            "provider",
            json!({"name": remote.provider, "kind": remote.work.kind(), "task_queue": remote.task_queue}),
        );
    }
    out
}
