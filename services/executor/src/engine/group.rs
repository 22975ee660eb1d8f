//! Groups: what the executions of a shard have gathered becomes one durable write, and then everything it held back.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use api::Fault;
use api::log::{Large, encode_row, schema_of};
use base::{ExecutionId, Timestamp};
use store::{
    Journal, StoreError,
    journal::{
        CheckpointWrite, ExecutionInsert, ExecutionUpdate, ExecutionWrite, Group, Item, LogRow, Outcome,
        PayloadRow, Rejection, Summary, Wake,
    },
};
use tokio::sync::mpsc;
use workflow::{Kind, State};

use super::{
    crash,
    cuts::cuts_of,
    hot::{Hot, Live},
    lane::Lane,
    mail::mail_of,
    msg::{Flight, Msg},
    present::{checkpoint_data, present, snapshot},
    start::key_taken,
    stuck, view, waits,
};

/// Pause before payloads are written again after the store was away.
const AWAY_AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Lane {
    /// Sends what every shard has gathered, unless its last group is still on its way.
    pub(crate) fn commit_dirty(&mut self) {
        self.take_back_held();
        let ready: Vec<u16> = self
            .shards
            .iter()
            .filter(|(_, s)| !s.in_flight && !s.dirty.is_empty())
            .map(|(shard, _)| *shard)
            .collect();
        for shard in ready {
            self.commit(shard);
        }
    }

    fn commit(&mut self, number: u16) {
        let Some(shard) = self.shards.get_mut(&number) else { return };
        let waiting = std::mem::take(&mut shard.dirty);
        let mut next_pos = shard.next_pos;
        let (rows_max, bytes_max) = (self.shared.limits.group_rows_max, self.shared.limits.group_bytes_max);
        let (mut items, mut flights, mut large) = (Vec::new(), Vec::new(), vec![]);
        let mut bytes = 0;
        let mut waiting = waiting.into_iter();
        let mut unread = Vec::new();
        while items.len() < rows_max && bytes < bytes_max {
            let Some(id) = waiting.next() else { break };
            let Some(hot) = self.hot.get_mut(&id) else { continue };
            if !self.shared.log_schemas.covers(&hot.pending.events) {
                tracing::warn!(execution = %id, "events wait until every replica reads them");
                unread.push(id);
                continue;
            }
            hot.dirty = false;
            if hot.pending.is_empty() {
                continue;
            }
            let (item, flight) =
                self.shared.item_of(hot, &mut next_pos, &mut large, self.workflow_watchers.len());
            bytes += item.bytes();
            items.push(item);
            flights.push(flight);
        }
        if let Some(shard) = self.shards.get_mut(&number) {
            // What did not fit is first in the next group.
            shard.dirty.splice(0..0, waiting);
            shard.unread.append(&mut unread);
        }
        if items.is_empty() {
            // Nothing to wait for after all: a release that waited for this group is done.
            return self.release_when_at_rest(number);
        }
        let shard = match self.shards.get_mut(&number) {
            Some(shard) => shard,
            None => return,
        };
        shard.next_pos = next_pos;
        shard.in_flight = true;
        let group = Group { by: self.me.clone(), shard: number, items };
        let (journal, tx) = (self.shared.journal.clone(), self.tx.clone());
        self.commits.push(Box::pin(async move {
            crash::point("before-commit");
            let result = match large.is_empty() {
                true => journal.commit(group).await,
                false => commit_with(large, group, journal.as_ref(), &tx).await,
            };
            crash::point("committed-not-acknowledged");
            Msg::Committed { shard: number, result, flights }
        }));
    }

    /// A group came back: what it held back may happen now.
    pub(crate) fn committed(
        &mut self,
        number: u16,
        result: Result<Vec<Outcome>, StoreError>,
        flights: Vec<Flight>,
    ) {
        if let Some(shard) = self.shards.get_mut(&number) {
            shard.in_flight = false;
        }
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(e) if e.ends_the_process() => return self.fatal(&e.to_string()),
            Err(e) => {
                // The journal was closed: nothing was written, nothing may be answered.
                tracing::warn!(error = %e, shard = number, "a group was not written");
                return;
            }
        };
        for (flight, outcome) in flights.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Committed => self.release(number, flight),
                Outcome::Rejected(rejection) => self.rejected(flight.id, rejection),
                Outcome::Failed(reason) => self.refused_by_store(flight.id, &reason),
            }
        }
        self.release_when_at_rest(number);
    }

    fn release_when_at_rest(&mut self, number: u16) {
        let rests = |s: &super::lane::Shard| s.release.is_some() && !s.in_flight && s.dirty.is_empty();
        if self.shards.get(&number).is_some_and(rests) {
            self.finish_release(number);
        }
    }

    fn release(&mut self, shard: u16, flight: Flight) {
        let id = flight.id;
        if let Some([before, after]) = flight.recount
            && let Some(shard) = self.shards.get_mut(&shard)
        {
            let mut change = stuck::counts_of(&[]);
            before.into_iter().for_each(|at| change[at] -= 1);
            after.into_iter().for_each(|at| change[at] += 1);
            shard.stuck.iter_mut().zip(&change).for_each(|(all, by)| *all += by);
            self.shared.metrics.stuck.add(&change, 1);
        }
        if flight.pos > 0
            && let Some(hot) = self.hot.get(&id)
        {
            self.shared.committed_rows(shard, flight.pos, &hot.tenant, &flight.publish);
        }
        for after in flight.after {
            after();
        }
        if let Some(links) = self.shared.links.get().filter(|_| !flight.mailed.is_empty()) {
            links.elsewhere.look(flight.mailed);
        }
        let Some(hot) = self.hot.get_mut(&id) else { return };
        hot.in_group = false;
        for (reply, started) in hot.in_start.drain(..) {
            let _ = reply.send(Ok(started));
        }
        if !flight.publish.is_empty() {
            let live = Live::Events(flight.publish.clone());
            Self::send_live(&mut hot.watchers, &live);
            if let Some(watchers) = self.workflow_watchers.get_mut(&hot.state.created().workflow_id) {
                Self::send_live(watchers, &live);
            }
        }
        let mut ended = false;
        for effect in flight.effects {
            match effect {
                workflow::Effect::Ended => ended = true,
                other => self.act(id, other),
            }
        }
        if ended {
            self.forget_ended(id);
        } else {
            self.look_back(id, flight.opened);
            self.after_release(id);
        }
    }

    /// Everybody who waits for the end is told, and the memory is given back.
    fn forget_ended(&mut self, id: ExecutionId) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if !hot.pending.is_empty() {
            // A late result came meanwhile: it is written first.
            hot.pending.effects.push(workflow::Effect::Ended);
            return;
        }
        let Some(mut hot) = self.hot.remove(&id) else { return };
        if !hot.waiters.is_empty() {
            let end = Arc::new(view::view(&hot.state, hot.state.time(), true, &|_| None));
            for waiter in hot.waiters.drain(..) {
                let _ = waiter.send(end.clone());
            }
        }
        Self::send_live(&mut hot.watchers, &Live::Ended);
        self.shared.metrics.ended(&hot.state);
        if !hot.state.created().settings.session.is_empty() {
            self.shared.session_ended.notify_one();
        }
        self.drop_place(&hot);
    }

    pub(crate) fn drop_place(&mut self, hot: &Hot) {
        self.idle.remove(&hot.id);
        if let Some(at) = hot.armed {
            self.wheel.remove(&(at, hot.id, None));
        }
        let Some(plan) = self.plans.remove(&hot.id) else { return };
        if hot.admitted {
            self.shared.admission.leave(&plan.claim(&hot.tenant));
        } else {
            self.shared.admission.forget(hot.id);
        }
    }

    /// The start lost a race: it never was.
    fn rejected(&mut self, id: ExecutionId, rejection: Rejection) {
        let Some(mut hot) = self.hot.remove(&id) else { return };
        let error = match rejection {
            Rejection::StartKeyTaken => key_taken(id),
            Rejection::ExclusiveTaken { by } => {
                let text = format!("workflow {} is already executing", hot.state.created().workflow_name);
                let mut error = Fault::new(base::ErrorCode::AlreadyExecuting, text);
                error.related.extend(by.map(|id| id.to_string()));
                error
            }
        };
        for (reply, _) in hot.in_start.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
        self.drop_place(&hot);
    }

    /// The database refuses what the execution wrote, for good: its memory is ahead of the disk and is dropped; it is
    /// read back and ended with the reason.
    fn refused_by_store(&mut self, id: ExecutionId, reason: &str) {
        tracing::error!(execution = %id, reason, "the store refused an execution's events");
        let Some(mut hot) = self.hot.remove(&id) else { return };
        self.drop_place(&hot);
        if !hot.in_start.is_empty() {
            let text = format!("the start cannot be stored: {reason}");
            for (reply, _) in hot.in_start.drain(..) {
                let _ = reply.send(Err(Fault::new(base::ErrorCode::InvalidArgument, text.clone())));
            }
            return;
        }
        // Refused again, its end included: it stays as it is on disk until a command or a restart brings it back.
        if !hot.refused {
            self.orphans.extend(hot.open.drain().map(|(call, open)| ((id, call), open)));
            self.load(id, hot.shard, Some(reason.to_owned()));
        }
    }
}

