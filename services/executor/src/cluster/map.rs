//! Who owns which shard, as this replica last read it.

use std::{collections::BTreeSet, sync::Arc};

use base::{AgentId, ExecutionId, WorkflowId};
use store::journal::{MemberRow, Roster};

/// A living replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; the same after a restart.
    pub id: Arc<str>,
    /// Its present life.
    pub incarnation: u64,
    /// `http://host:port` of its gRPC.
    pub address: String,
    /// Where it stands.
    pub region: String,
}

impl Member {
    pub(crate) fn of(row: &MemberRow) -> Self {
        Self {
            id: row.id.as_str().into(),
            incarnation: row.incarnation,
            address: row.address.clone(),
            region: row.region.clone(),
        }
    }
}

/// Where an execution is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By this replica.
    Here,
    /// By another one.
    At(Member),
    /// By nobody at the moment: its owner died or the shard is on its way.
    Nobody,
}

/// A snapshot; replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardMap {
    members: Vec<Member>,
    owners: Vec<Option<usize>>,
    here: BTreeSet<u16>,
}

impl ShardMap {
    /// `living`: by id. `here`: shards that this replica, called `me`, has in memory.
    pub(crate) fn new(roster: &Roster, living: Vec<Member>, here: BTreeSet<u16>) -> Self {
        let index = |id: &str| living.iter().position(|m| *m.id == *id);
        let owners = roster.shards.iter().map(|o| o.as_ref().and_then(|id| index(id.as_str()))).collect();
        Self { members: living, owners, here }
    }

    /// Living replicas by id, this one included.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
    /// A living replica.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|m| *m.id == *id)
    }
    /// Shards in all.
    pub fn shard_count(&self) -> u16 {
        self.owners.len() as u16
    }
    /// Shards that this replica has in memory.
    pub fn here(&self) -> &BTreeSet<u16> {
        &self.here
    }
    /// Shards of each member that has some or none, in the order of [`ShardMap::members`].
    pub fn shards_of(&self, member: usize) -> impl Iterator<Item = u16> {
        self.owners.iter().zip(0u16..).filter(move |(o, _)| **o == Some(member)).map(|(_, shard)| shard)
    }

    /// The owner of a shard.
    pub fn place(&self, shard: u16, me: &str) -> Place {
        if self.here.contains(&shard) {
            return Place::Here;
        }
        match self.owners.get(usize::from(shard)).copied().flatten().and_then(|i| self.members.get(i)) {
            // Ours on paper and not yet in memory: on its way.
            Some(member) if *member.id != *me => Place::At(member.clone()),
            _ => Place::Nobody,
        }
    }

    /// The shard of an execution.
    pub fn shard_of(&self, id: ExecutionId) -> u16 {
        id.shard(u32::from(self.shard_count())) as u16
    }
}

/// The shard whose owner lends the slots of an agent's instances.
pub(crate) fn shard_of_agent(agent: &AgentId, shards: u16) -> u16 {
    shard_of(agent.as_str().as_bytes(), shards)
}

/// The shard whose owner lends the places of a workflow that limits itself.
pub(crate) fn shard_of_workflow(workflow: WorkflowId, shards: u16) -> u16 {
    shard_of(workflow.as_bytes(), shards)
}

fn shard_of(id: &[u8], shards: u16) -> u16 {
    let hash = blake3::hash(id);
    let mut low = [0u8; 8];
    low.copy_from_slice(&hash.as_bytes()[..8]);
    (u64::from_le_bytes(low) % u64::from(shards.max(1))) as u16
}
