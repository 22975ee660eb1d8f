//! This replica among others: membership and shards, the way of results and events, slots, commands that wait.
//!
//! A lone replica on SQLite takes the same way: it owns every shard at once, holds its lease for ever and lends to
//! itself. Start it in this order: [`Seat::join`], the engine with [`Seat::me`] and [`Seat::publisher`],
//! [`Seat::start`].

mod balance;
mod courier;
mod inbox;
mod lending;
mod map;
mod members;
mod orders;
mod others;
mod places;
mod publish;
pub(crate) mod replay;
mod serve;
mod slots;
mod sweep;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use base::{Clock, ExecutionId};
use bus::{Bus, Keys};
use store::{
    Journal,
    journal::{Join, MemberId, Membership},
};
use tokio::{
    sync::{Mutex, Notify, mpsc, watch},
    task::JoinSet,
};

use crate::engine::{Engine, LeaseGate, Links, Publisher};
use courier::{Courier, Errand};
use publish::{Order, StreamPublisher};
use replay::{Encoder, Row};

pub use map::{Member, Place, ShardMap};
pub use others::{Dialled, Others};

/// Bounds and names. Every one is a setting.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this replica; the same after a restart.
    pub member_id: String,
    /// Where other replicas reach it.
    pub address: String,
    /// Region.
    pub region: String,
    /// Cluster, in positions of events.
    pub cluster: String,
    /// Shards in all.
    pub shards: u16,
    /// A replica silent for this long loses its shards.
    pub lease: Duration,
    /// How often the lease is renewed and the roster read.
    pub renewal: Duration,
    /// Names of the streams.
    pub keys: Keys,
    /// Partitions of the event stream.
    pub partitions: u32,
    /// Whether events are published at all. Without it the log alone has them.
    pub publish: bool,
    /// Committed rows that wait in memory for the bus; more are read from the log later.
    pub publish_rows_max: usize,
    /// Largest message on the bus, in bytes.
    pub message_bytes_max: usize,
    /// Deliveries of a wake-up before it is given up.
    pub deliveries_max: u32,
    /// A wake-up that was not acknowledged for this long is handed out again.
    pub claim_after: Duration,
    /// How often the inbox is read without a wake-up.
    pub inbox_every: Duration,
    /// How often executions whose timer has passed are looked for.
    pub sweep_every: Duration,
    /// Ended executions are deleted after this long; `None` = never.
    pub retention: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            member_id: "executor".into(),
            address: String::new(),
            region: "local".into(),
            cluster: "local".into(),
            shards: 64,
            lease: Duration::from_secs(5),
            renewal: Duration::from_millis(1500),
            keys: Keys::default(),
            partitions: 16,
            publish: true,
            publish_rows_max: 16_384,
            message_bytes_max: (1 << 20) - (16 << 10),
            deliveries_max: 5,
            claim_after: Duration::from_secs(30),
            inbox_every: Duration::from_secs(2),
            sweep_every: Duration::from_secs(1),
            retention: None,
        }
    }
}

/// A member that has joined and does not work yet.
pub struct Seat {
    options: Options,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    fatal: Arc<dyn Fn(&str) + Send + Sync>,
    me: Membership,
    lease: LeaseGate,
    publisher: Option<(Arc<StreamPublisher>, mpsc::Receiver<Row>)>,
    renewal: JoinSet<()>,
}

