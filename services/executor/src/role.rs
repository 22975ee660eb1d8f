//! The executor as a role of a process.

use std::sync::Arc;

use a2a::{A2aClient, client::ClientConfig};
use anyhow::Context as _;
use proto::executor::{
    internal::v1::executor_internal_service_server::ExecutorInternalServiceServer,
    v1::{
        budget_service_server::BudgetServiceServer, cache_service_server::CacheServiceServer,
        control_service_server::ControlServiceServer, event_service_server::EventServiceServer,
        executor_service_server::ExecutorServiceServer, hook_service_server::HookServiceServer,
        schedule_service_server::ScheduleServiceServer, session_service_server::SessionServiceServer,
    },
};
use provider::Providers;
use runtime::{Role, RoleContext, Service, Settings, SharedBus, SystemClock, config::CacheStrategy};
use store::{Journal, budgets::BudgetStore, sessions::SessionStore};
use workflow::plan::{Backoff, RetryPolicy};

use crate::{
    agents::{A2aCaller, A2aSettings},
    app::{App, Defaults},
    beside::{self, Beside},
    budgets::{BudgetDoor, Budgets, keep},
    cache::{CacheDoor, CacheOptions, ResultCache, Strategy},
    cluster::{Cluster, Dialled, Options, Seat},
    control::Control,
    engine::{Engine, EngineMetrics, Limits, Parts},
    fleet,
    forward::Forward,
    grpc::Executor,
    hooks::{HookDoor, HookOptions, HookParts, Hooks},
    internal::Internal,
    metrics,
    planner::PlannerPlans,
    providers::{self, Callers},
    sessions::{SessionDoor, SessionOptions, Sessions, sweep},
};

/// The executor on the bus that the settings name.
pub fn role() -> Role {
    role_on(SharedBus::default())
}

/// The executor on the bus of its process.
pub fn role_on(bus: SharedBus) -> Role {
    role_with(bus, Providers::default())
}

/// The same with workflow engines of the program's own, by name, beside those of the settings. Definitions may name
/// them where the planner knows them too.
pub fn role_with(bus: SharedBus, engines: Providers) -> Role {
    Role::new("executor", NEEDS, move |ctx| serve(ctx, bus.clone(), engines.clone()))
}

const NEEDS: &[&str] = &["planner", "registry"];

