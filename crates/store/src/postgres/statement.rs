//! A batch of items as the parameters of one statement.

use std::collections::HashSet;

use base::ExecutionId;
use sqlx::{
    PgConnection, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use super::i64_of;
use crate::journal::{
    ExecutionInsert, ExecutionUpdate, ExecutionWrite, Item, Membership, Outcome, Rejection, Summary,
    WaitWrite, columns,
};

/// The hot path: log rows only. The member's row is read and held in the same statement; without it nothing is written.
const LOG_ONLY: &str = "
WITH me AS MATERIALIZED (
    SELECT 1 FROM members WHERE id = $1 AND incarnation = $2 AND fence = $3 FOR KEY SHARE
), logged AS (
    INSERT INTO log (execution_id, first_seq, count, shard, pos, tenant, schema, body)
    SELECT l.* FROM me, unnest($4::uuid[], $5::bigint[], $6::integer[], $7::smallint[], $8::bigint[], $9::text[],
        $10::integer[], $11::bytea[]) AS l
)
SELECT count(*) FROM me";

/// Everything a group can hold. Sub-statements see the database as it was before; what one of them wrote reaches another
/// through RETURNING. `$12` says of a log row whether it begins with an insert, `gate` columns name the insert that a
/// row depends on.
const FULL: &str = "
WITH me AS MATERIALIZED (
    SELECT 1 FROM members WHERE id = $1 AND incarnation = $2 AND fence = $3 FOR KEY SHARE
), start AS MATERIALIZED (
    SELECT s.*, e.execution_id IS NOT NULL AS known, x.execution_id AS holder
    FROM me, unnest($13::uuid[], $14::text[], $15::uuid[], $16::text[], $17::text[], $18::smallint[], $19::text[],
        $20::text[], $21::integer[], $22::bytea[], $23::bigint[], $24::bigint[], $25::bigint[], $26::text[],
        $27::text[], $28::text[], $29::text[], $80::text[]) AS s(execution_id, tenant, workflow_id, workflow_name,
        workflow_version, shard, status, current_phase, priority, request_hash, started_at, wake_at, completed_at,
        agents, states, metrics, key, correlation_id)
    LEFT JOIN executions AS e ON e.execution_id = s.execution_id
    LEFT JOIN exclusive AS x ON x.tenant = s.tenant AND x.key = s.key
), freed AS (
    DELETE FROM exclusive AS x USING me, unnest($41::text[], $42::text[], $43::uuid[]) AS r(tenant, key, execution_id)
    WHERE x.tenant = r.tenant AND x.key = r.key AND x.execution_id = r.execution_id
), taken AS (
    INSERT INTO exclusive (tenant, key, execution_id)
    SELECT tenant, key, execution_id FROM start WHERE key IS NOT NULL AND NOT known
    ON CONFLICT (tenant, key) DO NOTHING RETURNING execution_id
), born AS (
    INSERT INTO executions (execution_id, tenant, workflow_id, workflow_name, workflow_version, shard, status,
        current_phase, priority, request_hash, started_at, wake_at, completed_at, allocated_agents, task_states,
        performance_metrics, correlation_id)
    SELECT execution_id, tenant, workflow_id, workflow_name, workflow_version, shard, status, current_phase, priority,
        request_hash, started_at, wake_at, completed_at, coalesce(agents::jsonb, '[]'), coalesce(states::jsonb, '{}'),
        coalesce(metrics::jsonb, '{}'), correlation_id
    FROM start WHERE NOT known AND (key IS NULL OR execution_id IN (SELECT execution_id FROM taken))
    RETURNING execution_id
), logged AS (
    INSERT INTO log (execution_id, first_seq, count, shard, pos, tenant, schema, body)
    SELECT l.execution_id, l.first_seq, l.count, l.shard, l.pos, l.tenant, l.schema, l.body
    FROM me, unnest($4::uuid[], $5::bigint[], $6::integer[], $7::smallint[], $8::bigint[], $9::text[],
        $10::integer[], $11::bytea[], $12::boolean[])
        AS l(execution_id, first_seq, count, shard, pos, tenant, schema, body, starts)
    WHERE NOT l.starts OR l.execution_id IN (SELECT execution_id FROM born)
), updated AS (
    UPDATE executions AS e SET status = u.status, current_phase = coalesce(u.current_phase, e.current_phase),
        wake_at = u.wake_at, completed_at = u.completed_at,
        allocated_agents = coalesce(u.agents::jsonb, e.allocated_agents),
        task_states = coalesce(u.states::jsonb, e.task_states),
        performance_metrics = coalesce(u.metrics::jsonb, e.performance_metrics),
        snapshot_seq = coalesce(u.snapshot_seq, e.snapshot_seq),
        snapshot_schema = coalesce(u.snapshot_schema, e.snapshot_schema),
        snapshot = coalesce(u.snapshot, e.snapshot), stuck_reason = u.stuck_reason, stuck_detail = u.stuck_detail
    FROM me, unnest($30::uuid[], $31::text[], $32::text[], $33::bigint[], $34::bigint[], $35::text[], $36::text[],
        $37::text[], $38::bigint[], $39::integer[], $40::bytea[], $81::text[], $82::text[])
        AS u(execution_id, status, current_phase, wake_at, completed_at, agents, states, metrics, snapshot_seq,
        snapshot_schema, snapshot, stuck_reason, stuck_detail)
    WHERE e.execution_id = u.execution_id
), done AS (
    DELETE FROM inbox AS i USING me, unnest($44::smallint[], $45::uuid[], $46::uuid[]) AS d(shard, command_id, gate)
    WHERE i.shard = d.shard AND i.command_id = d.command_id
        AND (d.gate IS NULL OR d.gate IN (SELECT execution_id FROM born))
), checked AS (
    INSERT INTO checkpoints (tenant, execution_id, checkpoint_id, seq, created_at, state_snapshot,
        recovery_instructions)
    SELECT c.tenant, c.execution_id, c.checkpoint_id, c.seq, c.created_at, c.state::jsonb, c.instructions::jsonb
    FROM me, unnest($47::text[], $48::uuid[], $49::uuid[], $50::bigint[], $51::bigint[], $52::text[], $53::text[],
        $54::uuid[]) AS c(tenant, execution_id, checkpoint_id, seq, created_at, state, instructions, gate)
    WHERE c.gate IS NULL OR c.gate IN (SELECT execution_id FROM born)
    ON CONFLICT DO NOTHING
), cut AS (
    INSERT INTO cuts (shard, call, tenant, execution_id, instance, agent_task_id, cut_at)
    SELECT c.* FROM me, unnest($55::smallint[], $56::uuid[], $57::text[], $58::uuid[], $59::text[], $60::text[],
        $61::bigint[]) AS c
    ON CONFLICT DO NOTHING
), closed AS (
    DELETE FROM waits AS w USING me, unnest($62::text[], $63::uuid[], $64::bigint[]) AS c(tenant, execution_id, task)
    WHERE w.tenant = c.tenant AND w.execution_id = c.execution_id AND (c.task IS NULL OR w.task = c.task)
), opened AS (
    INSERT INTO waits (tenant, execution_id, task, topic, key, since, asked)
    SELECT w.tenant, w.execution_id, w.task, w.topic, w.key, w.since, w.asked
    FROM me, unnest($65::text[], $66::uuid[], $67::bigint[], $68::text[], $69::text[], $70::bigint[], $71::uuid[],
        $83::text[]) AS w(tenant, execution_id, task, topic, key, since, gate, asked)
    WHERE w.gate IS NULL OR w.gate IN (SELECT execution_id FROM born)
    ON CONFLICT (tenant, execution_id, task) DO UPDATE SET topic = excluded.topic, key = excluded.key,
        since = excluded.since, asked = excluded.asked
), mailed AS (
    INSERT INTO inbox (shard, command_id, tenant, execution_id, kind, body, created_at)
    SELECT m.shard, m.command_id, m.tenant, m.execution_id, m.kind, m.body, m.created_at
    FROM me, unnest($72::smallint[], $73::uuid[], $74::text[], $75::uuid[], $76::text[], $77::bytea[], $78::bigint[],
        $79::uuid[]) AS m(shard, command_id, tenant, execution_id, kind, body, created_at, gate)
    WHERE m.gate IS NULL OR m.gate IN (SELECT execution_id FROM born)
    ON CONFLICT DO NOTHING
)
SELECT (SELECT count(*) FROM me),
    ARRAY(SELECT execution_id FROM born),
    ARRAY(SELECT execution_id FROM start WHERE known),
    ARRAY(SELECT execution_id FROM start WHERE holder IS NOT NULL ORDER BY execution_id),
    ARRAY(SELECT holder FROM start WHERE holder IS NOT NULL ORDER BY execution_id)";

/// An item and the shard it is written to.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) shard: u16,
    pub(super) item: &'a Item,
}

