//! All agents in memory, following the list of changes; what every read and every watch is served from.
//!
//! A replica reads the changes after the last one it has seen: before it answers a request, when the bus says that
//! another replica wrote, and at an interval in case nothing said so. The list's revisions have no gaps and are in the
//! order of commits, so "everything up to revision r" is exact. When changes were pruned that this replica has not
//! seen, all agents are read again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use base::{AgentId, Tenant};
use store::{
    StoreError,
    registry::{Change, Changes},
};
use tokio::sync::{Mutex, watch};

use super::{
    board::AgentKey,
    repo::{Known, PAGE, Repo},
};

/// Changes of one tenant that a watch can be resumed from.
const RECENT_MAX: usize = 10_000;

/// What happened after a revision.
#[derive(Debug)]
pub(crate) enum Delta {
    /// The revision is too old, or not of this list: begin again with everything.
    Restart,
    /// Everything that is different now, up to `revision`.
    Changes {
        /// Where the caller stands after it.
        revision: u64,
        /// Agents that are new or different.
        changed: Vec<Arc<Known>>,
        /// Agents that are gone.
        removed: Vec<AgentId>,
    },
}

#[derive(Debug, Default)]
struct TenantAgents {
    agents: BTreeMap<AgentId, Arc<Known>>,
    recent: VecDeque<(u64, AgentId)>,
    /// Changes up to this revision are not in `recent` any more.
    floor: u64,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    /// Changes up to this revision were never seen by this process.
    floor: u64,
    tenants: HashMap<Tenant, TenantAgents>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Feed {
    repo: Repo,
    state: RwLock<State>,
    /// One reader of the list at a time.
    following: Mutex<()>,
    head: watch::Sender<u64>,
}

impl Feed {
    /// Reads everything.
    pub(crate) async fn open(repo: Repo) -> Result<Self, StoreError> {
        let feed =
            Self { repo, state: RwLock::default(), following: Mutex::new(()), head: watch::Sender::new(0) };
        feed.reload().await?;
        Ok(feed)
    }

    /// Tells when the revision rises.
    pub(crate) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Brings memory up to every change that was committed before this call. Returns the agents concerned.
    pub(crate) async fn catch_up(&self) -> Result<BTreeSet<AgentKey>, StoreError> {
        let _one = self.following.lock().await;
        let mut seen = BTreeSet::new();
        loop {
            let page = match self.repo.changes(self.revision()).await? {
                Changes::Since(page) => page,
                Changes::Gone => {
                    tracing::info!("changes were pruned; reading all agents again");
                    seen.extend(self.keys());
                    self.reload().await?;
                    seen.extend(self.keys());
                    return Ok(seen);
                }
            };
            if page.is_empty() {
                return Ok(seen);
            }
            let whole = page.len() < PAGE as usize;
            let keys: BTreeSet<AgentKey> =
                page.iter().map(|c| (c.tenant.clone(), c.agent_id.clone())).collect();
            let rows = self.repo.rows(keys.iter()).await?;
            self.apply(&page, &keys, rows);
            seen.extend(keys);
            if whole {
                return Ok(seen);
            }
        }
    }

    /// Reads these agents again without a change: what is not announced to watches is still shown by reads.
    pub(crate) async fn reread(&self, keys: &BTreeSet<AgentKey>) -> Result<(), StoreError> {
        let _one = self.following.lock().await;
        let rows = self.repo.rows(keys.iter()).await?;
        self.apply(&[], keys, rows);
        Ok(())
    }

    fn apply(&self, page: &[Change], keys: &BTreeSet<AgentKey>, rows: Vec<Known>) {
        let mut rows: HashMap<AgentKey, Known> = rows.into_iter().map(|r| (r.key(), r)).collect();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let floor = state.floor;
        for key in keys {
            let tenant = state.tenants.entry(key.0.clone()).or_insert_with(|| TenantAgents::new(floor));
            match rows.remove(key) {
                Some(known) => tenant.agents.insert(key.1.clone(), Arc::new(known)),
                None => tenant.agents.remove(&key.1),
            };
        }
        for change in page {
            state.revision = state.revision.max(change.revision);
            if let Some(tenant) = state.tenants.get_mut(&change.tenant) {
                tenant.remember(change.revision, change.agent_id.clone());
            }
        }
        let revision = state.revision;
        drop(state);
        self.head.send_if_modified(|head| std::mem::replace(head, revision) != revision);
    }

