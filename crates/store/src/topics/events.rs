//! The record of events.

use base::{Tenant, Timestamp};
use bytes::Bytes;

use crate::{
    journal::{PAGE_MAX, Result},
    postgres::link::retrying,
    tables::{Cells, Statement, Tables},
};

/// Payload bytes after which a page of events ends.
const PAGE_BYTES: usize = 8 << 20;

/// The events of the executor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventStore {
    pub(super) tables: Tables,
}

/// An event that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its id, unique in the tenant for as long as the event is kept.
    pub id: String,
    /// The partition that looks after it.
    pub partition: u16,
    /// The topic.
    pub topic: String,
    /// What happened.
    pub kind: String,
    /// Who says so.
    pub source: String,
    /// Correlation key; empty = none.
    pub key: String,
    /// Higher is handled first.
    pub priority: i32,
    /// Media type of the payload.
    pub media_type: String,
    /// The content.
    pub payload: Bytes,
    /// W3C traceparent; empty = none.
    pub trace: String,
    /// When it was accepted.
    pub at: Timestamp,
}

/// An event with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its place among all events; grows in the order in which they were committed.
    pub pos: i64,
    /// The event.
    pub event: NewEvent,
}

/// What became of an event of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is on disk, at this position.
    At(i64),
    /// An event with its id was there already; it stayed as it was.
    Duplicate,
}

pub(super) const COLUMNS: &str =
    "pos, tenant, id, partition, topic, type, source, key, priority, media_type, payload, trace, at";

/// One statement: the row of the head is held until the commit, so positions are visible in their order.
const APPEND: &str = "
WITH head AS (
    UPDATE event_head SET last = last + $1 RETURNING last - $1 AS before
)
INSERT INTO events (pos, tenant, id, partition, topic, type, source, key, priority, media_type, payload, trace, at)
SELECT head.before + e.ord, e.tenant, e.id, e.partition, e.topic, e.type, e.source, e.key, e.priority, e.media_type,
    e.payload, e.trace, e.at
FROM head, unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
    $10::text[], $11::bytea[], $12::text[], $13::bigint[]) WITH ORDINALITY
    AS e(tenant, id, partition, topic, type, source, key, priority, media_type, payload, trace, at, ord)
ON CONFLICT (tenant, id) DO NOTHING RETURNING tenant, id, pos";

const INSERT: &str =
    "INSERT INTO events (pos, tenant, id, partition, topic, type, source, key, priority, media_type, payload, trace, at)
    VALUES ((SELECT last FROM event_head) - $13, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (tenant, id) DO NOTHING RETURNING tenant, id, pos";

impl EventStore {
    /// Over the journal's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Writes a group in one durable transaction; the outcome of each stands at its index. Of two events with one id in
    /// a group the first counts. Safe to repeat. The caller bounds the group.
    pub async fn append(&self, group: &[NewEvent]) -> Result<Vec<Stored>> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let rows = match self.tables.pool() {
            Some(pool) => append_postgres(pool, group).await?,
            None => self.append_sqlite(group).await?,
        };
        let mut written = std::collections::HashMap::with_capacity(rows.len());
        for row in &rows {
            written.insert((row.text(0)?, row.text(1)?), row.int(2)?);
        }
        let outcome = |event: &NewEvent| {
            let pos = written.remove(&(event.tenant.as_str().to_owned(), event.id.clone()));
            pos.map_or(Stored::Duplicate, Stored::At)
        };
        Ok(group.iter().map(outcome).collect())
    }

    async fn append_sqlite(&self, group: &[NewEvent]) -> Result<Vec<Cells>> {
        let count = i64::try_from(group.len()).unwrap_or(i64::MAX);
        let mut statements = Vec::with_capacity(group.len() + 1);
        statements.push(Statement::new("UPDATE event_head SET last = last + $1", vec![count.into()]));
        for (event, left) in group.iter().zip((0..count).rev()) {
            let values = vec![
                (&event.tenant).into(),
                (&event.id).into(),
                u32::from(event.partition).into(),
                (&event.topic).into(),
                (&event.kind).into(),
                (&event.source).into(),
                (&event.key).into(),
                i64::from(event.priority).into(),
                (&event.media_type).into(),
                event.payload[..].into(),
                (&event.trace).into(),
                event.at.into(),
                left.into(),
            ];
            statements.push(Statement::new(INSERT, values));
        }
        Ok(self.tables.write_all(statements).await?.into_iter().flatten().collect())
    }

    /// Events of a partition after `after`, in order: at most `limit`, and about 8 MiB of payloads.
    pub async fn read_partition(&self, partition: u16, after: i64, limit: u32) -> Result<Vec<EventRow>> {
        let sql =
            format!("SELECT {COLUMNS} FROM events WHERE partition = $1 AND pos > $2 ORDER BY pos LIMIT $3");
        let values = vec![u32::from(partition).into(), after.into(), limit.clamp(1, PAGE_MAX).into()];
        page(self.tables.read(&sql, values).await?)
    }

    /// Events of all tenants and partitions after `after`, in order: what live views follow.
    pub async fn read_all(&self, after: i64, limit: u32) -> Result<Vec<EventRow>> {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE pos > $1 ORDER BY pos LIMIT $2");
        page(self.tables.read(&sql, vec![after.into(), limit.clamp(1, PAGE_MAX).into()]).await?)
    }

    /// Events of a topic that a wait opened at `since` may still take, oldest first. `key` empty = any.
    pub async fn look_back(
        &self,
        tenant: &Tenant,
        topic: &str,
        key: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<EventRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE tenant = $1 AND topic = $2 AND ($3 = '' OR key = $3) AND at >= $4
             ORDER BY pos LIMIT $5"
        );
        let values =
            vec![tenant.into(), topic.into(), key.into(), since.into(), limit.clamp(1, PAGE_MAX).into()];
        page(self.tables.read(&sql, values).await?)
    }

    /// The last position given out; 0 before the first event.
    pub async fn head(&self) -> Result<i64> {
        let rows = self.tables.read("SELECT last FROM event_head", Vec::new()).await?;
        rows.first().map_or(Ok(0), |row| row.int(0))
    }

    /// Partitions that have events after `after`.
    pub async fn touched(&self, after: i64) -> Result<Vec<u16>> {
        let sql = "SELECT DISTINCT partition FROM events WHERE pos > $1";
        self.tables.read(sql, vec![after.into()]).await?.iter().map(|row| row.shard(0)).collect()
    }

    /// Deletes events accepted before `before`, at most `limit`, never one that one of `consumers` has not
    /// handled. Says how many went.
    pub async fn forget(&self, before: Timestamp, consumers: [&str; 2], limit: u32) -> Result<u64> {
        let sql = "DELETE FROM events WHERE pos IN (
                SELECT e.pos FROM events AS e WHERE e.at < $1 AND 2 = (
                    SELECT count(*) FROM consumer_positions AS c WHERE c.consumer IN ($2, $3)
                        AND c.cluster = 'topics' AND c.shard = e.partition AND c.pos >= e.pos)
                ORDER BY e.at LIMIT $4)
            RETURNING pos";
        let values = vec![before.into(), consumers[0].into(), consumers[1].into(), limit.into()];
        Ok(self.tables.write(sql, values).await?.len() as u64)
    }
}