impl Part<'_> {
    pub(super) fn insert(&self) -> Option<&ExecutionInsert> {
        match &self.item.write {
            Some(ExecutionWrite::Insert(insert)) => Some(insert),
            _ => None,
        }
    }

    fn update(&self) -> Option<&ExecutionUpdate> {
        match &self.item.write {
            Some(ExecutionWrite::Update(update)) => Some(update),
            _ => None,
        }
    }

    fn gate(&self) -> Option<Uuid> {
        self.insert().map(|_| self.item.execution_id.uuid())
    }
}

/// Sends the batch as one autocommit statement. `None`: the member's row was not there, nothing was written.
pub(super) async fn send(
    conn: &mut PgConnection,
    by: &Membership,
    fence: i64,
    parts: &[Part<'_>],
) -> sqlx::Result<Option<Vec<Outcome>>> {
    let plain = |p: &Part<'_>| {
        let Item { write, checkpoint, inbox_done, cuts, waits, mail, .. } = p.item;
        let small = inbox_done.is_empty() && cuts.is_empty() && waits.is_empty() && mail.is_empty();
        write.is_none() && checkpoint.is_none() && small
    };
    let only_log = parts.iter().all(plain);
    let query = sqlx::query(if only_log { LOG_ONLY } else { FULL })
        .bind(by.id.as_str())
        .bind(i64_of(by.incarnation))
        .bind(fence);
    let query = bind_log(query, parts, !only_log);
    if only_log {
        let row = query.fetch_one(conn).await?;
        let alive = row.try_get::<i64, _>(0)? == 1;
        return Ok(alive.then(|| vec![Outcome::Committed; parts.len()]));
    }
    let query = bind_inserts(query, parts);
    let query = bind_updates(query, parts);
    let query = bind_rest(query, parts);
    let query = bind_cuts(query, parts);
    let query = bind_waits(query, parts);
    let query = bind_mail(query, parts);
    let query = bind_stuck(bind_correlations(query, parts), parts);
    let query = query.bind(opened_waits(parts).map(|w| w.asked).collect::<Vec<_>>());
    let row = query.fetch_one(conn).await?;
    outcomes(&row, parts)
}

