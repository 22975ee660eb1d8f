//! What only concerns the server: locks, lost connections, settings, plans.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, Row};
use store::{
    Journal, OpenError, PostgresJournal, PostgresOptions, StoreError,
    journal::{Cursor, ExecutionFilter, Group, Log, Members, Membership, Outcome, Summary},
    topics::{AskedFilter, AskedPlace, AskedStore},
};
use testkit::wait_for;

use crate::{kit::*, proxy::Proxy};

const SOON: Duration = Duration::from_secs(20);

async fn database() -> String {
    tokio::task::spawn_blocking(testkit::fresh_database).await.unwrap()
}

async fn open(url: &str) -> Arc<PostgresJournal> {
    let journal = PostgresJournal::open(&PostgresOptions::new(url)).await.unwrap();
    journal.ensure_shards(SHARDS).await.unwrap();
    Arc::new(journal)
}

async fn member(journal: &PostgresJournal, name: &str, lease: Duration) -> Membership {
    journal.join(join(name, lease)).await.unwrap()
}

/// A connection that holds a member's row the way a commit in flight does.
async fn hold_row(url: &str, name: &str) -> PgConnection {
    let mut conn = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut conn).await.unwrap();
    sqlx::query("SELECT 1 FROM executor.members WHERE id = $1 FOR KEY SHARE")
        .bind(name)
        .execute(&mut conn)
        .await
        .unwrap();
    conn
}

/// Waits until a backend whose statement contains `text` waits for a lock.
async fn until_blocked(url: &str, text: &str) {
    let mut look = PgConnection::connect(url).await.unwrap();
    wait_for("a statement that waits for a lock", SOON, async || {
        let found: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
                 AND query LIKE '%' || $1 || '%'",
        )
        .bind(text)
        .fetch_one(&mut look)
        .await
        .unwrap();
        (found > 0).then_some(())
    })
    .await;
}

/// How the statement of a commit begins; the server shows no more than its first kilobyte.
const COMMIT: &str = "WITH me AS MATERIALIZED";

