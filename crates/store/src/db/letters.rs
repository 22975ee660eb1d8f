//! Messages that a consumer of this service gave up on.

use base::Tenant;
use bytes::Bytes;
use uuid::Uuid;

use super::{Db, Row, value::unreadable};
use crate::journal::{DeadLetter, LetterState, PAGE_MAX, Result};

const SELECT: &str = "SELECT tenant, id, stream, consumer, reason, body, deliveries, created_at, state
    FROM dead_letters WHERE tenant = $1";

impl Db {
    /// Keeps a message that a consumer gave up on. Safe to repeat.
    pub async fn put_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        let sql = "INSERT INTO dead_letters (tenant, id, stream, consumer, reason, body, deliveries, created_at, state)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
        let values = vec![
            (&letter.tenant).into(),
            letter.id.into(),
            (&letter.stream).into(),
            (&letter.consumer).into(),
            (&letter.reason).into(),
            letter.body[..].into(),
            letter.deliveries.into(),
            letter.created_at.into(),
            letter.state.as_str().into(),
        ];
        self.write(sql, values).await.map(drop)
    }

    /// Dead letters of a tenant by id, after `after`, at most `limit`.
    pub async fn list_dead_letters(
        &self,
        tenant: &Tenant,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>> {
        let sql = format!("{SELECT} AND id > $2 ORDER BY id LIMIT $3");
        let after = after.unwrap_or(Uuid::nil());
        let rows = self.read(&sql, vec![tenant.into(), after.into(), limit.min(PAGE_MAX).into()]).await?;
        rows.iter().map(letter).collect()
    }

    /// One dead letter.
    pub async fn get_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<Option<DeadLetter>> {
        let rows = self.read(&format!("{SELECT} AND id = $2"), vec![tenant.into(), id.into()]).await?;
        rows.first().map(letter).transpose()
    }

    /// Marks a dead letter. `false` when there is none.
    pub async fn mark_dead_letter(&self, tenant: &Tenant, id: Uuid, state: LetterState) -> Result<bool> {
        let sql = "UPDATE dead_letters SET state = $3 WHERE tenant = $1 AND id = $2";
        self.write(sql, vec![tenant.into(), id.into(), state.as_str().into()]).await.map(|n| n == 1)
    }

    /// Deletes a dead letter. `false` when there is none.
    pub async fn delete_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<bool> {
        let sql = "DELETE FROM dead_letters WHERE tenant = $1 AND id = $2";
        self.write(sql, vec![tenant.into(), id.into()]).await.map(|n| n == 1)
    }
}

fn letter(row: &Row) -> Result<DeadLetter> {
    let state: String = row.get(8)?;
    Ok(DeadLetter {
        tenant: row.tenant(0)?,
        id: row.get(1)?,
        stream: row.get(2)?,
        consumer: row.get(3)?,
        reason: row.get(4)?,
        body: Bytes::from(row.get::<Vec<u8>>(5)?),
        deliveries: row.small(6)?,
        created_at: row.time(7)?,
        state: LetterState::parse(&state).map_err(|why| unreadable(8, why))?,
    })
}