type Bound<'q> = Query<'q, sqlx::Postgres, PgArguments>;

fn bind_log<'q>(query: Bound<'q>, parts: &'q [Part<'q>], with_starts: bool) -> Bound<'q> {
    let rows: Vec<_> = parts.iter().filter_map(|p| p.item.log.as_ref().map(|row| (p, row))).collect();
    let query = query
        .bind(rows.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.first_seq).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.count as i32).collect::<Vec<_>>())
        .bind(rows.iter().map(|(p, _)| p.shard as i16).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.pos).collect::<Vec<_>>())
        .bind(rows.iter().map(|(p, _)| p.item.tenant.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| i32::from(r.schema)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| &r.body[..]).collect::<Vec<_>>());
    match with_starts {
        true => query.bind(rows.iter().map(|(p, _)| p.insert().is_some()).collect::<Vec<_>>()),
        false => query,
    }
}

fn bind_inserts<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let rows: Vec<_> = parts.iter().filter_map(|p| p.insert().map(|insert| (p, insert))).collect();
    let query = query
        .bind(rows.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(p, _)| p.item.tenant.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| i.workflow_id.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| i.workflow_name.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| i.workflow_version.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(p, _)| p.shard as i16).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| &*i.status).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| &*i.current_phase).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| i.priority).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| i.request_hash.as_ref().map(|h| &h[..])).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| i.started_at.micros()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| columns::wake_column(i.wake)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, i)| i.completed_at.map(|at| at.micros())).collect::<Vec<_>>());
    bind_summaries(query, rows.iter().map(|(_, i)| &i.summary))
        .bind(rows.iter().map(|(_, i)| i.exclusive.as_deref()).collect::<Vec<_>>())
}

fn bind_summaries<'q>(query: Bound<'q>, rows: impl Iterator<Item = &'q Summary> + Clone) -> Bound<'q> {
    query
        .bind(rows.clone().map(|s| s.allocated_agents.as_deref()).collect::<Vec<_>>())
        .bind(rows.clone().map(|s| s.task_states.as_deref()).collect::<Vec<_>>())
        .bind(rows.map(|s| s.performance_metrics.as_deref()).collect::<Vec<_>>())
}