impl super::EngineShared {
    /// Takes what waits in an execution as one item of a group.
    fn item_of(
        &self,
        hot: &mut Hot,
        next_pos: &mut i64,
        large: &mut Vec<PayloadRow>,
        followers: usize,
    ) -> (Item, Flight) {
        let mut pending = std::mem::take(&mut hot.pending);
        let mut item = Item::new(hot.id, hot.tenant.clone());
        let mut flight = Flight {
            id: hot.id,
            effects: std::mem::take(&mut pending.effects),
            after: std::mem::take(&mut pending.after),
            publish: Arc::default(),
            pos: 0,
            mailed: Vec::new(),
            opened: Vec::new(),
            recount: None,
        };
        item.inbox_done = std::mem::take(&mut pending.inbox_done);
        let told = hot.told_stuck.clone();
        item.write = row_of(hot, &pending.events, pending.row);
        flight.recount = stuck::recount(told.as_ref(), hot.told_stuck.as_ref());
        item.cuts = cuts_of(hot, &flight.effects);
        item.mail = mail_of(hot, &pending.events, &flight.effects, self.limits.shards);
        flight.mailed = item.mail.iter().map(|row| row.shard).collect();
        (item.waits, flight.opened) = waits::changes(&hot.state, &pending.events, &mut hot.waits);
        if !pending.events.is_empty() {
            let first_seq = hot.grouped_seq + 1;
            let schema = schema_of(&pending.events);
            self.log_schemas.met(hot.shard, schema);
            let (body, found) = encode_row(&pending.events, self.limits.payload_inline_bytes_max);
            hot.bytes += body.len() as u64;
            large.extend(found.into_iter().map(|l| payload_row(hot, l)));
            item.log = Some(LogRow {
                first_seq: first_seq as i64,
                count: pending.events.len() as u32,
                pos: *next_pos,
                schema,
                body,
            });
            item.checkpoint = checkpoint_of(&pending.checkpoints, &pending.events, first_seq);
            flight.pos = *next_pos;
            *next_pos += 1;
            if self.publishes() || !hot.watchers.is_empty() || followers > 0 {
                let numbered = pending.events.iter().zip(first_seq..);
                // As history has it: a checkpoint says how things stood at it, whatever followed in this group.
                let at = |seq| pending.checkpoints.iter().find(|s| s.seq() == seq).unwrap_or(&hot.state);
                flight.publish =
                    Arc::new(numbered.flat_map(|(event, seq)| present(at(seq), seq, event)).collect());
            }
            hot.grouped_seq += pending.events.len() as u64;
            self.metrics.events(&hot.state, &pending.events);
            flight.after.extend(self.ended_operations(&hot.state, &pending.events, pending.ended));
        }
        hot.in_start.append(&mut pending.started);
        hot.in_group = true;
        (item, flight)
    }
}

