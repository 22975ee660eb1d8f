//! Who does a task: roles, agents, capabilities; and whether it can ever fit.

use std::collections::{BTreeMap, HashMap};

use base::{
    AgentId,
    finding::nearest,
    units::{Resources, show_cpu, show_memory},
};
use workflow::plan::{NodeKind, Role};

use crate::{
    Offers,
    definition::{Definition, Task},
    offers::{Offer, Shortage},
    report::Report,
};

/// Turns `agent`, `role` and `type` into what each task needs of its agent.
pub(crate) fn assign(def: &mut Definition, report: &mut Report) {
    let Definition { roles, body, .. } = def;
    body.walk_mut("", &mut |task, path| {
        if matches!(task.plan.kind, NodeKind::Call) {
            inherit(task);
            match &task.plan.remote {
                Some(remote) => task.plan.need.agent = super::providers::agent(remote),
                None => one(task, roles, path, report),
            }
        }
    });
    body.walk_mut("", &mut |task, _| pick(task));
}

/// A compensation that calls an agent and names nobody goes to who did the task.
fn inherit(task: &mut Task) {
    let Some(undo) = &mut task.compensate else { return };
    if undo.plan.kind != NodeKind::Call {
        return;
    }
    let need = &undo.plan.need;
    let unnamed = undo.agent.is_none() && need.role.is_none() && need.agent.is_none();
    if unnamed && undo.plan.remote.is_none() {
        undo.agent.clone_from(&task.agent);
        undo.plan.need.role.clone_from(&task.plan.need.role);
        undo.plan.need.agent.clone_from(&task.plan.need.agent);
        undo.places.agent = task.places.agent;
    }
}

/// Who may be picked: read like tasks, kept as needs.
fn pick(task: &mut Task) {
    let among = task.extra.iter().flat_map(|extra| &extra.among);
    let among = among.map(|(name, who)| (name.clone(), who.plan.need.clone())).collect();
    if let Some(pick) = &mut task.plan.pick {
        pick.among = among;
    }
}

fn one(task: &mut Task, roles: &BTreeMap<String, Role>, path: &dyn Fn() -> String, report: &mut Report) {
    let path = |key: &str| format!("{}.{key}", path());
    let need = &mut task.plan.need;
    if let Some(name) = &task.agent {
        if roles.contains_key(name) || !roles.is_empty() {
            // With roles declared, `agent` names one of them; an agent is then named by `agent_id`.
            need.role = need.role.take().or_else(|| Some(name.clone()));
        } else {
            match AgentId::new(name) {
                Ok(agent) => need.agent = Some(agent),
                Err(bad) => {
                    report.error("bad-name", task.places.agent, path("agent"), bad.to_string());
                }
            }
        }
    }
    if let Some(name) = &need.role {
        match roles.get(name) {
            Some(role) => {
                need.agent_type.clone_from(&role.agent_type);
                need.capabilities.clone_from(&role.capabilities);
                if task.plan.resources == Resources::default() {
                    task.plan.resources = role.resources;
                }
            }
            None => {
                let remedy = match nearest(name, roles.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("declare it under `agents`, or name an agent with `agent_id: {name}`"),
                };
                let message = format!("there is no role `{name}`");
                report.error("unknown-role", task.places.agent, path("agent"), message).remedy(remedy);
            }
        }
    }
    let named = need.role.is_some()
        || need.agent.is_some()
        || need.capability.is_some()
        || !need.requirements.is_empty()
        || !need.tags.is_empty()
        || task.plan.pick.is_some();
    if !named && !task.plan.id.is_empty() {
        need.capability = Some(task.kind.clone().unwrap_or_else(|| task.plan.id.clone()));
    }
}