fn bind_updates<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let rows: Vec<_> = parts.iter().filter_map(|p| p.update().map(|update| (p, update))).collect();
    let query = query
        .bind(rows.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, u)| &*u.status).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, u)| u.current_phase.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, u)| columns::wake_column(u.wake)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, u)| u.completed_at.map(|at| at.micros())).collect::<Vec<_>>());
    let query = bind_summaries(query, rows.iter().map(|(_, u)| &u.summary))
        .bind(rows.iter().map(|(_, u)| u.snapshot.as_ref().map(|s| s.seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, u)| u.snapshot.as_ref().map(|s| i32::from(s.schema))).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, u)| u.snapshot.as_ref().map(|s| &s.body[..])).collect::<Vec<_>>());
    let freed: Vec<_> =
        rows.iter().filter_map(|(p, u)| u.release_exclusive.as_deref().map(|key| (p, key))).collect();
    query
        .bind(freed.iter().map(|(p, _)| p.item.tenant.as_str()).collect::<Vec<_>>())
        .bind(freed.iter().map(|(_, key)| *key).collect::<Vec<_>>())
        .bind(freed.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
}

fn bind_rest<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let done: Vec<_> = parts.iter().flat_map(|p| p.item.inbox_done.iter().map(move |id| (p, *id))).collect();
    let points: Vec<_> = parts.iter().filter_map(|p| p.item.checkpoint.as_ref().map(|c| (p, c))).collect();
    query
        .bind(done.iter().map(|(p, _)| p.shard as i16).collect::<Vec<_>>())
        .bind(done.iter().map(|(_, id)| *id).collect::<Vec<_>>())
        .bind(done.iter().map(|(p, _)| p.gate()).collect::<Vec<_>>())
        .bind(points.iter().map(|(p, _)| p.item.tenant.as_str()).collect::<Vec<_>>())
        .bind(points.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(points.iter().map(|(_, c)| c.checkpoint_id.uuid()).collect::<Vec<_>>())
        .bind(points.iter().map(|(_, c)| c.seq).collect::<Vec<_>>())
        .bind(points.iter().map(|(_, c)| c.created_at.micros()).collect::<Vec<_>>())
        .bind(points.iter().map(|(_, c)| c.state_snapshot.as_str()).collect::<Vec<_>>())
        .bind(points.iter().map(|(_, c)| c.recovery_instructions.as_str()).collect::<Vec<_>>())
        .bind(points.iter().map(|(p, _)| p.gate()).collect::<Vec<_>>())
}

fn bind_cuts<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let cuts: Vec<_> = parts.iter().flat_map(|p| p.item.cuts.iter().map(move |cut| (p, cut))).collect();
    query
        .bind(cuts.iter().map(|(p, _)| p.shard as i16).collect::<Vec<_>>())
        .bind(cuts.iter().map(|(_, c)| c.call).collect::<Vec<_>>())
        .bind(cuts.iter().map(|(p, _)| p.item.tenant.as_str()).collect::<Vec<_>>())
        .bind(cuts.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(cuts.iter().map(|(_, c)| c.instance.as_str()).collect::<Vec<_>>())
        .bind(cuts.iter().map(|(_, c)| c.agent_task_id.as_deref()).collect::<Vec<_>>())
        .bind(cuts.iter().map(|(_, c)| c.cut_at.micros()).collect::<Vec<_>>())
}

/// A wait that begins.
struct OpenedWait<'q> {
    part: &'q Part<'q>,
    task: i64,
    topic: &'q str,
    key: &'q str,
    since: i64,
    asked: Option<&'q str>,
}

