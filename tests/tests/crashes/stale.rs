//! An executor that was asleep for longer than its lease.

use agent::Effect;
use harness::{Act, Shape, System};
use serde_json::json;

use crate::work::{Work, taken_over};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_slept_through_its_lease_commits_nothing() {
    let system = tokio::task::block_in_place(|| System::start(Shape::Cluster, &[]));
    let _logs = system.shown_on_failure();
    let work = Work::prepare_with(&system, Effect::Idempotent, |seen| Act::Hold(json!(seen.task))).await;
    let ids = work.all_acknowledged(work.start(20), 20).await;
    work.agent.until_asked(20).await;
    system.signal("executor-1", "STOP");
    taken_over(&system, "executor-2").await;
    // Everything that both of them wait for is answered while one sleeps, and the answers reach it when it wakes.
    work.agent.release();
    let fenced = system.sql("SELECT coalesce(max(pos), 0) FROM executor.log");
    system.signal("executor-1", "CONT");
    system.wait_end("executor-1");
    work.check(&ids).await;
    assert_ne!(fenced, system.sql("SELECT coalesce(max(pos), 0) FROM executor.log"));
    // One chain of events for each execution: no number twice, none missing.
    let broken = system.sql(
        "SELECT execution_id FROM (SELECT execution_id, first_seq, \
         lag(first_seq + count) OVER (PARTITION BY execution_id ORDER BY first_seq) AS wanted \
         FROM executor.log) rows WHERE wanted IS NOT NULL AND wanted <> first_seq",
    );
    assert_eq!(broken, [] as [String; 0]);
    system.restart("executor-1");
}
