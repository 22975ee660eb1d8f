//! Topics and schedules of a replica, and a way to start executions on any of them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use api::{Fault, payload};
use async_trait::async_trait;
use base::{CallContext, ErrorCode, ExecutionId};
use executor::{
    app::{App, StartRequest},
    engine::Command,
    schedules::{self, Schedules},
    starts::Starts,
    topics::{self, BuiltIn, Topics},
};
use proto::executor::v1 as pb;

use crate::kit::{Replica, SHARDS, World};

/// The doors of all replicas that live; counts what is asked of them.
#[derive(Default)]
pub(crate) struct Doors {
    apps: Mutex<Vec<(String, App)>>,
    pub(crate) asked: Mutex<Vec<ExecutionId>>,
    pub(crate) cancelled: Mutex<Vec<ExecutionId>>,
    /// What the next starts are refused with.
    pub(crate) refusals: Mutex<Vec<Fault>>,
}

impl Doors {
    fn apps(&self) -> Vec<App> {
        self.apps.lock().unwrap().iter().map(|(_, app)| app.clone()).collect()
    }
}

fn nobody() -> Fault {
    Fault::unavailable("no replica owns it at the moment")
}

#[async_trait]
impl Starts for Doors {
    async fn start(&self, context: &CallContext, request: pb::StartExecutionRequest) -> Result<(), Fault> {
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        self.asked.lock().unwrap().push(request.execution_id.parse().unwrap());
        for app in self.apps() {
            let request = StartRequest {
                workflow: request.workflow.clone(),
                input: Some(payload::from_wire(request.input.clone(), "input")?),
                execution_id: request.execution_id.clone(),
                priority: request.priority,
                metadata_json: request.metadata_json.clone(),
                ..StartRequest::default()
            };
            match app.start(context, request).await {
                Err(fault) if fault.code == ErrorCode::NotOwner => {}
                other => return other.map(drop),
            }
        }
        Err(nobody())
    }

    async fn cancel(&self, context: &CallContext, id: ExecutionId, reason: &str) -> Result<(), Fault> {
        self.cancelled.lock().unwrap().push(id);
        for app in self.apps() {
            match app.command(context, id, Command::Cancel { reason: reason.into() }).await {
                Err(fault) if fault.code == ErrorCode::NotOwner => {}
                Err(fault) if fault.code == ErrorCode::InvalidState => return Ok(()),
                other => return other.map(drop),
            }
        }
        Err(nobody())
    }
}

/// A replica with what works beside its engine.
pub(crate) struct Whole {
    pub(crate) replica: Replica,
    pub(crate) topics: Topics,
    pub(crate) schedules: Schedules,
    doors: Arc<Doors>,
    name: String,
}

pub(crate) fn topic_options(world: &World, name: &str) -> topics::Options {
    topics::Options {
        enabled: true,
        member_id: name.into(),
        shards: SHARDS,
        keys: world.keys.clone(),
        built_in: BuiltIn::default(),
        volatile: vec!["pulse".into(), "metrics.*".into()],
        payload_max: 4096,
        batch_max: 100,
        queue_max: 1000,
        group_rows_max: 64,
        rate_max: 0,
        concurrency: 8,
        poll_interval: Duration::from_millis(100),
        watch_interval: Duration::from_millis(50),
        busy_retry: Duration::from_millis(100),
        retention: Duration::from_secs(3600),
        claim_after: Duration::from_secs(1),
        deliveries_max: 5,
    }
}

pub(crate) async fn whole(world: &World, doors: &Arc<Doors>, name: &str) -> Whole {
    whole_with(world, doors, name, topic_options(world, name)).await
}

pub(crate) async fn whole_with(
    world: &World,
    doors: &Arc<Doors>,
    name: &str,
    options: topics::Options,
) -> Whole {
    let replica = world.replica(name).await;
    let clock = Arc::new(runtime::SystemClock);
    let (drain, metrics) = (runtime::Drain::default(), runtime::Metrics::detached());
    let topics = Topics::start(
        options,
        topics::Parts {
            journal: replica.journal.clone(),
            bus: world.bus.clone(),
            cluster: replica.cluster.clone(),
            engine: replica.engine.clone(),
            starts: doors.clone(),
            plans: None,
            clock: clock.clone(),
            drain: drain.clone(),
            metrics: metrics.clone(),
            fatal: Arc::new(|why: &str| panic!("{why}")),
        },
    );
    let schedules = Schedules::start(
        schedules::Options {
            enabled: true,
            shards: SHARDS,
            catch_up: Duration::from_secs(3600),
            poll_interval: Duration::from_millis(100),
            backfill_max: 50,
        },
        schedules::Parts {
            journal: replica.journal.clone(),
            cluster: replica.cluster.clone(),
            engine: replica.engine.clone(),
            starts: doors.clone(),
            clock,
            drain,
            metrics,
        },
    );
    replica.app.use_topics(topics.clone());
    doors.apps.lock().unwrap().push((name.into(), replica.app.clone()));
    Whole { replica, topics, schedules, doors: doors.clone(), name: name.into() }
}

impl Whole {
    /// As `kill -9`.
    pub(crate) async fn die(self) {
        self.topics.stop();
        self.schedules.stop();
        self.doors.apps.lock().unwrap().retain(|(name, _)| *name != self.name);
        self.replica.die().await;
    }

    pub(crate) async fn publish(&self, events: Vec<pb::NewEvent>) -> Vec<pb::Published> {
        self.topics.publish(&CallContext::default(), events).await.unwrap()
    }
}

/// An event of the topic `orders`.
pub(crate) fn order(id: &str, n: u32) -> pb::NewEvent {
    pb::NewEvent {
        id: id.into(),
        topic: "orders".into(),
        r#type: "order.placed".into(),
        key: format!("k{}", n % 5),
        payload: Some(payload::to_wire(&base::Payload::json_text(format!("{{\"n\": {n}}}")))),
        ..pb::NewEvent::default()
    }
}
