//! Waits for events as rows beside the log: written with the fact that opens or closes them, so that whoever has an event
//! finds them while the execution is not in memory.

use std::collections::BTreeMap;

use base::Timestamp;
use store::journal::WaitWrite;
use workflow::{
    Event, Kind, State, TaskPhase, Waiting,
    plan::{NodeKind, Wait},
};

/// A wait that is open, or is with the next commit.
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

/// Every open wait of an execution that was read back.
pub(crate) fn all(state: &State) -> BTreeMap<u32, Opened> {
    (0..state.tasks().len() as u32).filter_map(|t| Some((t, open(state, t)?))).collect()
}

/// What changes with these events, and the waits that begin with them. `known`: the waits on disk.
pub(crate) fn changes(
    state: &State,
    events: &[Event],
    known: &mut BTreeMap<u32, Opened>,
) -> (Vec<WaitWrite>, Vec<Opened>) {
    if state.status().is_final() {
        let any = !std::mem::take(known).is_empty();
        return (if any { vec![WaitWrite::CloseAll] } else { Vec::new() }, Vec::new());
    }
    let (mut writes, mut begun) = (Vec::new(), Vec::new());
    let touched = events.iter().filter_map(|e| match e.kind {
        Kind::WaitOpened { task, .. } | Kind::ModeSwitched { task, .. } => Some(task),
        _ => None,
    });
    let tasks: std::collections::BTreeSet<u32> = known.keys().copied().chain(touched).collect();
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