impl Seat {
    /// Begins a new life of this member and keeps its lease. `fatal` ends the process at once: the member is fenced.
    ///
    /// # Errors
    /// When the store is away, has another number of shards, or the name is none.
    pub async fn join(
        options: Options,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        fatal: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> anyhow::Result<Self> {
        journal.ensure_shards(options.shards).await?;
        // Nobody else can open the file of a lone replica: its lease needs no renewal, and what a predecessor of
        // another name left behind is free at once.
        let alone = journal.backend() == "sqlite";
        let lease = if alone { LeaseGate::always() } else { LeaseGate::closed() };
        let sent = tokio::time::Instant::now();
        let me = journal
            .join(Join {
                id: MemberId::new(&options.member_id)?,
                address: options.address.clone(),
                lease: if alone { Duration::from_millis(1) } else { options.lease },
                reads_up_to: api::log::LOG_SCHEMA,
                region: options.region.clone(),
                cluster: options.cluster.clone(),
            })
            .await?;
        lease.extend(sent + options.lease * 2 / 3);
        let mut renewal = JoinSet::new();
        if !alone {
            let times = (options.lease, options.renewal);
            renewal.spawn(members::renew(journal.clone(), me.clone(), lease.clone(), times, fatal.clone()));
        }
        let publisher =
            options.publish.then(|| StreamPublisher::new(options.shards, options.publish_rows_max));
        Ok(Self { options, journal, clock, fatal, me, lease, publisher, renewal })
    }

    /// Who we are.
    pub fn me(&self) -> &Membership {
        &self.me
    }

    /// What the engine hands committed rows to.
    pub fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        let (publisher, _) = self.publisher.as_ref()?;
        Some(publisher.clone())
    }

    /// Ties the engine to the others and takes the first shards: a lone replica has them all when this returns.
    pub async fn start(self, engine: Engine, bus: Arc<dyn Bus>, others: Arc<dyn Others>) -> Cluster {
        let Self { options, journal, clock, fatal, me, lease, publisher, renewal } = self;
        let (courier, errands) = Courier::new();
        engine.connect(Links { lease: lease.clone(), elsewhere: courier.clone() });
        let (orders, ordered) = mpsc::unbounded_channel();
        let (publisher, rows) = publisher.unzip();
        let inner = Arc::new(Inner {
            alone: journal.backend() == "sqlite",
            map: ArcSwap::default(),
            map_changed: watch::channel(0).0,
            shards: Mutex::default(),
            nudge: Notify::new(),
            leaving: AtomicBool::new(false),
            stop: watch::channel(false).0,
            lending: lending::Books::default(),
            inbox: inbox::Wanted::default(),
            orders: publisher.as_ref().map(|_| orders),
            options,
            journal,
            clock,
            fatal,
            me,
            lease,
            engine,
            bus,
            others,
            courier,
        });
        if !inner.alone {
            // Until it is known who else is here.
            inner.engine.set_lent(Some(std::collections::HashMap::new()));
            inner.engine.set_lent_places(Some(std::collections::HashMap::new()));
        }
        let mut tasks = renewal;
        if let (Some(publisher), Some(rows)) = (publisher, rows) {
            tasks.spawn(publish::run(inner.clone(), publisher, rows, ordered));
        }
        inner.look().await;
        spawn(&mut tasks, &inner, errands);
        Cluster { inner, tasks: Arc::new(Mutex::new(tasks)) }
    }
}

fn spawn(tasks: &mut JoinSet<()>, inner: &Arc<Inner>, errands: mpsc::UnboundedReceiver<Errand>) {
    tasks.spawn(members::run(inner.clone()));
    tasks.spawn(courier::run(inner.clone(), errands));
    tasks.spawn(lending::run(inner.clone()));
    tasks.spawn(inbox::run(inner.clone()));
    tasks.spawn(inbox::listen(inner.clone()));
    tasks.spawn(sweep::run(inner.clone()));
}

/// What the tasks of this replica share.
pub(crate) struct Inner {
    pub(crate) options: Options,
    /// Nobody else can ever join.
    pub(crate) alone: bool,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fatal: Arc<dyn Fn(&str) + Send + Sync>,
    pub(crate) me: Membership,
    pub(crate) lease: LeaseGate,
    pub(crate) engine: Engine,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) others: Arc<dyn Others>,
    pub(crate) courier: Arc<Courier>,
    pub(crate) map: ArcSwap<ShardMap>,
    pub(crate) map_changed: watch::Sender<u64>,
    pub(crate) shards: Mutex<members::Shards>,
    /// Look at the roster now.
    pub(crate) nudge: Notify,
    pub(crate) leaving: AtomicBool,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) lending: lending::Books,
    pub(crate) inbox: inbox::Wanted,
    orders: Option<mpsc::UnboundedSender<Order>>,
}

