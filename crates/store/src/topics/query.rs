//! Events as people ask for them.

use base::{Tenant, Timestamp};

use super::events::{COLUMNS, EventRow, EventStore, event};
use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
};

/// Most types and topics of one filter.
const NAMES_MAX: usize = 16;

/// Which events. Fields combine with AND; empty = any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Any of these types, at most 16.
    pub kinds: Vec<String>,
    /// Of this topic.
    pub topic: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// With this correlation key.
    pub key: Option<String>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Accepted before this time.
    pub until: Option<Timestamp>,
}

/// How many events of a type are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeCount {
    /// The type.
    pub kind: String,
    /// How many.
    pub events: u64,
}

/// What is kept, and what still waits for its consumers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventStats {
    /// Counts by type, the largest first.
    pub by_kind: Vec<TypeCount>,
    /// Events that the slower of both consumers has not handled.
    pub queue_size: u64,
}

impl EventStore {
    /// A page of events, newest first below `before`, or oldest first above `after`.
    pub async fn list(
        &self,
        tenant: &Tenant,
        filter: &EventFilter,
        newest_below: Option<i64>,
        oldest_above: Option<i64>,
        limit: u32,
    ) -> Result<Vec<EventRow>> {
        let mut values: Vec<Value> = vec![tenant.into()];
        let mut sql = format!("SELECT {COLUMNS} FROM events WHERE tenant = $1");
        let mut and = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(" AND ");
            sql.push_str(&condition.replace("{}", &format!("${}", values.len())));
        };
        for (column, text) in [("topic", &filter.topic), ("source", &filter.source), ("key", &filter.key)] {
            if let Some(text) = text {
                and(&format!("{column} = {{}}"), text.into());
            }
        }
        if let Some(since) = filter.since {
            and("at >= {}", since.into());
        }
        if let Some(until) = filter.until {
            and("at < {}", until.into());
        }
        if let Some(below) = newest_below {
            and("pos < {}", below.into());
        }
        if let Some(above) = oldest_above {
            and("pos > {}", above.into());
        }
        if !filter.kinds.is_empty() {
            let mut places = Vec::new();
            for kind in filter.kinds.iter().take(NAMES_MAX) {
                values.push(kind.into());
                places.push(format!("${}", values.len()));
            }
            sql.push_str(&format!(" AND type IN ({})", places.join(", ")));
        }
        values.push(limit.clamp(1, PAGE_MAX).into());
        let order = if oldest_above.is_some() { "" } else { " DESC" };
        sql.push_str(&format!(" ORDER BY pos{order} LIMIT ${}", values.len()));
        self.tables.read(&sql, values).await?.iter().map(event).collect()
    }

    /// One event of a tenant.
    pub async fn get(&self, tenant: &Tenant, id: &str) -> Result<Option<EventRow>> {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE tenant = $1 AND id = $2");
        self.tables.read(&sql, vec![tenant.into(), id.into()]).await?.first().map(event).transpose()
    }

    /// Counts of what is kept, and what waits for `consumers`.
    pub async fn stats(&self, tenant: &Tenant, consumers: [&str; 2]) -> Result<EventStats> {
        let sql =
            "SELECT type, count(*) FROM events WHERE tenant = $1 GROUP BY type ORDER BY 2 DESC, 1 LIMIT 1000";
        let rows = self.tables.read(sql, vec![tenant.into()]).await?;
        let by_kind = rows
            .iter()
            .map(|row| Ok(TypeCount { kind: row.text(0)?, events: row.unsigned(1)? }))
            .collect::<Result<_>>()?;
        let sql = "SELECT count(*) FROM (
                SELECT shard AS p, CASE WHEN count(*) = 2 THEN min(pos) ELSE 0 END AS done FROM consumer_positions
                WHERE cluster = 'topics' AND consumer IN ($2, $3) GROUP BY shard
                UNION ALL
                SELECT DISTINCT partition, 0 FROM events WHERE partition NOT IN (
                    SELECT shard FROM consumer_positions WHERE cluster = 'topics' AND consumer IN ($2, $3))
            ) AS handled JOIN events AS e ON e.partition = handled.p AND e.pos > handled.done
            WHERE e.tenant = $1";
        let values = vec![tenant.into(), consumers[0].into(), consumers[1].into()];
        let rows = self.tables.read(sql, values).await?;
        let queue_size = rows.first().map_or(Ok(0), |row| row.unsigned(0))?;
        Ok(EventStats { by_kind, queue_size })
    }
}
