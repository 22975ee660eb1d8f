//! What definitions say starts executions: kept as triggers and schedules, in step with the newest versions.
//!
//! The planner is asked before events are matched, so a trigger that was stored before an event was published sees it,
//! and every second by one replica for the schedules.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use api::Fault;
use async_trait::async_trait;
use base::{Clock, Tenant, Timestamp};
use proto::planner::internal::v1::{
    ListPlanTriggersRequest, ListPlanTriggersResponse, PlanTriggers,
    planner_internal_service_client::PlannerInternalServiceClient as Client,
};
use runtime::{PeerChannel, RoleContext};
use schedule::{Overlap, Rules, Spec};
use store::{
    schedules::{ScheduleRow, ScheduleStore},
    topics::{SyncedPlan, TriggerRow, TriggerStore},
};
use tokio::sync::Mutex;
use uuid::Uuid;
use workflow::plan::{self, Trigger, TriggerOn};

use crate::{engine::away, schedules, topics::compile};

/// Where triggers of plans come from.
#[async_trait]
pub trait TriggerSource: Send + Sync + 'static {
    /// What starts executions of the newest versions, unless `known_state` is still true.
    ///
    /// # Errors
    /// When the planner is away.
    async fn triggers(&self, known_state: &str) -> Result<ListPlanTriggersResponse, Fault>;
}

/// [`TriggerSource`] over gRPC.
pub struct PlannerTriggers {
    client: Client<PeerChannel>,
    ctx: RoleContext,
}

impl PlannerTriggers {
    /// Asks the planner of the role.
    ///
    /// # Errors
    /// When the peer cannot be dialled.
    pub fn new(ctx: &RoleContext) -> anyhow::Result<Self> {
        let max = ctx.settings.server.grpc_message_max.len();
        let client = Client::new(ctx.peer("planner")?).max_decoding_message_size(max);
        Ok(Self { client, ctx: ctx.clone() })
    }
}

#[async_trait]
impl TriggerSource for PlannerTriggers {
    async fn triggers(&self, known_state: &str) -> Result<ListPlanTriggersResponse, Fault> {
        let message = ListPlanTriggersRequest { known_state: known_state.to_owned() };
        let mut request = runtime::call::request(&self.ctx.own_call(), message);
        request.set_timeout(self.ctx.settings.server.call_timeout);
        let answer = self.client.clone().list_plan_triggers(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| Fault::from_status(&status))
    }
}

#[derive(Default)]
struct Known {
    state: String,
    asked_at: Option<Instant>,
}

/// Keeps the rows in step. Cheap to clone.
#[derive(Clone)]
pub struct PlanSync {
    source: Arc<dyn TriggerSource>,
    triggers: TriggerStore,
    schedules: ScheduleStore,
    clock: Arc<dyn Clock>,
    shards: u16,
    known: Arc<Mutex<Known>>,
}

impl PlanSync {
    /// Reads from `source`, writes to the tables of a cluster of `shards`.
    pub fn new(
        source: Arc<dyn TriggerSource>,
        triggers: TriggerStore,
        schedules: ScheduleStore,
        clock: Arc<dyn Clock>,
        shards: u16,
    ) -> Self {
        Self { source, triggers, schedules, clock, shards, known: Arc::default() }
    }

    /// Returns once the rows hold all that was stored before this call. Callers that come together share one question.
    ///
    /// # Errors
    /// When the planner or the store is away.
    pub async fn now(&self) -> Result<(), Fault> {
        let arrived = Instant::now();
        let mut known = self.known.lock().await;
        if known.asked_at.is_some_and(|at| at >= arrived) {
            return Ok(());
        }
        let asked_at = Instant::now();
        let answer = self.source.triggers(&known.state).await?;
        if !answer.unchanged {
            self.apply(&answer.plans).await?;
            known.state = answer.state;
        }
        known.asked_at = Some(asked_at);
        Ok(())
    }

    async fn apply(&self, plans: &[PlanTriggers]) -> Result<(), Fault> {
        let synced: BTreeSet<SyncedPlan> = self.triggers.synced().await.map_err(away)?.into_iter().collect();
        let mut there = BTreeSet::new();
        for plan in plans {
            let Ok(tenant) = Tenant::new(&plan.tenant) else { continue };
            let own = SyncedPlan { tenant, workflow: plan.workflow.clone(), version: plan.version.clone() };
            there.insert((own.tenant.clone(), own.workflow.clone()));
            if !synced.contains(&own) {
                self.replace(&own, &plan.triggers_json).await?;
            }
        }
        for gone in
            synced.iter().filter(|plan| !there.contains(&(plan.tenant.clone(), plan.workflow.clone())))
        {
            self.triggers.unsync(gone).await.map_err(away)?;
        }
        Ok(())
    }

