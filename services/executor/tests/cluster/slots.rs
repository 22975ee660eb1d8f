//! Slots of instances over several replicas.

use std::sync::atomic::Ordering;

use executor::cluster::Place;

use crate::kit::{SHARDS, World, all_completed, id_of, keys};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_never_gets_more_calls_than_it_takes() {
    let mut world = World::postgres().await;
    world.capacity = 3;
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let b = world.replica("b").await;
    a.owns(usize::from(SHARDS) / 2).await;
    b.owns(usize::from(SHARDS) / 2).await;
    let mut ids = Vec::new();
    for key in keys(4) {
        let owner = if a.cluster.owner_of(id_of(&key)) == Place::Here { &a } else { &b };
        ids.push(owner.start(&key).await);
    }
    all_completed(&a.journal, &ids).await;
    let most = world.agents.at_once_max.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most} calls at once");
    assert_eq!(world.agents.repeated(), 0);
}
