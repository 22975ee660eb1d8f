//! What is put aside comes back when its time has come.

use std::{sync::Arc, time::Duration};

use api::Fault;
use async_trait::async_trait;
use base::{ErrorCode, FailureClass};
use executor::{
    cluster::{Cluster, Options, Others, Seat},
    engine::{Command, ExecutionView},
};
use proto::executor::{internal::v1 as pb, v1::ListApprovalsRequest};
use serde_json::json;
use store::journal::{Group, Item, Log as _, Members as _, Membership, WaitWrite};
use workflow::{Status, Verdict};

use crate::{
    agents::Act,
    kit::{Fatal, Node, SHARDS, SOON, World, duration, me, task},
};

/// There are none.
struct Nobody;

#[async_trait]
impl Others for Nobody {
    async fn deliver(&self, _: &str, _: pb::DeliverResultRequest) -> Result<(), Fault> {
        Err(Fault::unavailable("nobody there"))
    }
    async fn abort(&self, _: &str, _: pb::AbortCallRequest) -> Result<(), Fault> {
        Err(Fault::unavailable("nobody there"))
    }
    async fn lend(&self, _: &str, _: pb::LendSlotsRequest) -> Result<pb::LendSlotsResponse, Fault> {
        Err(Fault::unavailable("nobody there"))
    }
    async fn offer(&self, _: &str, _: pb::OfferShardsRequest) -> Result<bool, Fault> {
        Err(Fault::unavailable("nobody there"))
    }
}

/// A replica as the role starts it, with its lease and its sweep.
pub(crate) async fn replica(world: &World) -> (Node, Cluster) {
    let journal = world.open().await;
    let options = Options {
        shards: SHARDS,
        sweep_every: Duration::from_millis(20),
        publish: false,
        ..Options::default()
    };
    let fatal = Fatal::default();
    let seat = Seat::join(options, journal.clone(), world.clock.clone(), fatal.told()).await.unwrap();
    let engine = world.engine(&journal, seat.me().clone(), &fatal);
    let bus = Arc::new(bus::InProcessBus::default());
    let cluster = seat.start(engine.clone(), bus, Arc::new(Nobody)).await;
    testkit::wait_for("every shard", SOON, async || {
        (cluster.shard_map().here().len() == usize::from(SHARDS)).then_some(())
    })
    .await;
    (world.node_of(engine, journal, fatal), cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_aside_is_woken_when_its_deadline_passes() {
    for mut world in World::both().await {
        let clock = testkit::FakeClock::default();
        world.clock = Arc::new(clock.clone());
        world.limits.park_after = Duration::ZERO;
        world.agents.script(|_, _| Act::Ask);
        let limit = json!({"total": duration(Duration::from_secs(600))});
        world.plans.put("asks", json!({"tasks": [task("t", json!({"timeouts": limit}))]}));
        let (node, cluster) = replica(&world).await;
        let id = node.begin("asks").await;
        node.parked(id).await;
        assert_eq!(node.view(id).await.status(), Status::Executing);
        clock.advance(Duration::from_secs(601));
        let view = node.ended(id).await;
        assert_eq!(view.status(), Status::Failed);
        let late = view
            .causes()
            .iter()
            .any(|c| c.class == FailureClass::Timeout && c.message.contains("the task took longer than"));
        assert!(late, "{:?}", view.causes());
        drop(cluster);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_escalates_step_by_step_although_it_was_put_aside_and_over_a_crash() {
    for mut world in World::both().await {
        let clock = testkit::FakeClock::default();
        world.clock = Arc::new(clock.clone());
        world.limits.park_after = Duration::ZERO;
        let after = |s: u64, who: &str| json!({"after": duration(Duration::from_secs(s)), "who": [who]});
        let escalate = json!([after(600, "lead"), after(1800, "anonymous")]);
        let approval = json!({"approval": {"title": "Ship it?", "who": ["owner"], "escalate": escalate}});
        let asks = json!({"id": "ask", "kind": {"wait": approval}});
        world.plans.put("asks", json!({"schema": 2, "tasks": [asks]}));
        let (node, cluster) = replica(&world).await;
        let id = node.begin("asks").await;
        node.parked(id).await;
        let approve = || Command::Approve {
            task: "ask".into(),
            verdict: Verdict::Approved,
            names: Vec::new(),
            comment: String::new(),
            form: None,
        };
        let asked = |who: &[&str]| {
            let who: Vec<String> = who.iter().map(|w| (*w).to_owned()).collect();
            move |view: &ExecutionView| view.waits().iter().any(|wait| wait.who == who)
        };
        node.until("the first question", id, asked(&["owner"])).await;
        assert_eq!(listed(&node, "owner").await, 1);
        assert_eq!(listed(&node, "lead").await, 0);
        node.parked(id).await;
        // As an earlier release left it: when it is looked at, what it asks is written.
        let shard = id.shard(u32::from(SHARDS)) as u16;
        let by = node.journal.roster().await.unwrap().members.remove(0);
        let by = Membership { id: by.id, incarnation: by.incarnation };
        let mut gone = Item::new(id, base::Tenant::default());
        gone.waits = vec![WaitWrite::CloseAll];
        node.journal.commit(Group { by, shard, items: vec![gone] }).await.unwrap();
        assert_eq!(listed(&node, "owner").await, 0);
        let refused = node.command(id, approve()).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PermissionDenied);
        testkit::wait_for("it to be listed again", SOON, async || {
            (listed(&node, "owner").await == 1).then_some(())
        })
        .await;
        clock.advance(Duration::from_secs(601));
        node.until("the first step", id, asked(&["owner", "lead"])).await;
        assert_eq!(listed(&node, "lead").await, 1);
        node.parked(id).await;
        drop(cluster);
        node.die().await;

        let (node, cluster) = replica(&world).await;
        assert_eq!(node.command(id, approve()).await.unwrap_err().code, ErrorCode::PermissionDenied);
        clock.advance(Duration::from_secs(1300));
        node.until("the last step", id, asked(&["owner", "lead", "anonymous"])).await;
        let page = node.app.history(&me(), id, 0, 100).await.unwrap();
        let steps = page.events.iter().filter(|e| e.kind == "approval.escalated").count();
        assert_eq!(steps, 2);
        assert_eq!(listed(&node, "anonymous").await, 1);
        node.command(id, approve()).await.unwrap();
        node.completed(id).await;
        assert_eq!(listed(&node, "").await, 0);
        drop(cluster);
        node.die().await;
    }
}

/// Open approvals that `who` may answer, without a look into executions.
async fn listed(node: &Node, who: &str) -> usize {
    let request = ListApprovalsRequest { who: who.into(), ..ListApprovalsRequest::default() };
    node.app.approvals(&me(), request).await.unwrap().approvals.len()
}
