//! `kill -9` of everything that can be killed, in the middle of 200 executions.

use std::time::{SystemTime, UNIX_EPOCH};

use agent::Effect;
use harness::{Act, Shape, System};
use serde_json::json;

use crate::work::{STEPS, Work, taken_over, until_undecided};

const EXECUTIONS: usize = 200;
/// Kills of one run.
const KILLS: usize = 3;

/// Moments at which to kill, as numbers of calls that the agent has seen: the same for the same seed, on any machine.
/// `ORCHESTRA_TEST_SEED` repeats a run.
fn moments() -> Vec<usize> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let given = std::env::var("ORCHESTRA_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let mut seed: u64 = given.unwrap_or_else(now);
    eprintln!("ORCHESTRA_TEST_SEED={seed}");
    let mut draw = || {
        // splitmix64
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let calls = (EXECUTIONS * STEPS) as u64;
    let mut moments: Vec<usize> = (0..KILLS).map(|_| (1 + draw() % (calls * 3 / 4)) as usize).collect();
    moments.sort_unstable();
    moments
}

/// Runs the executions and calls `strike` at every moment.
async fn struck(system: &System, mut strike: impl AsyncFnMut(usize)) {
    let work = Work::prepare(system, Effect::Idempotent).await;
    let clients = work.start(EXECUTIONS);
    for (number, moment) in moments().into_iter().enumerate() {
        work.agent.until_asked(moment).await;
        strike(number).await;
    }
    let ids = work.all_acknowledged(clients, EXECUTIONS).await;
    work.check(&ids).await;
    work.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_that_is_killed_loses_and_repeats_nothing() {
    let system = tokio::task::block_in_place(|| System::start(Shape::OneProcess, &[]));
    let _logs = system.shown_on_failure();
    struck(&system, async |_| {
        system.kill("all");
        system.restart("all");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_and_repeats_nothing_whoever_is_killed() {
    let system = tokio::task::block_in_place(|| System::start(Shape::Cluster, &[]));
    let _logs = system.shown_on_failure();
    eprintln!("an executor, each in its turn");
    struck(&system, async |number| {
        let (victim, other) = [("executor-1", "executor-2"), ("executor-2", "executor-1")][number % 2];
        system.kill(victim);
        taken_over(&system, other).await;
        system.restart(victim);
    })
    .await;
    for victim in ["registry", "planner"] {
        eprintln!("the {victim}");
        struck(&system, async |_| {
            system.kill(victim);
            system.restart(victim);
        })
        .await;
    }
    eprintln!("Redis, which comes back empty");
    struck(&system, async |_| system.restart_redis_empty()).await;
    eprintln!("PostgreSQL");
    struck(&system, async |_| system.restart_postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_irreversible_call_of_unknown_outcome_waits_for_a_person() {
    for shape in Shape::ALL {
        let system = tokio::task::block_in_place(|| System::start(shape, &[]));
        let _logs = system.shown_on_failure();
        let mut work = Work::prepare_with(&system, Effect::Irreversible, |seen| match seen.task.as_str() {
            "step0" => Act::Hold(json!("never told")),
            _ => Act::Answer(json!("second")),
        })
        .await;
        let ids = work.all_acknowledged(work.start(2), 2).await;
        work.agent.until_asked(2).await;
        // The orchestrator dies, and the agent with it: nobody knows what became of the calls.
        for node in shape.nodes().iter().filter(|n| n.starts_with("executor") || **n == "all") {
            system.kill(node);
        }
        let (seen, api) = (work.agent.seen(), system.api());
        work.agent.crash();
        for node in shape.nodes().iter().filter(|n| n.starts_with("executor") || **n == "all") {
            system.restart(node);
        }
        for id in &ids {
            until_undecided(&api, id, "step0").await;
        }
        let path = |id: &str| format!("/executions/{id}/tasks/step0/resolve");
        api.post(&path(&ids[0]), &json!({"failed": "it did not"})).await.expect(200);
        assert_eq!(api.ended(&ids[0]).await["status"], "failed");
        api.post(&path(&ids[1]), &json!({"completed": {"by": "hand"}})).await.expect(200);
        let execution = api.until_task(&ids[1], "step0", "completed").await;
        assert_eq!(harness::Api::task(&execution, "step0")["output"], json!({"by": "hand"}));
        assert_eq!(seen.iter().filter(|s| s.task == "step0").count(), 2, "asked once each");
    }
}
