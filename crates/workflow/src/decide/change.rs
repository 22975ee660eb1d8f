//! Commands that change the graph: another plan for the rest, a reset, tasks taken over, modes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use base::{ExecutionId, Payload};

use super::{Refusal, ResetFrom};
use crate::{
    compiled::Compiled,
    event::Kind,
    facts::{PlanChange, Seed},
    plan::TaskPlan,
    state::{State, Status},
    task::TaskPhase,
};

fn ran(state: &State, task: u32, what: &str) -> Refusal {
    Refusal::Ran { task: state.task_path(task), what: what.into() }
}

/// A plan for the rest: what began must stay what it is, and nothing new may stand before it.
pub(super) fn plan(
    state: &State,
    plan: &Arc<Compiled>,
    text: &Payload,
    (by, reason): (&Arc<str>, &Arc<str>),
) -> Result<Vec<Kind>, Refusal> {
    if state.undone().is_some() {
        return Err(Refusal::Status { command: "change", status: state.status.as_str() });
    }
    let new: HashMap<&str, &TaskPlan> = plan.plan().tasks.iter().map(|t| (t.id.as_str(), t)).collect();
    for offset in 0..state.plan.block(0).len {
        let task = state.turns[0].task(offset);
        if state.tasks[task as usize].phase == TaskPhase::Pending {
            continue;
        }
        let old = state.task_plan(task);
        let Some(found) = new.get(old.id.as_str()) else {
            return Err(ran(state, task, "has begun or ended and cannot be removed; keep it as it is"));
        };
        let same = TaskPlan { after: old.after.clone(), edges: old.edges.clone(), ..(*found).clone() };
        if same != *old {
            return Err(ran(
                state,
                task,
                "has begun or ended and is not the same in the new plan; keep it, or reset it first",
            ));
        }
        let before: BTreeSet<String> = ids(&state.plan.plan().tasks, &old.after);
        if let Some(added) = ids(&plan.plan().tasks, &found.after).difference(&before).next() {
            return Err(ran(state, task, &format!("has begun or ended, so {added} cannot come before it")));
        }
    }
    let (by, reason) = (by.clone(), reason.clone());
    let change = PlanChange::new(text.clone(), state.revision() + 1, by, reason).with(plan.clone());
    Ok(vec![Kind::PlanChanged(Arc::new(change))])
}

fn ids(tasks: &[TaskPlan], indices: &[u32]) -> BTreeSet<String> {
    indices.iter().filter_map(|&t| Some(tasks.get(t as usize)?.id.clone())).collect()
}

/// Tasks and all that follow them run again; and what runs now and reads one of them.
pub(super) fn reset(
    state: &State,
    from: &ResetFrom,
    input: Option<&Payload>,
    (by, reason): (&Arc<str>, &Arc<str>),
) -> Result<Vec<Kind>, Refusal> {
    if state.undone().is_some() {
        return Err(Refusal::Status { command: "reset", status: state.status.as_str() });
    }
    let tasks = match from {
        ResetFrom::Tasks(tasks) => tasks.clone(),
        ResetFrom::Seq(seq) => state.since(*seq),
    };
    for &task in &tasks {
        match state.tasks.get(task as usize) {
            None => return Err(Refusal::NoTask { task: task.to_string() }),
            Some(own) if own.turn != 0 => {
                let message =
                    format!("{} stands in a turn; reset the scope around it", state.task_path(task));
                return Err(Refusal::Invalid { field: "tasks", message });
            }
            Some(own) if own.node == u32::MAX => {
                return Err(Refusal::NoTask { task: state.task_path(task) });
            }
            Some(_) => {}
        }
    }
    if tasks.is_empty() {
        let message = "nothing has run since then".to_owned();
        return Err(Refusal::Invalid { field: "tasks", message });
    }
    let tasks = state.behind(&tasks);
    let (by, reason) = (by.clone(), reason.clone());
    Ok(vec![Kind::Reset { tasks, input: input.cloned(), by, reason }])
}

impl State {
    /// Tasks of the plan that began or ended after event `seq`.
    pub fn since(&self, seq: u64) -> Vec<u32> {
        let len = self.plan.block(0).len;
        let tasks = (0..len).map(|offset| self.turns[0].task(offset));
        let later = |t: &u32| {
            let own = &self.tasks[*t as usize];
            own.scheduled_seq > seq || own.ended_seq > seq
        };
        tasks.filter(later).collect()
    }

