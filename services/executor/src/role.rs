//! The executor as a role of a process.

use std::sync::Arc;

use a2a::{A2aClient, client::ClientConfig};
use anyhow::Context as _;
use bus::{Bus, InProcessBus, RedisBus};
use proto::executor::v1::executor_service_server::ExecutorServiceServer;
use runtime::{Role, RoleContext, Service, Settings, SystemClock};
use store::{
    Journal, PostgresJournal, PostgresOptions, SqliteJournal, SqliteOptions,
    journal::{Join, MemberId},
};
use workflow::plan::{Backoff, RetryPolicy};

use crate::{
    agents::{A2aCaller, A2aSettings},
    app::{App, Defaults},
    engine::{Engine, EngineMetrics, Limits, Parts},
    fleet,
    grpc::Executor,
    planner::PlannerPlans,
};

/// The executor, alone in its process or beside others.
pub fn role() -> Role {
    Role::new("executor", &["planner", "registry"], start)
}

async fn start(ctx: RoleContext) -> anyhow::Result<Service> {
    let settings = ctx.settings.clone();
    let journal = open_journal(&settings).await?;
    let bus = open_bus(&settings)?;
    let clock = Arc::new(SystemClock);
    let me = join(&ctx, journal.as_ref()).await?;
    let fatal = ctx.fatal();
    let metrics = Arc::new(EngineMetrics::default());
    let engine = Engine::start(Parts {
        journal: journal.clone(),
        clock: clock.clone(),
        caller: Arc::new(caller(&settings)),
        plans: Arc::new(PlannerPlans::new(ctx.peer("planner")?)),
        publisher: None,
        limits: limits(&settings),
        me: me.clone(),
        metrics,
        fatal: Arc::new(move |why: &str| fatal.end(why)),
    });
    let shards = journal.roster().await?.shards;
    for (shard, owner) in shards.iter().enumerate() {
        let shard = shard as u16;
        let ours = owner.as_ref() == Some(&me.id) || journal.claim(&me, shard).await?;
        if ours {
            engine.acquire(shard).await.map_err(|f| anyhow::anyhow!("{f}"))?;
        }
    }
    let fleet_known = ctx.ready_flag("the fleet of the registry");
    ctx.spawn("fleet", fleet::follow(ctx.clone(), engine.clone(), fleet_known));
    ctx.spawn("report", fleet::report(ctx.clone(), engine.clone()));
    let app = App::new(engine.clone(), journal.clone(), clock, bus, defaults(&settings));
    let max = settings.server.grpc_message_max.len();
    let door = ExecutorServiceServer::new(Executor::new(app, ctx.drain.clone()))
        .max_decoding_message_size(max)
        .max_encoding_message_size(max);
    Ok(Service::new().grpc(door).descriptor(proto::DESCRIPTORS).on_drain(move || {
        let (engine, journal) = (engine.clone(), journal.clone());
        async move {
            engine.drain().await;
            journal.close().await;
            engine.stop();
        }
    }))
}

async fn open_journal(settings: &Settings) -> anyhow::Result<Arc<dyn Journal>> {
    if settings.is_postgres() {
        let mut options = PostgresOptions::new(settings.database.url.expose());
        options.committers = settings.database.committers as usize;
        options.connections = settings.database.pool_max;
        options.acquire_timeout = settings.database.acquire_timeout;
        options.allow_unsafe_durability = settings.database.allow_unsafe_durability;
        let journal = PostgresJournal::open(&options).await.context("the executor's database")?;
        for warning in journal.warnings() {
            tracing::warn!("{warning}");
        }
        return Ok(Arc::new(journal));
    }
    let folder = settings.sqlite_folder().context("database.url is neither a folder nor a postgres:// URL")?;
    std::fs::create_dir_all(&folder).with_context(|| format!("the data folder {}", folder.display()))?;
    let mut options = SqliteOptions::new(folder.join("executor.db"));
    options.readers = settings.database.readers as usize;
    let opened = tokio::task::spawn_blocking(move || SqliteJournal::open(&options)).await?;
    Ok(Arc::new(opened.context("the executor's database")?))
}

fn open_bus(settings: &Settings) -> anyhow::Result<Arc<dyn Bus>> {
    Ok(match &settings.bus.url {
        Some(url) => Arc::new(RedisBus::new(url.expose(), redis_options(settings))?),
        None => Arc::new(InProcessBus::default()),
    })
}

fn redis_options(settings: &Settings) -> bus::RedisOptions {
    let mut options = bus::RedisOptions { command_timeout: settings.bus.response_timeout, ..Default::default() };
    options.limits.retention = settings.bus.retention;
    options
}

async fn join(ctx: &RoleContext, journal: &dyn Journal) -> anyhow::Result<store::journal::Membership> {
    let executor = &ctx.settings.executor;
    journal.ensure_shards(executor.shards as u16).await?;
    let join = Join {
        id: MemberId::new(ctx.member_id())?,
        address: ctx.advertised(),
        lease: executor.lease,
        reads_up_to: api::log::LOG_SCHEMA,
        region: ctx.settings.node.region.clone(),
        cluster: ctx.settings.node.cluster.clone(),
    };
    Ok(journal.join(join).await?)
}

fn caller(settings: &Settings) -> A2aCaller {
    let own = A2aSettings {
        short_call: settings.executor.short_call,
        response_bytes_max: settings.executor.answer_max.len(),
    };
    A2aCaller::new(A2aClient::new(ClientConfig::default()), own)
}

fn limits(settings: &Settings) -> Limits {
    let e = &settings.executor;
    Limits {
        shards: e.shards as u16,
        lanes: e.lanes as usize,
        concurrent_max: e.max_concurrent_workflows as u32,
        start_queue_max: e.start_queue_max as u32,
        payload_inline_bytes_max: e.payload_inline_max.len(),
        payload_bytes_max: e.payload_max.len(),
        history_events_max: u64::from(e.history_events_max),
        history_bytes_max: e.history_bytes_max.len() as u64,
        call_idle_timeout: e.attempt_timeout,
        short_call: e.short_call,
        park_after: e.park_after,
        region: settings.node.region.clone(),
        ..Limits::default()
    }
}

fn defaults(settings: &Settings) -> Defaults {
    let (e, r) = (&settings.executor, &settings.retry);
    let (on, patterns): (Vec<_>, Vec<_>) = r.retryable_errors.iter().map(|text| base::FailureClass::parse(text).ok_or(text)).partition(Result::is_ok);
    Defaults {
        timeout: e.workflow_timeout,
        allocation_timeout: e.agent_allocation_timeout,
        checkpoint_every: e.checkpoint_interval,
        retry: RetryPolicy {
            max_attempts: r.max_attempts,
            backoff: match r.backoff {
                runtime::config::Backoff::Fixed => Backoff::Fixed,
                runtime::config::Backoff::Linear => Backoff::Linear,
                runtime::config::Backoff::Exponential => Backoff::Exponential,
            },
            base_delay: r.base_delay,
            max_delay: r.max_delay,
            on: on.into_iter().flatten().collect(),
            patterns: patterns.into_iter().filter_map(Result::err).cloned().collect(),
        },
        payload_bytes_max: e.payload_max.len(),
    }
}