/// What one call takes, and the widest spread of it, against the limits of the definition itself.
pub(crate) fn check_resources(def: &Definition, report: &mut Report) {
    let Some(limit) = &def.limits.resources else { return };
    let limit = unlimited_where_zero(limit);
    if !def.resources.fits(&limit) {
        let message = format!("the workflow asks for {} and may take {}", show(&def.resources), show(&limit));
        report
            .error("insufficient-resources", def.places.resources, "resources", message)
            .remedy("raise the limit or ask for less");
    }
    def.body.walk("", &mut |task, path| {
        if !task.plan.resources.fits(&limit) {
            let path = format!("{}.resources", path());
            let message = format!(
                "one call of `{}` takes {} and the workflow may take {}",
                task.plan.id,
                show(&task.plan.resources),
                show(&limit)
            );
            report
                .error("insufficient-resources", at_resources(task), path, message)
                .remedy("raise the workflow's limit or lower the task's resources");
        }
    });
}

fn unlimited_where_zero(limit: &Resources) -> Resources {
    let or_all = |amount: u64| if amount == 0 { u64::MAX } else { amount };
    Resources {
        cpu_millis: or_all(limit.cpu_millis),
        memory_bytes: or_all(limit.memory_bytes),
        network_mbps: or_all(limit.network_mbps),
    }
}

fn at_resources(task: &Task) -> crate::text::tree::Pos {
    match task.places.resources.line {
        0 => task.places.id,
        _ => task.places.resources,
    }
}

/// Amounts for people; nothing stands for no limit.
fn show(amount: &Resources) -> String {
    let mut parts = Vec::new();
    if amount.cpu_millis != u64::MAX && amount.cpu_millis > 0 {
        parts.push(show_cpu(amount.cpu_millis));
    }
    if amount.memory_bytes != u64::MAX && amount.memory_bytes > 0 {
        parts.push(show_memory(amount.memory_bytes));
    }
    if amount.network_mbps != u64::MAX && amount.network_mbps > 0 {
        parts.push(format!("{} Mbit/s", amount.network_mbps));
    }
    if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
}

/// Asks the fleet who could do each task. Missing agents are warnings: they may come later.
pub(crate) fn check_offers(def: &Definition, offers: &dyn Offers, report: &mut Report) {
    if let Some(total) = offers.total().filter(|total| !def.resources.fits(total)) {
        let message = format!(
            "the workflow asks for {} and all instances together have {}",
            show(&def.resources),
            show(&total)
        );
        report
            .error("insufficient-resources", def.places.resources, "resources", message)
            .remedy("ask for less or register more instances");
    }
    let mut asked: HashMap<String, Offer> = HashMap::new();
    def.body.walk("", &mut |task, path| {
        // Who may be picked is asked one by one, and other engines are not of the fleet.
        let of_fleet = task.plan.pick.is_none() && task.plan.remote.is_none();
        if !matches!(task.plan.kind, NodeKind::Call) || !of_fleet {
            return;
        }
        let need = &task.plan.need;
        let key = format!("{need:?} {:?}", task.plan.resources);
        let offer = asked.entry(key).or_insert_with(|| offers.offer(need, &task.plan.resources));
        let Some(shortage) = &offer.shortage else { return };
        let path = path();
        let (at, id) = (task.places.agent, &task.plan.id);
        match shortage {
            Shortage::Capability { name, nearest } => {
                let remedy = match nearest {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "register an agent that offers it".into(),
                };
                let message = format!("no agent offers the capability `{name}` that `{id}` needs");
                report.warning("missing-capability", at, path, message).remedy(remedy);
            }
            Shortage::Agent { why } => {
                let message = format!("no agent can do `{id}`: {why}");
                report
                    .warning("missing-agent", at, path, message)
                    .remedy("register one before it is started");
            }
            Shortage::Away { why } => {
                let message = format!("no agent can do `{id}` now: {why}");
                report
                    .warning("missing-agent", at, path, message)
                    .remedy("look after it before it is started");
            }
            Shortage::TooSmall { why } => {
                let message = format!("`{id}` can never fit: {why}");
                report
                    .error("insufficient-resources", at_resources(task), path, message)
                    .remedy("lower the task's resources or register a larger instance");
            }
        }
    });
}