fn opened_waits<'q>(parts: &'q [Part<'q>]) -> impl Iterator<Item = OpenedWait<'q>> {
    let all = parts.iter().flat_map(|part| part.item.waits.iter().map(move |wait| (part, wait)));
    all.filter_map(|(part, wait)| {
        let (task, topic, key, since, asked) = match wait {
            WaitWrite::Open { task, topic, key, since } => (task, topic.as_str(), key.as_str(), since, None),
            WaitWrite::Ask { task, since, asked } => (task, "", "", since, Some(asked.as_str())),
            WaitWrite::Close { .. } | WaitWrite::CloseAll => return None,
        };
        Some(OpenedWait { part, task: i64::from(*task), topic, key, since: since.micros(), asked })
    })
}

fn bind_waits<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let mut closed = Vec::new();
    for (p, wait) in parts.iter().flat_map(|p| p.item.waits.iter().map(move |wait| (p, wait))) {
        match wait {
            WaitWrite::Close { task } => closed.push((p, Some(i64::from(*task)))),
            WaitWrite::CloseAll => closed.push((p, None)),
            WaitWrite::Open { .. } | WaitWrite::Ask { .. } => {}
        }
    }
    let opened: Vec<_> = opened_waits(parts).collect();
    query
        .bind(closed.iter().map(|(p, _)| p.item.tenant.as_str()).collect::<Vec<_>>())
        .bind(closed.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(closed.iter().map(|(_, task)| *task).collect::<Vec<_>>())
        .bind(opened.iter().map(|w| w.part.item.tenant.as_str()).collect::<Vec<_>>())
        .bind(opened.iter().map(|w| w.part.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(opened.iter().map(|w| w.task).collect::<Vec<_>>())
        .bind(opened.iter().map(|w| w.topic).collect::<Vec<_>>())
        .bind(opened.iter().map(|w| w.key).collect::<Vec<_>>())
        .bind(opened.iter().map(|w| w.since).collect::<Vec<_>>())
        .bind(opened.iter().map(|w| w.part.gate()).collect::<Vec<_>>())
}

fn bind_mail<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let mail: Vec<_> = parts.iter().flat_map(|p| p.item.mail.iter().map(move |row| (p, row))).collect();
    query
        .bind(mail.iter().map(|(_, m)| m.shard as i16).collect::<Vec<_>>())
        .bind(mail.iter().map(|(_, m)| m.command_id).collect::<Vec<_>>())
        .bind(mail.iter().map(|(_, m)| m.tenant.as_str()).collect::<Vec<_>>())
        .bind(mail.iter().map(|(_, m)| m.execution_id.uuid()).collect::<Vec<_>>())
        .bind(mail.iter().map(|(_, m)| m.kind.as_str()).collect::<Vec<_>>())
        .bind(mail.iter().map(|(_, m)| &m.body[..]).collect::<Vec<_>>())
        .bind(mail.iter().map(|(_, m)| m.created_at.micros()).collect::<Vec<_>>())
        .bind(mail.iter().map(|(p, _)| p.gate()).collect::<Vec<_>>())
}

/// One for each start, in the order of [`bind_inserts`].
fn bind_correlations<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let starts = parts.iter().filter_map(Part::insert);
    query.bind(starts.map(|insert| insert.correlation_id.as_deref()).collect::<Vec<_>>())
}

/// One for each update, in the order of [`bind_updates`].
fn bind_stuck<'q>(query: Bound<'q>, parts: &'q [Part<'q>]) -> Bound<'q> {
    let stuck: Vec<_> = parts.iter().filter_map(Part::update).map(|update| update.stuck.as_ref()).collect();
    query
        .bind(stuck.iter().map(|s| s.map(|s| s.reason.as_str())).collect::<Vec<_>>())
        .bind(stuck.iter().map(|s| s.map(|s| s.detail.as_str())).collect::<Vec<_>>())
}

fn outcomes(row: &PgRow, parts: &[Part<'_>]) -> sqlx::Result<Option<Vec<Outcome>>> {
    if row.try_get::<i64, _>(0)? != 1 {
        return Ok(None);
    }
    let born: HashSet<Uuid> = row.try_get::<Vec<Uuid>, _>(1)?.into_iter().collect();
    let known: HashSet<Uuid> = row.try_get::<Vec<Uuid>, _>(2)?.into_iter().collect();
    let (lost, holders): (Vec<Uuid>, Vec<Uuid>) = (row.try_get(3)?, row.try_get(4)?);
    let outcome = |part: &Part<'_>| {
        let id = part.item.execution_id.uuid();
        let Some(insert) = part.insert().filter(|_| !born.contains(&id)) else { return Outcome::Committed };
        if known.contains(&id) {
            return Outcome::Rejected(Rejection::StartKeyTaken);
        }
        let before = lost.iter().position(|l| *l == id).and_then(|at| holders.get(at)).copied();
        // Not held before this statement: another start of the same batch has it.
        let rival = || {
            let same = |p: &&Part<'_>| {
                p.insert().is_some_and(|i| i.exclusive == insert.exclusive)
                    && p.item.tenant == part.item.tenant
                    && born.contains(&p.item.execution_id.uuid())
            };
            parts.iter().find(same).map(|p| p.item.execution_id.uuid())
        };
        let by = before.or_else(rival).map(ExecutionId::new);
        Outcome::Rejected(Rejection::ExclusiveTaken { by })
    };
    Ok(Some(parts.iter().map(outcome).collect()))
}