impl Inner {
    /// Waits until the cluster stops.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        let _ = stop.wait_for(|stopped| *stopped).await;
    }

    pub(crate) fn place_of(&self, id: ExecutionId) -> Place {
        let map = self.map.load();
        map.place(map.shard_of(id), self.me.id.as_str())
    }

    pub(crate) fn look_again(&self) {
        self.nudge.notify_one();
    }

    pub(crate) fn encoder(&self) -> Encoder {
        Encoder {
            cluster: self.options.cluster.as_str().into(),
            incarnation: self.me.incarnation,
            bytes_max: self.options.message_bytes_max,
        }
    }

    /// Whether this replica takes nothing any more and gives everything away.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// A shard has come.
    pub(crate) fn took(&self, shard: u16) {
        self.order(Order::Acquire(shard));
        self.lending.took(shard);
        self.inbox.look(shard);
    }

    /// A shard is about to go.
    pub(crate) fn leaves(&self, shard: u16) {
        self.lending.leaves(shard, self.options.shards);
        self.order(Order::Release(shard));
    }

    pub(crate) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

/// This replica among others. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Cluster {
    /// Who owns which shard.
    pub fn shard_map(&self) -> Arc<ShardMap> {
        self.inner.map.load_full()
    }

    /// Where an execution is looked after.
    pub fn owner_of(&self, id: ExecutionId) -> Place {
        self.inner.place_of(id)
    }

    /// Waits until the map is another than it was.
    pub fn map_changes(&self) -> watch::Receiver<u64> {
        self.inner.map_changed.subscribe()
    }

    /// Reads the roster now instead of soon: somebody said that we are wrong.
    pub fn refresh(&self) {
        self.inner.look_again();
    }

    /// The lease, for what answers without the engine.
    pub fn lease(&self) -> LeaseGate {
        self.inner.lease.clone()
    }

    /// Gives all shards to the others, waits at most `grace` for calls of this process and their results to arrive,
    /// publishes what is left, and leaves. Without others that take them (there are none, or they are leaving too) the
    /// shards are free afterwards, and whoever comes next asks the agents of calls that still ran.
    pub async fn drain(&self, grace: Duration) {
        let inner = &self.inner;
        let deadline = tokio::time::Instant::now() + grace;
        inner.leaving.store(true, Ordering::Relaxed);
        let gone = async {
            while inner.owns_some().await {
                inner.look().await;
                if inner.calls_in_flight() == 0 && !inner.has_heirs().await {
                    return;
                }
                tokio::time::sleep(DRAIN_POLL).await;
            }
            while inner.calls_in_flight() > 0 || inner.courier.open() > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        };
        if tokio::time::timeout_at(deadline, gone).await.is_err() {
            tracing::warn!(
                calls = inner.calls_in_flight(),
                "calls still run; the next owner will ask for them"
            );
        }
        inner.flush(FLUSH_WITHIN).await;
        inner.let_all_go().await;
        inner.flush(FLUSH_WITHIN).await;
        let left = tokio::time::timeout(FLUSH_WITHIN, inner.journal.leave(&inner.me)).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::warn!("could not leave in order; others notice when the lease has run out");
        }
        inner.stop.send_replace(true);
        self.tasks.lock().await.shutdown().await;
    }
}

/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How long the last events may take to the bus, and the last word to the database.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

impl Inner {
    fn calls_in_flight(&self) -> u32 {
        self.engine.load()[4]
    }

    /// Waits until what was committed is on the bus and marked.
    async fn flush(&self, within: Duration) {
        if self.orders.is_none() {
            return;
        }
        let (reply, done) = tokio::sync::oneshot::channel();
        self.order(Order::Flush(reply));
        if tokio::time::timeout(within, done).await.is_err() {
            tracing::warn!("the bus did not take the last events; the next owner publishes them");
        }
    }
}