async fn serve(ctx: RoleContext, bus: SharedBus, own: Providers) -> anyhow::Result<Service> {
    let settings = ctx.settings.clone();
    let bus = bus.open(&settings)?;
    let journal = open_journal(&settings).await?;
    let clock = Arc::new(SystemClock);
    let end = ctx.fatal();
    let fatal: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |why: &str| end.end(why));
    let seat = Seat::join(cluster_options(&ctx), journal.clone(), clock.clone(), fatal.clone()).await?;
    let me = seat.me().clone();
    let counts = Arc::new(EngineMetrics::new(&ctx.metrics));
    let engines = providers::of_settings(&settings)?.and(&own);
    let entries = providers::entries(&engines, settings.providers.concurrency);
    let agents = Arc::new(caller(&settings));
    let callers = Callers::new(agents, engines.clone(), settings.providers.poll, clock.clone());
    let engine = Engine::start(Parts {
        journal: journal.clone(),
        clock: clock.clone(),
        caller: Arc::new(callers),
        plans: Arc::new(PlannerPlans::new(ctx.peer("planner")?)),
        publisher: seat.publisher(),
        limits: limits(&settings),
        me: seat.me().clone(),
        metrics: counts.clone(),
        fatal: fatal.clone(),
    });
    engine.use_spans(ctx.spans.clone());
    let cache = result_cache(&settings, clock.clone());
    if let Some(cache) = &cache {
        engine.use_cache(cache.clone());
    }
    metrics::export(&ctx.metrics, &engine, &counts, &bus);
    ctx.spawn("streams", metrics::measure_groups(bus.clone(), ctx.drain.clone()));
    let fleet_known = ctx.ready_flag("the fleet of the registry");
    ctx.spawn("fleet", fleet::follow(ctx.clone(), engine.clone(), fleet_known, entries));
    ctx.spawn("report", fleet::report(ctx.clone(), engine.clone()));
    let cluster = seat.start(engine.clone(), bus.clone(), Arc::new(Dialled::new(ctx.clone()))).await;
    let sessions = sessions(&settings, &journal, &engine, clock.clone());
    let hooks = start_hooks(&ctx, &journal, &clock, &bus, &engine, (&cluster, &me), &sessions).await?;
    let drain = ctx.drain.clone();
    let swept = sessions.clone();
    ctx.spawn("sessions", async move {
        sweep(swept, async move { drain.stopped().await }).await;
        Ok(())
    });
    let budgets = Budgets::new(BudgetStore::new(journal.tables()), engine.clone(), clock.clone());
    engine.use_budgets(Arc::new(budgets.clone()));
    let (drain, kept) = (ctx.drain.clone(), budgets.clone());
    ctx.spawn("budgets", async move {
        keep(kept, async move { drain.stopped().await }).await;
        Ok(())
    });
    let app = App::new(engine.clone(), journal.clone(), clock.clone(), bus.clone(), defaults(&settings))
        .with_providers(engines)
        .with_kinds(language::Kinds {
            chains: settings.planner.chains,
            graphs: settings.planner.graphs,
            workflows: settings.planner.workflows,
        })
        .with_sessions(sessions.clone())
        .with_budgets(budgets.clone());
    let max = settings.server.grpc_message_max.len();
    let forward = Forward::new(cluster.clone(), ctx.peers.clone(), max);
    let executor = Executor::new(app.clone(), ctx.drain.clone(), forward.clone());
    let parts = beside::Parts {
        journal: journal.clone(),
        bus,
        cluster: cluster.clone(),
        engine: engine.clone(),
        starts: Arc::new(executor.clone()),
        clock,
        fatal,
    };
    let beside = Beside::start(&ctx, parts)?;
    app.use_topics(beside.topics.clone());
    engine.use_children(Arc::new(app.clone()));
    engine.use_events(Arc::new(beside.topics.clone()));
    let control = ControlServiceServer::new(Control::new(executor.clone()))
        .max_decoding_message_size(max)
        .max_encoding_message_size(max);
    let events = EventServiceServer::new(beside.topics.door(ctx.drain.clone()))
        .max_decoding_message_size(max)
        .max_encoding_message_size(max);
    let schedules = ScheduleServiceServer::new(beside.schedules.door())
        .max_decoding_message_size(max)
        .max_encoding_message_size(max);
    let door =
        ExecutorServiceServer::new(executor).max_decoding_message_size(max).max_encoding_message_size(max);
    let inner = ExecutorInternalServiceServer::new(Internal::new(cluster.clone()))
        .max_decoding_message_size(max)
        .max_encoding_message_size(max);
    let talks = SessionServiceServer::new(SessionDoor::new(sessions))
        .max_decoding_message_size(max)
        .max_encoding_message_size(max);
    let money = BudgetServiceServer::new(BudgetDoor::new(budgets));
    let mut service = Service::new()
        .grpc(door)
        .grpc(control)
        .grpc(inner)
        .grpc(talks)
        .grpc(money)
        .grpc(events)
        .grpc(schedules);
    if let Some(cache) = cache {
        metrics::export_cache(&ctx.metrics, &cache);
        let door = CacheServiceServer::new(CacheDoor::new(cache, forward));
        service = service.grpc(door.max_decoding_message_size(max).max_encoding_message_size(max));
    }
    if let Some(hooks) = &hooks {
        let door = HookServiceServer::new(HookDoor::new(hooks.book()));
        service = service.grpc(door.max_decoding_message_size(max).max_encoding_message_size(max));
    }
    let grace = settings.server.drain_timeout / 2;
    Ok(service.descriptor(proto::DESCRIPTORS).on_drain(move || {
        let (engine, journal, cluster) = (engine.clone(), journal.clone(), cluster.clone());
        let hooks = hooks.clone();
        let beside = beside.clone();
        async move {
            beside.stop();
            engine.drain().await;
            cluster.drain(grace).await;
            if let Some(hooks) = hooks {
                hooks.stop().await;
            }
            journal.close().await;
            engine.stop();
        }
    }))
}

/// `None`: hooks are turned off.
async fn start_hooks(
    ctx: &RoleContext,
    journal: &Arc<dyn Journal>,
    clock: &Arc<SystemClock>,
    bus: &Arc<dyn bus::Bus>,
    engine: &Engine,
    (cluster, me): (&Cluster, &store::journal::Membership),
    sessions: &Sessions,
) -> anyhow::Result<Option<Hooks>> {
    if !ctx.settings.hooks.enabled {
        return Ok(None);
    }
    let parts = HookParts {
        options: HookOptions::of(&ctx.settings),
        journal: journal.clone(),
        clock: clock.clone(),
        bus: bus.clone(),
        engine: engine.clone(),
        owner: Arc::new(cluster.clone()),
        me: me.clone(),
        memory: Some(Arc::new(sessions.clone())),
    };
    Hooks::start(parts).await.map(Some).context("hooks")
}

