//! What works beside the engine: events of users, and schedules.

use std::sync::Arc;

use anyhow::Context as _;
use base::Clock;
use bus::{Bus, Keys};
use runtime::{RoleContext, Settings};
use store::{Journal, schedules::ScheduleStore, topics::TriggerStore};

use crate::{
    cluster::Cluster,
    engine::Engine,
    plan_sync::{PlanSync, PlannerTriggers},
    schedules::{self, Schedules},
    starts::Starts,
    topics::{self, BuiltIn, Topics},
};

/// What both are made of.
pub(crate) struct Parts {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) cluster: Cluster,
    pub(crate) engine: Engine,
    pub(crate) starts: Arc<dyn Starts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Topics and schedules of this replica.
#[derive(Clone)]
pub(crate) struct Beside {
    pub(crate) topics: Topics,
    pub(crate) schedules: Schedules,
}

impl Beside {
    /// Starts both.
    pub(crate) fn start(ctx: &RoleContext, parts: Parts) -> anyhow::Result<Self> {
        let settings = &ctx.settings;
        let Parts { journal, bus, cluster, engine, starts, clock, fatal } = parts;
        let tables = journal.tables();
        let shards = settings.executor.shards as u16;
        let (triggers, times) = (TriggerStore::new(tables.clone()), ScheduleStore::new(tables));
        let source = Arc::new(PlannerTriggers::new(ctx).context("the planner's triggers")?);
        let plans = PlanSync::new(source, triggers, times, clock.clone(), shards);
        if settings.topics.enabled || settings.schedules.enabled {
            let (leader, every) = (cluster.clone(), settings.schedules.poll_interval);
            let sync =
                plans.clone().run(every, ctx.drain.clone(), move || leader.shard_map().here().contains(&0));
            ctx.spawn("triggers of definitions", async move {
                sync.await;
                Ok(())
            });
        }
        let topics = Topics::start(
            topic_options(ctx),
            topics::Parts {
                journal: journal.clone(),
                bus,
                cluster: cluster.clone(),
                engine: engine.clone(),
                starts: starts.clone(),
                plans: Some(plans),
                clock: clock.clone(),
                drain: ctx.drain.clone(),
                metrics: ctx.metrics.clone(),
                fatal,
            },
        );
        topics.follow_registry(ctx.clone(), ctx.peer("registry")?);
        let parts = schedules::Parts {
            journal,
            cluster,
            engine,
            starts,
            clock,
            drain: ctx.drain.clone(),
            metrics: ctx.metrics.clone(),
        };
        let schedules = Schedules::start(schedule_options(settings), parts);
        Ok(Self { topics, schedules })
    }

    /// Ends what works beside requests.
    pub(crate) fn stop(&self) {
        self.topics.stop();
        self.schedules.stop();
    }
}

fn topic_options(ctx: &RoleContext) -> topics::Options {
    let (own, bus) = (&ctx.settings.topics, &ctx.settings.bus);
    topics::Options {
        enabled: own.enabled,
        member_id: ctx.member_id(),
        shards: ctx.settings.executor.shards as u16,
        keys: Keys::default(),
        built_in: BuiltIn {
            agent_status: own.agent_status,
            data_updates: own.data_updates,
            workflow_status: own.workflow_status,
        },
        volatile: own.volatile.clone(),
        payload_max: own.payload_max.len(),
        batch_max: own.batch_max as usize,
        queue_max: own.queue_max,
        group_rows_max: own.group_rows_max as usize,
        rate_max: own.rate_max,
        concurrency: own.concurrency as usize,
        poll_interval: own.poll_interval,
        watch_interval: own.poll_interval.min(std::time::Duration::from_millis(250)),
        busy_retry: own.busy_retry,
        retention: bus.retention,
        claim_after: bus.claim_after,
        deliveries_max: bus.deliveries_max,
    }
}

fn schedule_options(settings: &Settings) -> schedules::Options {
    let own = &settings.schedules;
    schedules::Options {
        enabled: own.enabled,
        shards: settings.executor.shards as u16,
        catch_up: own.catch_up,
        poll_interval: own.poll_interval,
        backfill_max: own.backfill_max as usize,
    }
}
