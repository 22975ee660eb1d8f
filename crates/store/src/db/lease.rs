//! Which replica does which share of a service's work.

use std::time::Duration;

use super::Db;
use crate::journal::Result;

impl Db {
    /// Takes or renews the lease called `name` for `holder` until `ttl` from now on the database's clock. `false` when
    /// another holder's lease still runs. Holders measure their own validity from before the call.
    pub async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool> {
        let mut tx = self.begin().await?;
        let now = tx.now_us().await?;
        let until = now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
        let sql = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
            WHERE leases.holder = excluded.holder OR leases.expires_at <= $4";
        let taken = tx.write(sql, vec![name.into(), holder.into(), until.into(), now.into()]).await?;
        tx.commit().await?;
        Ok(taken == 1)
    }

    /// Gives up what `holder` holds, so that others need not wait for the end of its leases.
    pub async fn release_leases(&self, holder: &str) -> Result<()> {
        self.write("DELETE FROM leases WHERE holder = $1", vec![holder.into()]).await.map(drop)
    }

    /// Leases whose name begins with `prefix`, that run now: name and holder, by name.
    pub async fn leases(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let mut tx = self.begin().await?;
        let now = tx.now_us().await?;
        let sql = "SELECT name, holder FROM leases
            WHERE substr(name, 1, length($1)) = $1 AND expires_at > $2 ORDER BY name";
        let rows = tx.read(sql, vec![prefix.into(), now.into()]).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }
}