async fn append_postgres(pool: &sqlx::PgPool, group: &[NewEvent]) -> Result<Vec<Cells>> {
    fn all<'e, T>(group: &'e [NewEvent], of: impl Fn(&'e NewEvent) -> T) -> Vec<T> {
        group.iter().map(of).collect()
    }
    let rows = retrying(pool, |pool| async move {
        sqlx::query(APPEND)
            .bind(i64::try_from(group.len()).unwrap_or(i64::MAX))
            .bind(all(group, |e| e.tenant.as_str()))
            .bind(all(group, |e| e.id.as_str()))
            .bind(all(group, |e| i64::from(e.partition)))
            .bind(all(group, |e| e.topic.as_str()))
            .bind(all(group, |e| e.kind.as_str()))
            .bind(all(group, |e| e.source.as_str()))
            .bind(all(group, |e| e.key.as_str()))
            .bind(all(group, |e| i64::from(e.priority)))
            .bind(all(group, |e| e.media_type.as_str()))
            .bind(all(group, |e| &e.payload[..]))
            .bind(all(group, |e| e.trace.as_str()))
            .bind(all(group, |e| e.at.micros()))
            .fetch_all(&pool)
            .await
    })
    .await?;
    rows.iter().map(Cells::of_postgres).collect()
}

/// The rows until the payloads fill a page; at least one.
fn page(cells: Vec<Cells>) -> Result<Vec<EventRow>> {
    let mut bytes = 0;
    let mut rows = Vec::with_capacity(cells.len());
    for cells in &cells {
        let row = event(cells)?;
        bytes += row.event.payload.len();
        if bytes > PAGE_BYTES && !rows.is_empty() {
            break;
        }
        rows.push(row);
    }
    Ok(rows)
}

pub(super) fn event(row: &Cells) -> Result<EventRow> {
    Ok(EventRow {
        pos: row.int(0)?,
        event: NewEvent {
            tenant: row.tenant(1)?,
            id: row.text(2)?,
            partition: row.shard(3)?,
            topic: row.text(4)?,
            kind: row.text(5)?,
            source: row.text(6)?,
            key: row.text(7)?,
            priority: row.signed(8)?,
            media_type: row.text(9)?,
            payload: row.bytes(10)?,
            trace: row.text(11)?,
            at: row.time(12)?,
        },
    })
}