    async fn replace(&self, plan: &SyncedPlan, json: &str) -> Result<(), Fault> {
        let list: Vec<Trigger> = serde_json::from_str(json).unwrap_or_else(|error| {
            tracing::error!(workflow = %plan.workflow, %error, "triggers of a plan cannot be read");
            Vec::new()
        });
        let now = self.clock.now();
        let (mut triggers, mut times) = (Vec::new(), Vec::new());
        for trigger in &list {
            match &trigger.on {
                TriggerOn::Event { topic, filter } => {
                    let row = event_row(plan, trigger, topic, filter.as_deref().unwrap_or_default(), now);
                    match compile(row.clone()) {
                        Ok(()) => triggers.push(row),
                        Err(error) => unusable(plan, trigger, &error.message),
                    }
                }
                TriggerOn::Cron { .. } | TriggerOn::Every { .. } => {
                    match schedules::row_of_plan(plan, trigger, spec_of(&trigger.on), self.shards, now) {
                        Ok(row) => times.push(row),
                        Err(error) => unusable(plan, trigger, &error.message),
                    }
                }
            }
        }
        self.write(plan, &triggers, &times).await
    }

    async fn write(
        &self,
        plan: &SyncedPlan,
        triggers: &[TriggerRow],
        times: &[ScheduleRow],
    ) -> Result<(), Fault> {
        // The triggers last: they say that the plan is in step.
        self.schedules.sync(plan, times).await.map_err(away)?;
        self.triggers.sync(plan, triggers).await.map_err(away)?;
        tracing::info!(workflow = %plan.workflow, version = %plan.version, triggers = triggers.len(),
            schedules = times.len(), "triggers of a definition are in force");
        Ok(())
    }

    /// Asks now and then, where `leads` says that this replica does.
    pub async fn run(self, every: Duration, drain: runtime::Drain, leads: impl Fn() -> bool + Send) {
        loop {
            tokio::select! {
                () = drain.draining() => return,
                () = tokio::time::sleep(every) => {}
            }
            if leads()
                && let Err(error) = self.now().await
            {
                tracing::debug!(%error, "the planner could not be asked for triggers");
            }
        }
    }
}

fn unusable(plan: &SyncedPlan, trigger: &Trigger, error: &str) {
    tracing::error!(workflow = %plan.workflow, version = %plan.version, trigger = %trigger.name, %error,
        "a trigger of a definition cannot be used");
}

/// The id of a trigger or schedule of a workflow: the same in every version.
pub(crate) fn id_of(kind: &str, tenant: &Tenant, workflow: &str, name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind}/{tenant}/{workflow}/{name}").as_bytes())
}

fn event_row(plan: &SyncedPlan, trigger: &Trigger, topic: &str, filter: &str, now: Timestamp) -> TriggerRow {
    TriggerRow {
        tenant: plan.tenant.clone(),
        id: id_of("trigger", &plan.tenant, &plan.workflow, &trigger.name),
        name: trigger.name.clone(),
        workflow: plan.workflow.clone(),
        workflow_version: plan.version.clone(),
        topic: topic.to_owned(),
        filter: filter.to_owned(),
        key: trigger.key.clone().unwrap_or_default(),
        input: trigger.input.as_ref().map(ToString::to_string),
        priority: (trigger.priority != 0).then_some(trigger.priority),
        on_busy: "wait".into(),
        paused: false,
        // The definition was stored before now, and what was handled already is not handled again.
        since: Timestamp::default(),
        created_at: now,
        updated_at: now,
    }
}

fn spec_of(on: &TriggerOn) -> Spec {
    let us = |d: &Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let rules = |overlap: &plan::Overlap, catch_up: &Duration| Rules {
        overlap: match overlap {
            plan::Overlap::Skip => Overlap::Skip,
            plan::Overlap::Queue => Overlap::Queue,
            plan::Overlap::Allow => Overlap::Allow,
            plan::Overlap::Cancel => Overlap::CancelOther,
        },
        catch_up_us: us(catch_up),
        ..Rules::default()
    };
    match on {
        TriggerOn::Event { .. } => Spec::default(),
        TriggerOn::Cron { cron, zone, overlap, catch_up } => Spec {
            cron: Some(cron.clone()),
            time_zone: zone.clone(),
            rules: rules(overlap, catch_up),
            ..Spec::default()
        },
        TriggerOn::Every { every, delay, overlap, catch_up } => Spec {
            every_us: Some(us(every)),
            delay_us: delay.as_ref().map(us),
            rules: rules(overlap, catch_up),
            ..Spec::default()
        },
    }
}