fn cluster_options(ctx: &RoleContext) -> Options {
    let (e, bus, node) = (&ctx.settings.executor, &ctx.settings.bus, &ctx.settings.node);
    Options {
        member_id: ctx.member_id(),
        address: ctx.advertised(),
        region: node.region.clone(),
        cluster: node.cluster.clone(),
        shards: e.shards as u16,
        lease: e.lease,
        renewal: e.lease_renewal,
        partitions: bus.partitions,
        // Inside one process nobody reads them: the log has them, and live views are served from memory.
        publish: bus.url.is_some(),
        deliveries_max: bus.deliveries_max,
        claim_after: bus.claim_after,
        sweep_every: e.sweep_interval,
        retention: e.execution_retention,
        ..Options::default()
    }
}

async fn open_journal(settings: &Settings) -> anyhow::Result<Arc<dyn Journal>> {
    let opened = settings.open_database()?.open_journal(&settings.database_options()).await;
    let (journal, warnings) = opened.context("the executor's database")?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(journal)
}

fn sessions(
    settings: &Settings,
    journal: &Arc<dyn Journal>,
    engine: &Engine,
    clock: Arc<SystemClock>,
) -> Sessions {
    let own = &settings.sessions;
    let options = SessionOptions {
        vars_max: own.vars_max as usize,
        vars_bytes_max: own.vars_size_max.len(),
        turns_max: u64::from(own.turns_max),
        turns_bytes_max: own.turns_size_max.0,
        history: own.history,
        retention: own.retention,
    };
    Sessions::new(SessionStore::new(journal.tables()), engine.clone(), clock, options)
}

fn result_cache(settings: &Settings, clock: Arc<SystemClock>) -> Option<Arc<ResultCache>> {
    let own = &settings.cache;
    let options = CacheOptions {
        strategy: match own.strategy {
            CacheStrategy::Lru => Strategy::Lru,
            CacheStrategy::Lfu => Strategy::Lfu,
            CacheStrategy::Fifo => Strategy::Fifo,
        },
        ttl: own.ttl,
        size_bytes_max: own.max_size.len(),
        entry_bytes_max: own.entry_max.len(),
        namespaces_max: own.namespaces_max as usize,
        all_pure: own.all_pure,
    };
    own.enabled.then(|| Arc::new(ResultCache::new(options, clock)))
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
        concurrent_max: e.max_concurrent_workflows,
        start_queue_max: e.start_queue_max,
        tenant_concurrent_max: e.tenant_concurrent_workflows,
        tenant_queue_max: e.tenant_start_queue_max,
        group_rows_max: e.group_rows_max as usize,
        group_bytes_max: e.group_bytes_max.len(),
        payload_inline_bytes_max: e.payload_inline_max.len(),
        payload_bytes_max: e.payload_max.len(),
        history_events_max: u64::from(e.history_events_max),
        history_bytes_max: e.history_bytes_max.len() as u64,
        attempt_timeout: e.attempt_timeout,
        short_call: e.short_call,
        park_after: e.park_after,
        stuck_after: e.stuck_after,
        cancel_within: e.cancel_within,
        breaker: balance::breaker::Rule {
            failures: if e.breaker_enabled { e.breaker_failures } else { 0 },
            open_min: e.breaker_open_min,
            open_max: e.breaker_open_max,
        },
        region: settings.node.region.clone(),
        ..Limits::default()
    }
}

fn defaults(settings: &Settings) -> Defaults {
    let (e, r) = (&settings.executor, &settings.retry);
    let (on, patterns): (Vec<_>, Vec<_>) = r
        .retryable_errors
        .iter()
        .map(|text| base::FailureClass::parse(text).ok_or(text))
        .partition(Result::is_ok);
    Defaults {
        timeout: e.workflow_timeout,
        allocation_timeout: e.agent_allocation_timeout,
        checkpoint_every: e.checkpoint_interval,
        event_ttl: e.event_ttl,
        compensation_timeout: e.compensation_timeout,
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
