//! Membership: the lease, and the shards that come and go.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use proto::executor::internal::v1 as pb;
use store::{
    Journal, StoreError,
    journal::{MemberId, Membership, Roster},
};
use tokio::time::Instant;

use super::{
    Inner,
    balance::{Moves, moves},
    map::{Member, ShardMap},
};
use crate::engine::LeaseGate;

/// The roster is looked at so much more often while shards move.
const HASTE: u32 = 6;

/// Renews the lease until stopped. The gate opens for two thirds of it, from before the renewal was sent.
pub(crate) async fn renew(
    journal: Arc<dyn Journal>,
    me: Membership,
    gate: LeaseGate,
    (lease, every): (Duration, Duration),
    fatal: Arc<dyn Fn(&str) + Send + Sync>,
) {
    loop {
        let sent = Instant::now();
        match tokio::time::timeout(lease, journal.renew(&me, lease)).await {
            Ok(Ok(())) => {
                gate.extend(sent + lease * 2 / 3);
                tokio::time::sleep_until(sent + every).await;
            }
            Ok(Err(e)) if e.ends_the_process() => return fatal(&e.to_string()),
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "the lease could not be renewed");
                tokio::time::sleep(every / 4).await;
            }
            Err(_) => tracing::warn!("the lease could not be renewed: the database does not answer"),
        }
    }
}

/// What the loop remembers.
#[derive(Default)]
pub(crate) struct Shards {
    /// Acquired by the engine.
    held: BTreeSet<u16>,
    /// Incarnations of dead members as we last ended them.
    ended: HashMap<MemberId, u64>,
    told: HashMap<Arc<str>, u64>,
    /// Members that take no shards, and until when they are not asked again.
    refused: HashMap<MemberId, Instant>,
    /// No living member takes what this one gives away.
    nobody_takes: bool,
    /// What the engine was last told that every living member reads.
    all_read: Option<u16>,
}

/// Looks at the roster again and again until stopped.
pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        let settled = inner.look().await;
        let pause = if settled { inner.options.renewal } else { inner.options.renewal / HASTE };
        tokio::select! {
            () = inner.stopped() => return,
            () = tokio::time::sleep(pause) => {}
            () = inner.nudge.notified() => {}
            () = inner.engine.beyond() => {}
        }
    }
}

impl Inner {
    /// Reads the roster and does what it asks for. `true`: everything is where it belongs.
    pub(crate) async fn look(&self) -> bool {
        let mut shards = self.shards.lock().await;
        match self.step(&mut shards).await {
            Ok(settled) => settled,
            Err(e) if e.ends_the_process() => {
                (self.fatal)(&e.to_string());
                false
            }
            Err(e) => {
                tracing::warn!(error = %e, "the roster could not be read");
                false
            }
        }
    }

    async fn step(&self, shards: &mut Shards) -> Result<bool, StoreError> {
        let mut roster = self.journal.roster().await?;
        self.check_own(&roster)?;
        shards.refused.retain(|_, until| *until > Instant::now());
        let leaving = self.is_leaving();
        let mut todo = self.moves(&roster, shards, leaving);
        if self.end_the_dead(&roster, &todo, shards).await? {
            roster = self.journal.roster().await?;
            todo = self.moves(&roster, shards, leaving);
        }
        shards.nobody_takes = leaving && todo.give.is_empty();
        let mut claimed = false;
        for shard in &todo.claim {
            claimed |= self.journal.claim(&self.me, *shard).await?;
        }
        if claimed {
            roster = self.journal.roster().await?;
        }
        // Before anything is read back: what it waits for depends on who is alive.
        self.tell_members(&roster, shards).await;
        self.follow(&roster, shards, leaving).await;
        self.publish_map(&roster, shards);
        if !todo.give.is_empty() && self.hand_over(todo.give, shards).await? {
            roster = self.journal.roster().await?;
            self.publish_map(&roster, shards);
        }
        let all_here = self.own(&roster).count();
        Ok(todo.settled && !claimed && all_here == shards.held.len())
    }

