//! Who watches, and what draining waits for.

use std::time::Duration;

use super::{RegistryStore, Watcher};
use crate::journal::Result;

impl RegistryStore {
    /// Says that a watcher has received every change up to `acked_revision` and has these calls running
    /// (`{"<tenant>/<agent id>": calls}`). It counts until `ttl` from now on the database's clock.
    pub async fn put_watcher(&self, watcher: &Watcher, ttl: Duration) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let now = tx.now_us().await?;
        let until = now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
        let sql = "INSERT INTO watchers (member, acked_revision, in_flight, expires_at) VALUES ($1, $2, $3::jsonb, $4)
            ON CONFLICT (member) DO UPDATE SET acked_revision = excluded.acked_revision,
                in_flight = excluded.in_flight, expires_at = excluded.expires_at";
        let values = vec![
            (&watcher.member).into(),
            watcher.acked_revision.into(),
            (&watcher.in_flight).into(),
            until.into(),
        ];
        tx.write(sql, values).await?;
        tx.write("DELETE FROM watchers WHERE expires_at <= $1", vec![now.into()]).await?;
        tx.commit().await
    }

    /// Watchers that count now, by name.
    pub async fn watchers(&self) -> Result<Vec<Watcher>> {
        let mut tx = self.db.begin().await?;
        let now = tx.now_us().await?;
        let sql = "SELECT member, acked_revision, in_flight::text FROM watchers WHERE expires_at > $1 ORDER BY member";
        let rows = tx.read(sql, vec![now.into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(Watcher { member: row.get(0)?, acked_revision: row.unsigned(1)?, in_flight: row.get(2)? })
            })
            .collect()
    }

    /// Forgets a watcher that ended in an orderly way.
    pub async fn remove_watcher(&self, member: &str) -> Result<()> {
        self.db.write("DELETE FROM watchers WHERE member = $1", vec![member.into()]).await.map(drop)
    }
}
