//! Executions that start others: over shards, replicas and crashes.

use base::{CallContext, ExecutionId};
use executor::engine::Command;
use serde_json::{Value, json};
use store::journal::InboxRow;
use testkit::wait_for;

use crate::kit::{Replica, SHARDS, SOON, World, all_completed, id_of, keys};

fn call(id: &str) -> Value {
    json!({"id": id, "need": {"agent": "worker"}, "input": "execution"})
}

fn child(id: &str, workflow: &str) -> Value {
    json!({"id": id, "kind": {"child": {"workflow": workflow}}, "input": "execution"})
}

fn merged(mut task: Value, key: &str, value: Value) -> Value {
    task[key] = value;
    task
}

/// `parent` starts `inner`, which makes one call. `shared` and `twins` may make two and three, with what they start.
fn with_family(world: &World) {
    let mut plans = world.plans.lock().unwrap();
    plans.insert("parent".into(), json!({"tasks": [child("c", "inner")]}));
    plans.insert("inner".into(), json!({"tasks": [call("t")]}));
    plans.insert("orphaned".into(), json!({"tasks": [child("c", "nowhere")]}));
    let two = json!([call("t"), merged(call("u"), "after", json!([0]))]);
    plans.insert("pair".into(), json!({"tasks": two}));
    let budget = |calls: u64| json!({"budget": {"calls": calls}});
    plans.insert("shared".into(), json!({"limits": budget(2), "tasks": [child("c", "inner"), call("d")]}));
    let twins = [child("a", "pair"), child("b", "pair")];
    plans.insert("twins".into(), json!({"limits": budget(3), "tasks": twins}));
}

async fn status(replica: &Replica, id: ExecutionId) -> Option<String> {
    replica.journal.find_execution(id).await.unwrap().map(|row| row.status)
}

async fn no_mail(replica: &Replica) {
    let shards: Vec<u16> = (0..SHARDS).collect();
    let left = async || {
        let rows: Vec<InboxRow> = replica.journal.read_inbox(&shards, 10).await.unwrap();
        rows.is_empty().then_some(())
    };
    wait_for("an empty inbox", SOON, left).await;
}

async fn inner(replica: &Replica, parent: ExecutionId) -> ExecutionId {
    let found = async || {
        let view = replica.app.view(&CallContext::default(), parent, None, true).await.ok()?;
        view.waits().iter().find(|w| w.kind == "child")?.what.parse().ok()
    };
    wait_for("the sub-workflow", SOON, found).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_workflow_gives_its_output_to_its_parent_on_both_stores() {
    for world in [World::sqlite(), World::postgres().await] {
        with_family(&world);
        let a = world.replica("a").await;
        a.owns(SHARDS.into()).await;
        let mut ids = Vec::new();
        for key in keys(2) {
            ids.push(a.start_of("parent", &key).await);
        }
        all_completed(&a.journal, &ids).await;
        assert_eq!(world.agents.messages(), ids.len());
        let view = a.app.view(&CallContext::default(), ids[0], None, true).await.unwrap();
        assert_eq!(&view.output().unwrap().bytes()[..], b"{\"task\":\"t\"}");
        assert_eq!(view.spent().calls, 1, "what the sub-workflow spent counts");
        no_mail(&a).await;
        a.drain(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sub_workflow_may_spend_is_held_back_from_its_parent_until_it_ends() {
    for world in [World::sqlite(), World::postgres().await] {
        with_family(&world);
        world.agents.open(false);
        let a = world.replica("a").await;
        a.owns(SHARDS.into()).await;
        let id = a.start_of("shared", "k").await;
        let held = async |a: &Replica| {
            let view = a.app.view(&CallContext::default(), id, None, true).await.ok()?;
            let waits = |r: &workflow::Reason| r.why == workflow::Why::NoRoom;
            (world.agents.waiting() == 1 && view.stuck().iter().any(waits)).then_some(())
        };
        wait_for("the call of the parent to wait for the sub-workflow", SOON, async || held(&a).await).await;
        a.die().await;
        let a = world.replica("a").await;
        a.owns(SHARDS.into()).await;
        let asked = world.agents.messages();
        wait_for("the sub-workflow to ask again after a crash", SOON, async || {
            (world.agents.repeated() == 1).then_some(())
        })
        .await;
        assert_eq!(asked, 1);
        world.agents.open(true);
        all_completed(&a.journal, &[id]).await;
        let view = a.app.view(&CallContext::default(), id, None, true).await.unwrap();
        assert_eq!((view.spent().calls, world.agents.messages()), (2, 2), "settled once");
        no_mail(&a).await;
        a.drain(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_workflows_side_by_side_make_no_more_calls_than_their_parent_may() {
    for world in [World::sqlite(), World::postgres().await] {
        with_family(&world);
        let a = world.replica("a").await;
        a.owns(SHARDS.into()).await;
        let id = a.start_of("twins", "k").await;
        wait_for("its end", SOON, async || (status(&a, id).await? == "failed").then_some(())).await;
        let view = a.app.view(&CallContext::default(), id, None, true).await.unwrap();
        assert_eq!(
            (view.spent().calls, world.agents.messages()),
            (3, 3),
            "the first takes two, the second one"
        );
        let of_budget = |c: &workflow::Cause| c.class == base::FailureClass::Budget;
        assert!(view.causes().iter().any(of_budget), "{:?}", view.causes());
        no_mail(&a).await;
        a.drain(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_workflow_that_cannot_start_fails_its_task_with_the_reason() {
    let world = World::sqlite();
    with_family(&world);
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let id = a.start_of("orphaned", "k").await;
    wait_for("its end", SOON, async || (status(&a, id).await? == "failed").then_some(())).await;
    let view = a.app.view(&CallContext::default(), id, None, true).await.unwrap();
    assert!(view.causes().iter().any(|c| c.message.contains("nowhere")), "{:?}", view.causes());
    no_mail(&a).await;
    a.drain(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cancel_of_a_parent_reaches_its_sub_workflow() {
    let world = World::sqlite();
    with_family(&world);
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let parent = a.start_of("parent", "k").await;
    wait_for("the call", SOON, async || (world.agents.waiting() == 1).then_some(())).await;
    let below = inner(&a, parent).await;
    let cancel = Command::Cancel { reason: "enough".into() };
    a.app.command(&CallContext::default(), parent, cancel).await.unwrap();
    wait_for("its end", SOON, async || (status(&a, below).await? == "cancelled").then_some(())).await;
    no_mail(&a).await;
    a.drain(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_workflow_is_started_once_and_ends_its_parent_whichever_replica_dies() {
    let world = World::postgres().await;
    with_family(&world);
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let b = world.replica("b").await;
    a.owns(usize::from(SHARDS) / 2).await;
    b.owns(usize::from(SHARDS) / 2).await;
    let here = |key: &String| a.cluster.owner_of(id_of(key)) == executor::cluster::Place::Here;
    let own: Vec<String> = keys(3).into_iter().filter(here).collect();
    let mut ids = Vec::new();
    for key in &own {
        ids.push(a.start_of("parent", key).await);
    }
    let count = ids.len();
    wait_for("every call", SOON, async || (world.agents.messages() == count).then_some(())).await;
    // The owner of all parents and of some of the sub-workflows is gone; the other ends what is left.
    a.die().await;
    b.owns(SHARDS.into()).await;
    world.agents.open(true);
    all_completed(&b.journal, &ids).await;
    assert_eq!(world.agents.messages(), count, "each was started once");
    no_mail(&b).await;
    b.drain(SOON).await;
}