    /// These tasks of the plan, all that follow them, and what is under way and reads one of them.
    pub fn behind(&self, tasks: &[u32]) -> Vec<u32> {
        let whole = &self.turns[0];
        let mut all = BTreeSet::new();
        let mut look: Vec<u32> = tasks.to_vec();
        let running = (0..self.plan.block(0).len).map(|offset| whole.task(offset));
        let mut running: Vec<u32> =
            running.filter(|t| self.tasks[*t as usize].phase == TaskPhase::Scheduled).collect();
        while let Some(task) = look.pop() {
            if !all.insert(task) {
                continue;
            }
            let node = self.tasks[task as usize].node;
            look.extend(self.plan.at(node).next.iter().map(|next| whole.task(next.to)));
            let id = &self.plan.node(node).id;
            running.retain(|t| {
                let reads = self.reads(*t, id);
                look.extend(reads.then_some(*t));
                !reads
            });
        }
        all.into_iter().collect()
    }

    /// Whether expressions of a task (of a scope: of its body) may read the task called `id`.
    fn reads(&self, task: u32, id: &str) -> bool {
        let node = self.plan.at(self.tasks[task as usize].node);
        let names = |paths: &[expr::Path]| {
            paths
                .iter()
                .any(|p| p.first().is_some_and(|r| r == "tasks") && p.get(1).is_none_or(|name| name == id))
        };
        let input = node.input.as_ref().is_some_and(|(_, paths)| names(paths));
        // A body reads whatever it likes.
        node.body.is_some() || input || node.list.as_ref().is_some_and(|e| names(e.references()))
    }

    /// What a fork takes over from this execution when these tasks and all behind them run again: everything else that
    /// completed or was skipped.
    pub fn seeds(&self, again: &[u32]) -> Vec<Seed> {
        let again: BTreeSet<u32> = self.behind(again).into_iter().collect();
        let len = self.plan.block(0).len;
        let each = (0..len).map(|offset| (offset, self.turns[0].task(offset)));
        each.filter(|(_, task)| !again.contains(task))
            .filter_map(|(node, task)| {
                let own = &self.tasks[task as usize];
                match own.phase {
                    TaskPhase::Completed => Some(Seed { task: node, output: own.output.clone() }),
                    TaskPhase::Skipped(_) => Some(Seed { task: node, output: None }),
                    _ => None,
                }
            })
            .collect()
    }
}

/// Tasks taken over as done: each with all that stands before it, so that nothing runs behind what it needs.
pub(super) fn seed(
    state: &State,
    from: ExecutionId,
    tasks: &[Seed],
    vars: Option<&Payload>,
) -> Result<Vec<Kind>, Refusal> {
    if state.started_at.is_some() || state.status != Status::Planning {
        return Err(Refusal::Status { command: "seed", status: state.status.as_str() });
    }
    let own = state.plan.plan().tasks.len() as u32;
    let mut sorted = tasks.to_vec();
    sorted.sort_by_key(|s| s.task);
    sorted.dedup_by_key(|s| s.task);
    if let Some(bad) = sorted.iter().find(|s| s.task >= own) {
        return Err(Refusal::NoTask { task: bad.task.to_string() });
    }
    Ok(vec![Kind::Seeded { from, tasks: sorted, vars: vars.cloned() }])
}

pub(super) fn switch_mode(
    state: &State,
    task: u32,
    topic: Option<&Arc<str>>,
    by: &Arc<str>,
) -> Result<Vec<Kind>, Refusal> {
    let Some(own) = state.tasks.get(task as usize) else {
        return Err(Refusal::NoTask { task: task.to_string() });
    };
    if own.phase != TaskPhase::Pending {
        return Err(Refusal::Task {
            task: state.task_path(task),
            state: own.state_text(),
            wanted: "pending",
        });
    }
    if topic.is_some_and(|t| t.is_empty()) {
        let message = "an event-driven task needs the name of a topic".into();
        return Err(Refusal::Invalid { field: "topic", message });
    }
    if state.driven_by(task) == topic.map(|t| &**t) {
        return Ok(vec![]);
    }
    Ok(vec![Kind::ModeSwitched { task, topic: topic.cloned(), by: by.clone() }])
}
