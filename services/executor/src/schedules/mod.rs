//! Schedules: executions that start by the clock.
//!
//! A schedule is a row; the owner of its shard looks at it when it is due. What is due is decided by the pure crate
//! `schedule`; each start has an id made of schedule and time, so a replica that dies between starting and storing, or two
//! that both believe to be the owner, start it once.

mod app;
mod fire;
pub(crate) mod grpc;
mod model;

use std::{sync::Arc, time::Duration};

use base::{Clock, ExecutionId, Tenant, Timestamp};
use proto::executor::v1::schedule_service_server::ScheduleService;
use runtime::{Drain, Metrics};
use store::{
    Journal,
    schedules::{ScheduleRow, ScheduleStore},
    topics::SyncedPlan,
};
use tokio::{sync::Notify, task::JoinSet};
use uuid::Uuid;
use workflow::plan::Trigger;

use crate::{cluster::Cluster, engine::Engine, plan_sync::id_of, starts::Starts};
use model::Progress;

/// Bounds. Every one is a setting.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether schedules fire and can be made.
    pub enabled: bool,
    /// Shards of the cluster.
    pub shards: u16,
    /// How far missed times are made up for, when a schedule does not say.
    pub catch_up: Duration,
    /// Longest pause between two looks.
    pub poll_interval: Duration,
    /// Most times of one backfill.
    pub backfill_max: usize,
}

/// What schedules need from the rest of the replica.
pub struct Parts {
    /// The journal and its tables.
    pub journal: Arc<dyn Journal>,
    /// Who owns which shard.
    pub cluster: Cluster,
    /// The engine, to ask whether a workflow exists.
    pub engine: Engine,
    /// Starts and cancels executions.
    pub starts: Arc<dyn Starts>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ends with the process.
    pub drain: Drain,
    /// Where counters go.
    pub metrics: Metrics,
}

struct Inner {
    options: Options,
    journal: Arc<dyn Journal>,
    store: ScheduleStore,
    cluster: Cluster,
    engine: Engine,
    starts: Arc<dyn Starts>,
    clock: Arc<dyn Clock>,
    drain: Drain,
    /// Something may be due earlier than was thought.
    nudge: Notify,
    started: runtime::Counter,
    skipped: runtime::Counter,
    failed: runtime::Counter,
}

/// The schedules of this replica. Cheap to clone.
#[derive(Clone)]
pub struct Schedules(Arc<Inner>, Arc<std::sync::Mutex<JoinSet<()>>>);

impl Schedules {
    /// Makes the parts and starts looking. Switched off, nothing fires and what exists can be read.
    pub fn start(options: Options, parts: Parts) -> Self {
        let Parts { journal, cluster, engine, starts, clock, drain, metrics } = parts;
        let counter = |name: &str, help: &str| metrics.counter(name, help);
        let inner = Arc::new(Inner {
            store: ScheduleStore::new(journal.tables()),
            started: counter("orchestra.schedules.started", "Executions that schedules started"),
            skipped: counter("orchestra.schedules.skipped", "Times of schedules that started nothing"),
            failed: counter("orchestra.schedules.failed", "Times of schedules whose start was refused"),
            nudge: Notify::new(),
            options,
            journal,
            cluster,
            engine,
            starts,
            clock,
            drain,
        });
        let mut tasks = JoinSet::new();
        if inner.options.enabled {
            tasks.spawn(fire::run(inner.clone()));
        }
        Self(inner, Arc::new(std::sync::Mutex::new(tasks)))
    }

    /// The public contract over these schedules.
    pub fn door(&self) -> impl ScheduleService + Clone + use<> {
        grpc::ScheduleDoor::new(self.clone())
    }

    /// Ends what works beside requests, at once.
    pub fn stop(&self) {
        self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner).abort_all();
    }
}

/// The shard that looks after a schedule.
fn shard_of(id: Uuid, shards: u16) -> u16 {
    ExecutionId::new(id).shard(u32::from(shards)) as u16
}

/// The execution of a time.
fn execution_of(tenant: &Tenant, id: Uuid, at: Timestamp) -> ExecutionId {
    let name = format!("schedule/{tenant}/{id}/{}", at.micros());
    ExecutionId::new(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
}

/// The row of a schedule that stands in a definition. A plan that fires never is refused.
pub(crate) fn row_of_plan(
    plan: &SyncedPlan,
    trigger: &Trigger,
    spec: schedule::Spec,
    shards: u16,
    now: Timestamp,
) -> Result<ScheduleRow, api::Fault> {
    let id = id_of("schedule", &plan.tenant, &plan.workflow, &trigger.name);
    let timing = spec.compile(now).map_err(|e| api::Fault::bad(e.field, e.rule))?;
    let progress = Progress::begin(timing.next(now));
    let wake_at = progress.state.next.map(|at| spec.rules.fires_at(id.as_bytes(), at));
    Ok(ScheduleRow {
        tenant: plan.tenant.clone(),
        id,
        name: format!("{}.{}", plan.workflow, trigger.name),
        workflow: plan.workflow.clone(),
        workflow_version: plan.version.clone(),
        shard: shard_of(id, shards),
        spec: model::write(&spec),
        input: trigger.input.as_ref().map(ToString::to_string).or_else(|| Some("{}".into())),
        priority: trigger.priority,
        paused: false,
        wake_at,
        state: model::write(&progress),
        revision: 1,
        created_at: now,
        updated_at: now,
    })
}