    fn check_own(&self, roster: &Roster) -> Result<(), StoreError> {
        let own = roster.members.iter().find(|m| m.id == self.me.id);
        match own {
            Some(own) if own.incarnation == self.me.incarnation => Ok(()),
            _ => Err(StoreError::Fenced),
        }
    }

    fn moves(&self, roster: &Roster, shards: &Shards, leaving: bool) -> Moves {
        let living: Vec<MemberId> = self.living(roster).map(|m| m.id.clone()).collect();
        let reads: HashMap<&MemberId, u16> = self.living(roster).map(|m| (&m.id, m.reads_up_to)).collect();
        let takes = |id: &MemberId, shard: u16| match *id == self.me.id {
            true => self.engine.reads(shard),
            false => {
                let reads = reads.get(id).copied().unwrap_or(0);
                reads >= self.engine.needs(shard) && !shards.refused.contains_key(id)
            }
        };
        moves(roster, &living, &self.me.id, &takes, leaving)
    }

    fn living<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = &'a store::journal::MemberRow> {
        // We are alive as long as we hold the lease, which is shorter on our clock than on the database's.
        roster.members.iter().filter(|m| m.alive || m.id == self.me.id)
    }

    /// Ends every incarnation whose lease has run out, so that it is really over before its calls count as lost, and
    /// takes our share of its shards. `true`: something changed.
    async fn end_the_dead(
        &self,
        roster: &Roster,
        todo: &Moves,
        shards: &mut Shards,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        for dead in roster.members.iter().filter(|m| !m.alive && m.id != self.me.id) {
            let limit = todo.take_over.iter().find(|(id, _)| *id == dead.id).map_or(0, |(_, limit)| *limit);
            let known = shards.ended.get(&dead.id) == Some(&dead.incarnation);
            if known && limit == 0 {
                continue;
            }
            let taken = self.journal.take_over(&self.me, &dead.id, limit).await?;
            if !taken.is_empty() {
                tracing::info!(member = %dead.id, shards = taken.len(), "took over shards of a dead replica");
            }
            changed = true;
        }
        if changed {
            let now = self.journal.roster().await?;
            for dead in now.members.iter().filter(|m| !m.alive && m.id != self.me.id) {
                shards.ended.insert(dead.id.clone(), dead.incarnation);
            }
        }
        shards.ended.retain(|id, _| roster.members.iter().any(|m| m.id == *id));
        Ok(changed)
    }

    async fn tell_members(&self, roster: &Roster, shards: &mut Shards) {
        let mut alive: HashMap<Arc<str>, u64> =
            self.living(roster).map(|m| (Arc::from(m.id.as_str()), m.incarnation)).collect();
        alive.insert(self.me.id.as_str().into(), self.me.incarnation);
        if alive != shards.told {
            self.engine.set_members(alive.clone()).await;
            shards.told = alive;
        }
        // The oldest build that is alive reads everything that is written.
        let reads = self.living(roster).map(|m| m.reads_up_to).min().unwrap_or(api::log::LOG_SCHEMA);
        if shards.all_read.replace(reads) != Some(reads) {
            tracing::info!(schema = reads, "every replica reads the log up to this schema");
            self.engine.set_reads_up_to(reads).await;
        }
    }

    /// Shards that the roster says are ours and that this build reads.
    fn own<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = u16> {
        let owners = (0u16..).zip(&roster.shards);
        let own = owners.filter(|(_, owner)| owner.as_ref() == Some(&self.me.id)).map(|(shard, _)| shard);
        own.filter(|shard| self.engine.reads(*shard))
    }

    /// Acquires what the roster says is ours, lets go what is not, and what this build cannot read.
    async fn follow(&self, roster: &Roster, shards: &mut Shards, leaving: bool) {
        let mine: BTreeSet<u16> = self.own(roster).collect();
        let lost: Vec<u16> = shards.held.difference(&mine).copied().collect();
        for shard in lost {
            self.let_go(shard, shards).await;
        }
        if leaving {
            return;
        }
        let new: Vec<u16> = mine.difference(&shards.held).copied().collect();
        let _settling = self.engine.settling();
        for shard in new {
            if let Err(error) = self.engine.acquire(shard).await {
                tracing::warn!(shard, %error, "a shard could not be taken; it is tried again");
                continue;
            }
            shards.held.insert(shard);
            self.took(shard);
        }
    }

    async fn let_go(&self, shard: u16, shards: &mut Shards) {
        self.leaves(shard);
        self.engine.release(shard).await;
        shards.held.remove(&shard);
    }

    /// Gives shards to members that take them: at rest here first, then on paper, then they are told.
    async fn hand_over(&self, give: Vec<(u16, MemberId)>, shards: &mut Shards) -> Result<bool, StoreError> {
        let mut accepts: HashMap<MemberId, bool> = HashMap::new();
        for (shard, to) in give {
            let accepted = match accepts.get(&to) {
                Some(known) => *known,
                None => {
                    let answer = self.offer(&to, false).await;
                    if answer == Some(false) {
                        shards.refused.insert(to.clone(), Instant::now() + self.options.lease);
                    }
                    accepts.insert(to.clone(), answer == Some(true));
                    answer == Some(true)
                }
            };
            if !accepted {
                continue;
            }
            if shards.held.contains(&shard) {
                self.let_go(shard, shards).await;
            }
            match self.journal.hand_over(&self.me, shard, &to).await {
                Ok(true) => tracing::info!(shard, %to, "handed a shard over"),
                // It stays ours and is acquired again.
                Ok(false) => {}
                Err(e) if e.ends_the_process() => return Err(e),
                Err(e) => tracing::warn!(shard, error = %e, "the outcome of a hand-over is unknown"),
            }
        }
        let moved = accepts.values().any(|a| *a);
        for to in accepts.iter().filter(|(_, accepted)| **accepted).map(|(to, _)| to) {
            self.offer(to, true).await;
        }
        Ok(moved)
    }

    /// Whether a member takes shards; `None`: it could not be asked.
    async fn offer(&self, to: &MemberId, moved: bool) -> Option<bool> {
        let member = self.map.load().member(to.as_str()).cloned()?;
        let request = pb::OfferShardsRequest { member_id: self.me.id.to_string(), moved };
        match self.others.offer(&member.address, request).await {
            Ok(accepts) => Some(accepts),
            Err(error) => {
                tracing::debug!(member = %to, %error, "a member could not be asked to take shards");
                None
            }
        }
    }

    fn publish_map(&self, roster: &Roster, shards: &Shards) {
        let living = self.living(roster).map(Member::of).collect();
        let map = ShardMap::new(roster, living, shards.held.clone());
        if **self.map.load() != map {
            self.map.store(Arc::new(map));
            self.map_changed.send_modify(|n| *n += 1);
        }
    }

    /// Lets everything go that is still here, without a successor.
    pub(crate) async fn let_all_go(&self) {
        let mut shards = self.shards.lock().await;
        for shard in std::mem::take(&mut shards.held) {
            self.let_go(shard, &mut shards).await;
        }
    }

    /// Whether shards are here, in memory or on paper.
    pub(crate) async fn owns_some(&self) -> bool {
        let held = !self.shards.lock().await.held.is_empty();
        let map = self.map.load();
        let me = map.members().iter().position(|m| *m.id == *self.me.id.as_str());
        held || me.is_some_and(|me| map.shards_of(me).next().is_some())
    }

    /// Whether another member may take what is left here: one that reads it and has not just refused.
    pub(crate) async fn has_heirs(&self) -> bool {
        !self.shards.lock().await.nobody_takes
    }
}
