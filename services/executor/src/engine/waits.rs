//! Waits for events and for people as rows beside the log: written with the fact that opens or closes them, so that
//! whoever has an event, or may answer, finds them while the execution is not in memory.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use store::journal::WaitWrite;
use workflow::{
    Event, Kind, State, TaskPhase, Waiting,
    plan::{NodeKind, Wait},
};

use super::asked::Asked;

/// Waits that are on disk, or are with the next commit, by task.
#[derive(Default)]
pub(crate) struct Known {
    /// For events.
    pub(crate) events: BTreeMap<u32, Opened>,
    /// Approvals, as they are written.
    asked: BTreeMap<u32, String>,
    /// The approvals of an execution that was read back are written once more: what an earlier release asked is in the
    /// log alone.
    unsure: bool,
}

/// A wait for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) topic: String,
    pub(crate) key: String,
    /// Since when it waits.
    since: Timestamp,
    /// Events accepted from here on count: for as long as events are kept, without a key not before the execution began.
    pub(crate) after: Timestamp,
}

/// The wait of a task, when it waits for an event.
fn open(state: &State, task: u32) -> Option<Opened> {
    let own = state.tasks().get(task as usize)?;
    let Some(Waiting::Event { key, since, taken }) = own.waiting() else { return None };
    let (topic, count) = match (own.phase, &state.task_plan(task).kind) {
        (TaskPhase::Pending, _) => (state.driven_by(task)?, 1),
        (TaskPhase::Scheduled, NodeKind::Wait(Wait::Event { topic, count, .. })) => (topic.as_str(), *count),
        _ => return None,
    };
    if taken.len() >= count as usize {
        return None;
    }
    let kept = i64::try_from(state.created().settings.event_ttl.as_micros()).unwrap_or(i64::MAX);
    let kept = Timestamp::from_micros(since.micros().saturating_sub(kept));
    let after = if key.is_some() { kept } else { kept.max(state.created_at()) };
    let key = key.as_deref().unwrap_or_default().to_owned();
    Some(Opened { topic: topic.to_owned(), key, since: *since, after })
}

/// Since when the task asks for an approval that nobody has given or refused.
fn asks(state: &State, task: u32) -> Option<Timestamp> {
    let own = state.tasks().get(task as usize)?;
    match own.waiting() {
        Some(Waiting::Approval(asked)) if own.phase == TaskPhase::Scheduled && asked.decided.is_none() => {
            Some(asked.at)
        }
        _ => None,
    }
}

/// Every open wait of an execution that was read back.
pub(crate) fn all(state: &State) -> Known {
    let tasks = || 0..state.tasks().len() as u32;
    let asked: BTreeMap<_, _> =
        tasks().filter_map(|t| asks(state, t).map(|_| (t, Asked::of(state, t).to_json()))).collect();
    Known {
        events: tasks().filter_map(|t| Some((t, open(state, t)?))).collect(),
        unsure: !asked.is_empty(),
        asked,
    }
}

/// What changes with these events, and the waits for events that begin with them.
pub(crate) fn changes(state: &State, events: &[Event], known: &mut Known) -> (Vec<WaitWrite>, Vec<Opened>) {
    if state.status().is_final() {
        let Known { events, asked, .. } = std::mem::take(known);
        let any = !events.is_empty() || !asked.is_empty();
        return (if any { vec![WaitWrite::CloseAll] } else { Vec::new() }, Vec::new());
    }
    let mut writes = asked_changes(state, events, known);
    let known = &mut known.events;
    let mut begun = Vec::new();
    let touched = events.iter().filter_map(|e| match e.kind {
        Kind::WaitOpened { task, .. } | Kind::ModeSwitched { task, .. } => Some(task),
        _ => None,
    });
    let tasks: BTreeSet<u32> = known.keys().copied().chain(touched).collect();
    for task in tasks {
        match (open(state, task), known.get(&task)) {
            (Some(now), Some(before)) if now == *before => {}
            (Some(now), _) => {
                let (topic, key) = (now.topic.clone(), now.key.clone());
                writes.push(WaitWrite::Open { task, topic, key, since: now.since });
                begun.push(now.clone());
                known.insert(task, now);
            }
            (None, Some(_)) => {
                writes.push(WaitWrite::Close { task });
                known.remove(&task);
            }
            (None, None) => {}
        }
    }
    (writes, begun)
}

fn asked_changes(state: &State, events: &[Event], known: &mut Known) -> Vec<WaitWrite> {
    let asked = |e: &Event| match e.kind {
        Kind::ApprovalAsked { task, .. } | Kind::ApprovalEscalated { task, .. } => Some(task),
        _ => None,
    };
    let touched: BTreeSet<u32> = events.iter().filter_map(asked).collect();
    let tasks: BTreeSet<u32> = known.asked.keys().copied().chain(touched.iter().copied()).collect();
    let unsure = std::mem::take(&mut known.unsure);
    let mut writes = Vec::new();
    for task in tasks {
        match asks(state, task) {
            Some(since) if touched.contains(&task) || unsure => {
                let asked = Asked::of(state, task).to_json();
                if unsure || known.asked.get(&task) != Some(&asked) {
                    known.asked.insert(task, asked.clone());
                    writes.push(WaitWrite::Ask { task, since, asked });
                }
            }
            Some(_) => {}
            None if known.asked.remove(&task).is_some() => writes.push(WaitWrite::Close { task }),
            None => {}
        }
    }
    writes
}
