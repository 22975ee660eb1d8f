//! Which replica looks after which agent: rendezvous hashing over the replicas whose lease runs.
//!
//! Two replicas that see different members for a moment may both look after an agent, or neither does for one renewal:
//! probes are harmless and heartbeats come again, so nothing more is needed.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base::{AgentId, Tenant};
use store::StoreError;

use super::App;

const PREFIX: &str = "replica/";
/// A replica that is silent for this long is gone.
const LEASE: Duration = Duration::from_secs(10);
const RENEWAL: Duration = Duration::from_secs(3);

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    /// Its gRPC address; empty when it cannot be reached from outside its process.
    pub(crate) address: String,
}

/// The replicas that live, this one included.
#[derive(Debug)]
pub(crate) struct Ring {
    me: Member,
    members: RwLock<Vec<Member>>,
    /// There can be others: the database is shared.
    shared: bool,
}

impl Ring {
    /// This replica alone; `shared` when others may come.
    pub(crate) fn new(id: String, address: String, shared: bool) -> Self {
        let me = Member { id, address };
        Self { members: RwLock::new(vec![me.clone()]), me, shared }
    }

    /// Name of this replica.
    pub(crate) fn me(&self) -> &str {
        &self.me.id
    }

    /// The other replicas.
    pub(crate) fn others(&self) -> Vec<Member> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.iter().filter(|m| m.id != self.me.id).cloned().collect()
    }

    /// The replica that looks after an agent.
    pub(crate) fn owner(&self, tenant: &Tenant, agent: &AgentId) -> Member {
        self.highest(&format!("{tenant}/{agent}"))
    }

    /// Whether this replica looks after an agent.
    pub(crate) fn owns(&self, tenant: &Tenant, agent: &AgentId) -> bool {
        !self.shared || self.owner(tenant, agent).id == self.me.id
    }

    /// Whether this replica does a job that only one does.
    pub(crate) fn leads(&self, job: &str) -> bool {
        !self.shared || self.highest(job).id == self.me.id
    }

    fn highest(&self, key: &str) -> Member {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let weight = |member: &Member| *blake3::hash(format!("{}\n{key}", member.id).as_bytes()).as_bytes();
        members.iter().max_by_key(|m| weight(m)).unwrap_or(&self.me).clone()
    }

    /// Replaces the members; this one always counts. `true` when they differ.
    fn set(&self, mut living: Vec<Member>) -> bool {
        living.retain(|m| m.id != self.me.id);
        living.push(self.me.clone());
        living.sort_by(|a, b| a.id.cmp(&b.id));
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let differs = *members != living;
        *members = living;
        differs
    }
}

/// Renews this replica's lease and follows the others, until the process stops.
pub(crate) async fn run(app: Arc<App>) -> anyhow::Result<()> {
    if !app.ring.shared {
        return Ok(());
    }
    loop {
        match app.renew().await {
            Ok(true) => {
                tracing::info!(others = ?app.ring.others(), "the replicas of the registry changed");
                app.sync_all();
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the lease of this replica was not renewed"),
        }
        tokio::select! {
            () = tokio::time::sleep(RENEWAL) => {}
            () = app.drain.draining() => break,
        }
    }
    app.repo.store().db().release_leases(&app.ring.holder()).await?;
    Ok(())
}

impl Ring {
    fn holder(&self) -> String {
        format!("{} {}", self.me.id, self.me.address)
    }
}

impl App {
    async fn renew(&self) -> Result<bool, StoreError> {
        let db = self.repo.store().db();
        let name = format!("{PREFIX}{}", self.ring.me.id);
        db.lease(&name, &self.ring.holder(), LEASE).await?;
        let living = db.leases(PREFIX).await?.into_iter().map(|(name, holder)| Member {
            id: name.trim_start_matches(PREFIX).to_owned(),
            address: holder.split_once(' ').map(|(_, address)| address.to_owned()).unwrap_or_default(),
        });
        Ok(self.ring.set(living.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member { id: id.into(), address: String::new() }
    }

    #[test]
    fn every_agent_has_one_owner_and_few_move_when_a_replica_goes() {
        let rings: Vec<Ring> = ["a", "b", "c"].map(|id| Ring::new(id.into(), String::new(), true)).into();
        let all: Vec<Member> = ["a", "b", "c"].map(member).into();
        for ring in &rings {
            assert!(ring.set(all.clone()) && !ring.set(all.clone()));
        }
        let tenant = Tenant::default();
        let agents: Vec<AgentId> = (0..300).map(|i| AgentId::new(format!("agent-{i}")).unwrap()).collect();
        let before: Vec<String> = agents.iter().map(|a| rings[0].owner(&tenant, a).id).collect();
        for (agent, owner) in agents.iter().zip(&before) {
            let owners: Vec<&str> = rings.iter().filter(|r| r.owns(&tenant, agent)).map(Ring::me).collect();
            assert_eq!(owners, [owner.as_str()]);
        }
        rings[0].set(vec![member("b")]);
        for (agent, owner) in agents.iter().zip(&before).filter(|(_, o)| *o != "c") {
            assert_eq!(&rings[0].owner(&tenant, agent).id, owner, "only what c had moves");
        }
        assert_eq!(rings[0].others(), [member("b")]);
        let alone = Ring::new("x".into(), String::new(), false);
        assert!(agents.iter().all(|a| alone.owns(&tenant, a)) && alone.leads("events"));
    }
}