    async fn reload(&self) -> Result<(), StoreError> {
        // The head first: agents that change meanwhile are read again with their change.
        let head = self.repo.head().await?;
        let recent = self.recent(head).await?;
        let floor = recent.first().map_or(head, |c| c.revision - 1);
        let mut state = State { revision: head, floor, tenants: HashMap::new() };
        let mut after = None;
        loop {
            let (page, next) = self.repo.page(after.as_ref()).await?;
            for known in page {
                let tenant =
                    state.tenants.entry(known.tenant.clone()).or_insert_with(|| TenantAgents::new(floor));
                tenant.agents.insert(known.id.clone(), Arc::new(known));
            }
            match next {
                Some(key) => after = Some(key),
                None => break,
            }
        }
        for change in recent {
            let tenant = state.tenants.entry(change.tenant).or_insert_with(|| TenantAgents::new(floor));
            tenant.remember(change.revision, change.agent_id);
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.head.send_replace(head);
        Ok(())
    }

    /// The newest changes up to `head`: watches can be resumed across a restart of this replica.
    async fn recent(&self, head: u64) -> Result<Vec<Change>, StoreError> {
        let mut all: Vec<Change> = Vec::new();
        let mut after = head.saturating_sub(RECENT_MAX as u64);
        while after < head {
            match self.repo.changes(after).await? {
                // Pruned up to somewhere above: those that are left are not worth a search.
                Changes::Gone => return Ok(Vec::new()),
                Changes::Since(page) => {
                    let Some(last) = page.last() else { break };
                    after = last.revision;
                    all.extend(page.into_iter().filter(|c| c.revision <= head));
                }
            }
        }
        Ok(all)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision memory stands at.
    pub(crate) fn revision(&self) -> u64 {
        self.read().revision
    }

    /// One agent.
    pub(crate) fn get(&self, tenant: &Tenant, id: &AgentId) -> Option<Arc<Known>> {
        self.read().tenants.get(tenant)?.agents.get(id).cloned()
    }

    /// At most `limit` agents that `keep` takes, by id, after `after`.
    pub(crate) fn page(
        &self,
        tenant: &Tenant,
        after: Option<&AgentId>,
        limit: usize,
        keep: impl Fn(&Known) -> bool,
    ) -> Vec<Arc<Known>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let state = self.read();
        let Some(agents) = state.tenants.get(tenant).map(|t| &t.agents) else { return Vec::new() };
        let from = after.map_or(Unbounded, |id| Excluded(id.clone()));
        agents.range((from, Unbounded)).map(|(_, k)| k).filter(|k| keep(k)).take(limit).cloned().collect()
    }

    /// All agents of all tenants that `keep` takes.
    pub(crate) fn select(&self, keep: impl Fn(&Known) -> bool) -> Vec<Arc<Known>> {
        self.read().tenants.values().flat_map(|t| t.agents.values()).filter(|k| keep(k)).cloned().collect()
    }

    fn keys(&self) -> Vec<AgentKey> {
        self.read().tenants.values().flat_map(|t| t.agents.values()).map(|k| k.key()).collect()
    }

    /// All agents of a tenant, and the revision they stand at.
    pub(crate) fn snapshot(&self, tenant: &Tenant) -> (u64, Vec<Arc<Known>>) {
        let state = self.read();
        let agents = state.tenants.get(tenant).map(|t| t.agents.values().cloned().collect());
        (state.revision, agents.unwrap_or_default())
    }

    /// What is different from revision `from` on.
    pub(crate) fn delta(&self, tenant: &Tenant, from: u64) -> Delta {
        let state = self.read();
        let floor = state.tenants.get(tenant).map_or(state.floor, |t| t.floor);
        if from > state.revision || from < floor {
            return Delta::Restart;
        }
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        if let Some(tenant) = state.tenants.get(tenant) {
            let at = tenant.recent.partition_point(|(revision, _)| *revision <= from);
            let ids: BTreeSet<&AgentId> = tenant.recent.range(at..).map(|(_, id)| id).collect();
            for id in ids {
                match tenant.agents.get(id) {
                    Some(known) => changed.push(known.clone()),
                    None => removed.push(id.clone()),
                }
            }
        }
        Delta::Changes { revision: state.revision, changed, removed }
    }
}

impl TenantAgents {
    fn new(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    fn remember(&mut self, revision: u64, id: AgentId) {
        self.recent.push_back((revision, id));
        while self.recent.len() > RECENT_MAX {
            if let Some((dropped, _)) = self.recent.pop_front() {
                self.floor = dropped;
            }
        }
    }
}