/// Writes the payloads that a group names, then the group: a payload is on disk before the event that names it. Waits
/// as long as the store is away, as a commit does. An execution whose payloads are refused fails alone.
async fn commit_with(
    large: Vec<PayloadRow>,
    mut group: Group,
    journal: &dyn Journal,
    lane: &mpsc::Sender<Msg>,
) -> Result<Vec<Outcome>, StoreError> {
    let mut refused: HashMap<ExecutionId, String> = HashMap::new();
    match put_payloads(large.clone(), journal, lane).await {
        Err(StoreError::Refused(_)) => {
            let mut by_execution: HashMap<ExecutionId, Vec<PayloadRow>> = HashMap::new();
            large.into_iter().for_each(|row| by_execution.entry(row.execution_id).or_default().push(row));
            for (id, rows) in by_execution {
                match put_payloads(rows, journal, lane).await {
                    Err(StoreError::Refused(why)) => drop(refused.insert(id, why)),
                    other => other?,
                }
            }
        }
        other => other?,
    }
    let ids: Vec<ExecutionId> = group.items.iter().map(|item| item.execution_id).collect();
    group.items.retain(|item| !refused.contains_key(&item.execution_id));
    let written = if group.items.is_empty() { Vec::new() } else { journal.commit(group).await? };
    let mut written = written.into_iter();
    let outcome = |id| refused.remove(&id).map(Outcome::Failed).or_else(|| written.next());
    Ok(ids.into_iter().filter_map(outcome).collect())
}

/// Tries again while the store is away and the lane is there to hear of it.
async fn put_payloads(
    rows: Vec<PayloadRow>,
    journal: &dyn Journal,
    lane: &mpsc::Sender<Msg>,
) -> Result<(), StoreError> {
    loop {
        match journal.put_payloads(rows.clone()).await {
            Err(StoreError::Unavailable(why)) if !lane.is_closed() => {
                tracing::warn!(%why, "large payloads cannot be written; trying again");
                tokio::time::sleep(AWAY_AGAIN_AFTER).await;
            }
            other => return other,
        }
    }
}