/// Kills the backends of commits in flight, all or those that wait for `wait`, and says how many.
async fn kill(conn: &mut PgConnection, wait: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE state = 'active'
             AND datname = current_database() AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()
             AND ($2 = '' OR wait_event_type = $2)",
    )
    .bind(COMMIT)
    .bind(wait)
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_waits_for_a_statement_in_flight() {
    let url = database().await;
    let journal = open(&url).await;
    let (dead, heir) = (member(&journal, "a", Duration::ZERO).await, member(&journal, "b", LEASE).await);
    journal.claim(&dead, 1).await.unwrap();
    let mut in_flight = hold_row(&url, "a").await;
    let take_over = tokio::spawn({
        let (journal, heir, dead) = (journal.clone(), heir.clone(), dead.clone());
        async move { journal.take_over(&heir, &dead.id, 9).await }
    });
    until_blocked(&url, "nextval('incarnations')").await;
    assert_eq!(journal.roster().await.unwrap().shards[1], Some(dead.id.clone()), "nothing has moved yet");
    sqlx::raw_sql("COMMIT").execute(&mut in_flight).await.unwrap();
    assert_eq!(take_over.await.unwrap().unwrap(), [1]);
    let late = journal.commit(group(&dead, vec![start(1)])).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_does_not_wait_for_a_commit() {
    let url = database().await;
    let journal = open(&url).await;
    let me = member(&journal, "a", LEASE).await;
    let in_flight = hold_row(&url, "a").await;
    tokio::time::timeout(SOON, journal.renew(&me, LEASE)).await.expect("it did not wait").unwrap();
    drop(in_flight);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_came_back_keeps_its_shards_from_a_late_take_over() {
    let url = database().await;
    let journal = open(&url).await;
    let (dead, heir) = (member(&journal, "a", Duration::ZERO).await, member(&journal, "b", LEASE).await);
    journal.claim(&dead, 1).await.unwrap();
    // The dead one restarts while the take-over waits for its last statement.
    let mut in_flight = hold_row(&url, "a").await;
    let take_over = tokio::spawn({
        let (journal, heir, dead) = (journal.clone(), heir.clone(), dead.clone());
        async move { journal.take_over(&heir, &dead.id, 9).await }
    });
    until_blocked(&url, "nextval('incarnations')").await;
    let back = tokio::spawn({
        let journal = journal.clone();
        async move { member(&journal, "a", LEASE).await }
    });
    until_blocked(&url, "INSERT INTO members").await;
    sqlx::raw_sql("COMMIT").execute(&mut in_flight).await.unwrap();
    let (moved, back) = (take_over.await.unwrap().unwrap(), back.await.unwrap());
    let owner = journal.roster().await.unwrap().shards[1].clone().unwrap();
    // Whichever came first, exactly one of them owns the shard, and both know it.
    assert_eq!(moved == [1], owner == heir.id);
    journal.renew(&back, LEASE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_connection_died_before_it_took_effect_is_sent_again() {
    let url = database().await;
    let journal = open(&url).await;
    let me = member(&journal, "a", LEASE).await;
    // The committer's statement blocks on this lock, so it is in flight when its backend is killed.
    let mut lock = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE executor.log IN SHARE MODE").execute(&mut lock).await.unwrap();
    let commit = tokio::spawn({
        let (journal, me) = (journal.clone(), me.clone());
        async move { journal.commit(group(&me, vec![start(1)])).await }
    });
    until_blocked(&url, COMMIT).await;
    assert_eq!(kill(&mut lock, "Lock").await, 1);
    sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
    assert_eq!(commit.await.unwrap().unwrap(), [Outcome::Committed]);
    assert_eq!(journal.read_shard_log(1, 0, 10).await.unwrap().len(), 1);
    let fence: i64 = sqlx::query_scalar("SELECT fence FROM executor.members WHERE id = 'a'")
        .fetch_one(&mut lock)
        .await
        .unwrap();
    assert!(fence > 0, "the lost statement was shut out");
    assert_eq!(journal.roster().await.unwrap().members[0].incarnation, me.incarnation);
    assert_eq!(journal.commit(group(&me, vec![events(1, 3, 2)])).await.unwrap(), [Outcome::Committed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_found_and_not_repeated() {
    let url = database().await;
    let proxy = Proxy::start(&url).await;
    let journal = open(&proxy.url).await;
    let me = member(&journal, "a", LEASE).await;
    journal.commit(group(&me, vec![exclusive(1, "k"), start(2)])).await.unwrap();
    proxy.swallow_answers();
    let mut repeated = start(2);
    repeated.log = Some(row(1, 9));
    let batch = vec![start(3), repeated, exclusive(4, "k"), events(1, 3, 5)];
    let commit = tokio::spawn({
        let (journal, me) = (journal.clone(), me.clone());
        async move { journal.commit(group(&me, batch)).await }
    });
    let mut direct = PgConnection::connect(&url).await.unwrap();
    wait_for("the commit on the server", SOON, async || {
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM executor.log").fetch_one(&mut direct).await.unwrap();
        (rows == 4).then_some(())
    })
    .await;
    proxy.cut();
    use store::journal::Rejection::{ExclusiveTaken, StartKeyTaken};
    assert_eq!(
        commit.await.unwrap().unwrap(),
        [
            Outcome::Committed,
            Outcome::Rejected(StartKeyTaken),
            Outcome::Rejected(ExclusiveTaken { by: Some(id(1)) }),
            Outcome::Committed,
        ]
    );
    assert_eq!(journal.read_shard_log(1, 0, 10).await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_loses_and_repeats_nothing() {
    let mut server = tokio::task::spawn_blocking(testkit::Postgres::start).await.unwrap();
    let url = server.fresh_database();
    let journal = open(&url).await;
    let me = member(&journal, "a", LEASE).await;
    let writers: Vec<_> = (0..4u16)
        .map(|shard| {
            let (journal, me) = (journal.clone(), me.clone());
            tokio::spawn(async move {
                for pos in 1..=150i64 {
                    let mut item = start(u64::from(shard) * 1000 + pos as u64);
                    item.log = Some(row(1, pos));
                    let group = Group { by: me.clone(), shard, items: vec![item] };
                    assert_eq!(journal.commit(group).await.unwrap(), [Outcome::Committed]);
                }
            })
        })
        .collect();
    wait_for("some commits", SOON, async || (journal.last_pos(0).await.unwrap() > 20).then_some(())).await;
    tokio::task::spawn_blocking(move || {
        server.restart();
        server
    })
    .await
    .map(|server| async move {
        for writer in writers {
            writer.await.unwrap();
        }
        for shard in 0..4 {
            let rows = journal.read_shard_log(shard, 0, 1000).await.unwrap();
            assert_eq!(rows.iter().map(|e| e.row.pos).collect::<Vec<_>>(), (1..=150).collect::<Vec<_>>());
        }
        journal.renew(&me, LEASE).await.unwrap();
        drop(server);
    })
    .unwrap()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_does_not_wait_for_a_server_that_stays_away() {
    let server = tokio::task::spawn_blocking(testkit::Postgres::start).await.unwrap();
    let options = PostgresOptions {
        commit_timeout: Duration::from_millis(200),
        acquire_timeout: Duration::from_millis(200),
        ..PostgresOptions::new(server.fresh_database())
    };
    let journal = Arc::new(PostgresJournal::open(&options).await.unwrap());
    journal.ensure_shards(SHARDS).await.unwrap();
    let me = member(&journal, "a", LEASE).await;
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
    let commit = tokio::spawn({
        let journal = journal.clone();
        async move { journal.commit(group(&me, vec![start(1)])).await }
    });
    let read = journal.last_pos(1).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(!commit.is_finished(), "an outcome is found out, not guessed");
    tokio::time::timeout(SOON, journal.close()).await.expect("it closes");
    assert!(matches!(commit.await.unwrap(), Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_committer_that_lost_its_connection_does_not_fence_the_others() {
    let url = database().await;
    let options = PostgresOptions { committers: 4, ..PostgresOptions::new(&url) };
    let journal = Arc::new(PostgresJournal::open(&options).await.unwrap());
    journal.ensure_shards(SHARDS).await.unwrap();
    let me = member(&journal, "a", LEASE).await;
    let writers: Vec<_> = (0..SHARDS)
        .map(|shard| {
            let (journal, me) = (journal.clone(), me.clone());
            tokio::spawn(async move {
                for pos in 1..=100i64 {
                    let mut item = start(u64::from(shard) * 1000 + pos as u64);
                    item.log = Some(row(1, pos));
                    let group = Group { by: me.clone(), shard, items: vec![item] };
                    assert_eq!(journal.commit(group).await.unwrap(), [Outcome::Committed]);
                }
            })
        })
        .collect();
    let mut killer = PgConnection::connect(&url).await.unwrap();
    let mut killed = 0;
    while !writers.iter().all(|w| w.is_finished()) {
        killed += kill(&mut killer, "").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(killed > 0, "no connection was lost");
    for shard in 0..SHARDS {
        assert_eq!(journal.read_shard_log(shard, 0, 1000).await.unwrap().len(), 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jsonb_cannot_hold_fails_alone() {
    let url = database().await;
    let journal = open(&url).await;
    let me = member(&journal, "a", LEASE).await;
    let mut guilty = insert(2);
    guilty.summary = Summary { task_states: Some("{\"a\": \"\\u0000\"}".into()), ..Summary::default() };
    let items = vec![start(1), start_with(2, guilty), start(3)];
    let outcomes = journal.commit(group(&me, items)).await.unwrap();
    assert!(
        matches!(&outcomes[..], [Outcome::Committed, Outcome::Failed(why), Outcome::Committed]
        if why.contains("22P05")),
        "{outcomes:?}"
    );
    assert_eq!(journal.read_shard_log(1, 0, 10).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_acknowledges_too_early_is_refused() {
    let settings = vec![("synchronous_commit".to_owned(), "off".to_owned())];
    let start = move || testkit::Postgres::start_with(testkit::PostgresOptions { settings });
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let options = PostgresOptions::new(server.url());
    let refused = PostgresJournal::open(&options).await.unwrap_err();
    assert!(matches!(refused, OpenError::UnsafeDurability { setting: "synchronous_commit" }), "{refused}");
    let allowed = PostgresOptions { allow_unsafe_durability: true, ..options };
    let journal = PostgresJournal::open(&allowed).await.unwrap();
    assert!(journal.warnings()[0].contains("synchronous_commit=off"), "{:?}", journal.warnings());
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_migrate_once() {
    let url = database().await;
    let options = PostgresOptions::new(&url);
    let opened = futures::future::join_all((0..4).map(|_| PostgresJournal::open(&options))).await;
    for journal in &opened {
        journal.as_ref().unwrap().ensure_shards(SHARDS).await.unwrap();
        assert!(journal.as_ref().unwrap().warnings().is_empty());
    }
    let mut conn = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("INSERT INTO executor.schema_migrations VALUES (99, 'later', 'x')")
        .execute(&mut conn)
        .await
        .unwrap();
    let refused = PostgresJournal::open(&options).await.unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found: 99, .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named() {
    let url = format!("postgres://me:secret@127.0.0.1:{}/db", testkit::free_port());
    let refused = PostgresJournal::open(&PostgresOptions::new(url)).await.unwrap_err().to_string();
    assert!(refused.contains("PostgreSQL at 127.0.0.1:") && !refused.contains("secret"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_statuses_and_timers_walk_an_index() {
    let url = database().await;
    let journal = open(&url).await;
    let mut conn = PgConnection::connect(&url).await.unwrap();
    // As many as the planner needs to take an index seriously.
    let fill =
        "INSERT INTO executor.executions (execution_id, tenant, workflow_id, workflow_name, workflow_version,
            shard, status, current_phase, priority, started_at, wake_at, completed_at, correlation_id)
        SELECT gen_random_uuid(), 'default', md5((n % 50)::text)::uuid, 'w', '1', n % 8,
            (ARRAY['completed', 'failed', 'executing', 'paused'])[1 + n % 4], '', 0, n,
            CASE WHEN n % 100 = 2 THEN n END, CASE WHEN n % 100 <> 2 THEN n END,
            CASE WHEN n % 10 = 0 THEN 'order-' || n % 70 END
        FROM generate_series(1, 20000) AS n; ANALYZE executor.executions";
    sqlx::raw_sql(fill).execute(&mut conn).await.unwrap();
    let workflow: uuid::Uuid =
        sqlx::query("SELECT md5('7')::uuid").fetch_one(&mut conn).await.unwrap().get(0);
    let all = ExecutionFilter::default;
    let after = Some(Cursor { started_at: base::Timestamp::from_micros(9000), execution_id: id(1) });
    for (filter, index) in [
        (all(), "executions_started"),
        (ExecutionFilter { statuses: vec!["paused".into()], ..all() }, "executions_status"),
        (
            ExecutionFilter { workflow_id: Some(base::WorkflowId::new(workflow)), ..all() },
            "executions_workflow",
        ),
        (ExecutionFilter { correlation_id: Some("order-10".into()), ..all() }, "executions_correlation"),
        (ExecutionFilter { stuck: vec!["signal".into()], ..all() }, "executions_stuck"),
    ] {
        let plan = journal.explain_list(&filter, after).await.unwrap().join("\n");
        assert!(plan.contains(index) && !plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
    }
    let several = ExecutionFilter { statuses: vec!["paused".into(), "executing".into()], ..all() };
    let plan = journal.explain_list(&several, None).await.unwrap().join("\n");
    assert_eq!(plan.matches("executions_status").count(), 2, "{plan}");
    let fill = "INSERT INTO executor.waits (tenant, execution_id, task, topic, key, since, asked)
        SELECT 'default', gen_random_uuid(), 0, CASE WHEN n % 100 = 0 THEN '' ELSE 't' END, '', n,
            CASE WHEN n % 100 = 0 THEN '{\"who\": []}' END FROM generate_series(1, 20000) AS n;
        ANALYZE executor.waits";
    sqlx::raw_sql(fill).execute(&mut conn).await.unwrap();
    let asked = AskedStore::new(journal.tables());
    let place = AskedPlace { since: base::Timestamp::from_micros(9000), execution_id: id(1), task: 0 };
    for (after, who) in [(None, None), (Some(place), None), (Some(place), Some("ann".to_owned()))] {
        let plan =
            asked.explain(&AskedFilter { who, ..AskedFilter::default() }, after).await.unwrap().join("\n");
        assert!(
            plan.contains("waits_asked") && !plan.contains("Sort") && !plan.contains("Seq Scan"),
            "{plan}"
        );
    }
    let plan = journal.explain_due().await.unwrap().join("\n");
    assert!(plan.contains("executions_open") && !plan.contains("Seq Scan"), "{plan}");
    let fill = "INSERT INTO executor.log (execution_id, first_seq, count, shard, pos, tenant, schema, body)
        SELECT gen_random_uuid(), 1, 1, n % 8, n, 'default', 1, ''::bytea FROM generate_series(1, 20000) AS n;
        ANALYZE executor.log";
    sqlx::raw_sql(fill).execute(&mut conn).await.unwrap();
    let plan = journal.explain_status().await.unwrap().join("\n");
    assert!(plan.contains("executions_pkey") && plan.contains("log_execution"), "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("Sort"), "{plan}");
}
