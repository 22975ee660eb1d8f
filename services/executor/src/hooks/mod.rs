//! Hooks: what is done when something happens to an execution.
//!
//! - [`Book`]: the hooks, changed here, and known on every replica as a local snapshot.
//! - `gate`: hooks before a call leaves; a call waits for them only when one matches.
//! - `feed`: reads the events of own shards as they are committed, and from the log what it missed, and writes down which
//!   hooks they ask for. The event is the request: nothing is lost between the two, and a repeat finds the same request.
//! - `queue`: runs what was written down, woken by the stream `orchestra:hooks:{partition}`.
//! - `runner`: the hooks of one request, one after the other.
//! - `act`: what a hook does.

pub mod act;
mod book;
mod door;
mod feed;
pub mod gate;
mod memory;
mod queue;
mod runner;
mod settings;

use std::{sync::Arc, time::Duration};

use base::{Clock, ExecutionId, Tenant};
use bus::{Bus, Keys};
use store::{
    Journal,
    hooks::{Claimant, HookStore},
    journal::Membership,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    cluster::Cluster,
    engine::{Command, Engine},
};
use act::Actions;
use feed::Feed;

pub use book::{Book, HookChange, RunQuery};
pub use door::HookDoor;
pub use memory::SessionMemory;

/// Bounds and permissions. Every one is a setting.
#[derive(Clone, Debug)]
pub struct HookOptions {
    /// What hooks may do.
    pub actions: act::ActionOptions,
    /// Longest timeout of a hook.
    pub timeout_max: Duration,
    /// Hooks of one tenant.
    pub hooks_max: u64,
    /// How often changes made on other replicas are looked for.
    pub refresh_every: Duration,
    /// Hooks of this replica that run at once: so many before calls, and as many others.
    pub concurrency: usize,
    /// Runs are kept this long after their end.
    pub retention: Duration,
    /// Largest input or output that hooks are told, in bytes; larger ones are left out.
    pub payload_bytes_max: usize,
    /// Names of the streams.
    pub keys: Keys,
    /// Partitions of the stream of wake-ups.
    pub partitions: u32,
    /// Deliveries of a wake-up before it is dropped: the request is found without it.
    pub deliveries_max: u32,
    /// A wake-up that was not acknowledged for this long comes again.
    pub claim_after: Duration,
    /// How often requests are looked for without a wake-up.
    pub sweep_every: Duration,
    /// How often runs whose time is over are deleted.
    pub forget_every: Duration,
    /// Cluster, in positions of events.
    pub cluster: String,
}

impl Default for HookOptions {
    fn default() -> Self {
        Self {
            actions: act::ActionOptions::default(),
            timeout_max: Duration::from_secs(300),
            hooks_max: 1000,
            refresh_every: Duration::from_secs(1),
            concurrency: 32,
            retention: Duration::from_secs(7 * 24 * 3600),
            payload_bytes_max: 256 << 10,
            keys: Keys::default(),
            partitions: 16,
            deliveries_max: 5,
            claim_after: Duration::from_secs(30),
            sweep_every: Duration::from_secs(2),
            forget_every: Duration::from_secs(60),
            cluster: "local".into(),
        }
    }
}

/// What the parts share.
pub(crate) struct Inner {
    pub(crate) options: HookOptions,
    pub(crate) store: HookStore,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) book: Arc<Book>,
    pub(crate) actions: Actions,
    pub(crate) memory: Option<Arc<dyn SessionMemory>>,
    pub(crate) me: Claimant,
    pub(crate) owner: Arc<dyn Owner>,
    pub(crate) queue: queue::Wanted,
    /// Places for hooks that calls wait for, and for the others.
    pub(crate) permits: [Semaphore; 2],
    pub(crate) stop: watch::Sender<bool>,
}

impl Inner {
    pub(crate) async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// Which shards are here, and the way to executions wherever they are.
#[async_trait::async_trait]
pub trait Owner: Send + Sync + 'static {
    /// The shards that are here.
    fn shards(&self) -> Vec<u16>;
    /// Shards in all.
    fn shard_count(&self) -> u16;
    /// Told when the shards that are here may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
    /// Has an execution cancelled. On disk when this returns; the same `command` takes effect once.
    ///
    /// # Errors
    /// The store is away.
    async fn cancel(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
        reason: &str,
        by: &str,
        command: Uuid,
    ) -> Result<(), api::Fault>;
}

#[async_trait::async_trait]
impl Owner for Cluster {
    fn shards(&self) -> Vec<u16> {
        self.shard_map().here().iter().copied().collect()
    }
    fn shard_count(&self) -> u16 {
        self.shard_map().shard_count()
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.map_changes()
    }
    async fn cancel(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
        reason: &str,
        by: &str,
        command: Uuid,
    ) -> Result<(), api::Fault> {
        let cancel = Command::Cancel { reason: reason.to_owned() };
        self.leave_command(tenant, id, &cancel, by, command).await
    }
}

/// What hooks are started with.
pub struct HookParts {
    /// Bounds.
    pub options: HookOptions,
    /// The log and the tables of hooks.
    pub journal: Arc<dyn Journal>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Carries wake-ups.
    pub bus: Arc<dyn Bus>,
    /// Whose calls wait for hooks.
    pub engine: Engine,
    /// Which shards are here.
    pub owner: Arc<dyn Owner>,
    /// Who we are.
    pub me: Membership,
    /// Where sessions are kept; `None`: they are not.
    pub memory: Option<Arc<dyn SessionMemory>>,
}

/// The hooks of one replica. Cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    inner: Arc<Inner>,
    tasks: Arc<tokio::sync::Mutex<JoinSet<()>>>,
}

impl Hooks {
    /// Reads the hooks, puts the gate before the engine's calls, and starts to follow events.
    ///
    /// # Errors
    /// The store is away; the webhook client cannot be made.
    pub async fn start(parts: HookParts) -> anyhow::Result<Self> {
        let HookParts { options, journal, clock, bus, engine, owner, me, memory } = parts;
        let store = HookStore::new(journal.tables());
        let rules = options.actions.rules(&options, memory.is_some());
        let book = Arc::new(Book::new(store.clone(), clock.clone(), rules, options.hooks_max));
        let actions = Actions::new(options.actions.clone(), &engine, clock.clone(), memory.clone())?;
        let inner = Arc::new(Inner {
            store,
            journal,
            clock,
            bus,
            book,
            actions,
            memory,
            me: Claimant { member: me.id.as_str().to_owned(), incarnation: me.incarnation },
            owner,
            queue: queue::Wanted::default(),
            permits: std::array::from_fn(|_| Semaphore::new(options.concurrency.max(1))),
            stop: watch::channel(false).0,
            options,
        });
        inner.book.refresh().await?;
        let (feed, tap) = Feed::new(&inner, &engine);
        engine.use_hooks(Arc::new(gate::Gate::new(inner.clone())), tap);
        let mut tasks = JoinSet::new();
        tasks.spawn(feed.run());
        tasks.spawn(queue::run(inner.clone()));
        tasks.spawn(queue::listen(inner.clone()));
        tasks.spawn(queue::forget(inner.clone()));
        Ok(Self { inner, tasks: Arc::new(tokio::sync::Mutex::new(tasks)) })
    }

    /// The hooks themselves.
    pub fn book(&self) -> Arc<Book> {
        self.inner.book.clone()
    }

    /// Lets running hooks go and stops. What has not ended is run by the next owner.
    pub async fn stop(&self) {
        self.inner.stop.send_replace(true);
        self.tasks.lock().await.shutdown().await;
    }
}