fn payload_row(hot: &Hot, large: Large) -> PayloadRow {
    PayloadRow {
        tenant: hot.tenant.clone(),
        execution_id: hot.id,
        hash: large.hash,
        media_type: large.payload.media_type().to_string(),
        body: large.payload.bytes().clone(),
    }
}

/// The row in `executions`, when this group changes it: at creation, pause, resume, admission from the queue, parking
/// and end.
fn row_of(hot: &mut Hot, events: &[workflow::Event], asked: bool) -> Option<ExecutionWrite> {
    let state = &hot.state;
    let status = state.status();
    let ended = state.ended_at();
    let wake = match (status.is_final(), hot.parking) {
        (true, _) => Wake::OnCommand,
        (false, true) => state.next_timer(Timestamp::default()).map_or(Wake::OnCommand, Wake::At),
        (false, false) => Wake::Hot,
    };
    let Some(written) = hot.written else {
        hot.written = Some(status);
        let created = state.created();
        return Some(ExecutionWrite::Insert(Box::new(ExecutionInsert {
            workflow_id: created.workflow_id,
            workflow_name: created.workflow_name.to_string(),
            workflow_version: created.workflow_version.to_string(),
            status: Cow::Borrowed(status.as_str()),
            current_phase: state.current_phase().into(),
            request_hash: hot.request_hash,
            correlation_id: Some(&*created.correlation_id).filter(|id| !id.is_empty()).map(str::to_owned),
            priority: created.priority,
            started_at: state.created_at(),
            wake,
            completed_at: ended,
            summary: if ended.is_some() { summary(state) } else { candidates(state) },
            exclusive: hot.exclusive.clone().filter(|_| ended.is_none()),
        })));
    };
    let woke = !hot.parking && hot.was_parked && !events.is_empty();
    if written == status && !asked && !woke {
        return None;
    }
    hot.written = Some(status);
    hot.was_parked = hot.parking;
    hot.told_stuck = stuck::row_says(hot);
    let state = &hot.state;
    Some(ExecutionWrite::Update(Box::new(ExecutionUpdate {
        status: Cow::Borrowed(status.as_str()),
        current_phase: Some(state.current_phase().into()),
        wake,
        completed_at: ended,
        summary: summary(state),
        snapshot: None,
        release_exclusive: hot.exclusive.clone().filter(|_| status.is_final()),
        stuck: hot.told_stuck.clone(),
    })))
}

fn candidates(state: &State) -> Summary {
    let found = &state.created().candidates;
    let agents = (!found.is_empty()).then(|| serde_json::json!(found).to_string());
    Summary { allocated_agents: agents, ..Summary::default() }
}

fn summary(state: &State) -> Summary {
    let (m, spent) = (view::metrics(state, state.time()), state.spent());
    let agents: Vec<&str> = state.agents().map(|a| &**a).collect();
    // Executions with very many tasks keep their task states in the log alone.
    let tasks = (state.tasks().len() <= 1000).then(|| snapshot(state)["tasks"].to_string());
    Summary {
        allocated_agents: Some(serde_json::json!(agents).to_string()),
        task_states: tasks,
        performance_metrics: Some(
            serde_json::json!({
                "total_runtime_ms": m.runtime_ms,
                "agents_allocated": m.agents,
                "tasks_completed": m.completed,
                "tasks_total": m.total,
                "coordination_overhead": m.overhead,
                "agent_time_ms": m.agent_ms,
                "retries": m.retries,
                "spent": {
                    "calls": spent.calls, "tokens": spent.tokens, "money_micros": spent.money_micros,
                },
            })
            .to_string(),
        ),
    }
}

/// `states`: right after each checkpoint among the events.
fn checkpoint_of(states: &[State], events: &[workflow::Event], first_seq: u64) -> Option<CheckpointWrite> {
    let (seq, at, id) = (first_seq..)
        .zip(events)
        .filter_map(|(seq, event)| match &event.kind {
            Kind::Paused { checkpoint, .. } | Kind::Checkpoint { checkpoint } => {
                Some((seq, event.at, *checkpoint))
            }
            _ => None,
        })
        .last()?;
    let state = states.iter().find(|state| state.seq() == seq)?;
    let data = checkpoint_data(state, &id.to_string());
    Some(CheckpointWrite {
        checkpoint_id: id,
        seq: seq as i64,
        created_at: at,
        state_snapshot: data["state_snapshot"].to_string(),
        recovery_instructions: data["recovery_instructions"].to_string(),
    })
}
