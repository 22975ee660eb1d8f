//! How far a consumer has read, kept in the transaction of its own effect.

use super::{Db, Row, Tx, value::unreadable};
use crate::journal::{Result, ShardPos};

impl Tx {
    /// Records how far `consumer` has read the shards of `cluster`.
    pub async fn put_positions(
        &mut self,
        consumer: &str,
        cluster: &str,
        positions: &[ShardPos],
    ) -> Result<()> {
        let sql = "INSERT INTO consumer_positions (consumer, cluster, shard, incarnation, pos)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (consumer, cluster, shard) DO UPDATE SET
            incarnation = excluded.incarnation, pos = excluded.pos";
        for at in positions {
            let shard = u32::from(at.shard);
            let values =
                vec![consumer.into(), cluster.into(), shard.into(), at.incarnation.into(), at.pos.into()];
            self.write(sql, values).await?;
        }
        Ok(())
    }
}

impl Db {
    /// How far `consumer` has read the shards of `cluster`.
    pub async fn read_positions(&self, consumer: &str, cluster: &str) -> Result<Vec<ShardPos>> {
        let sql = "SELECT shard, incarnation, pos FROM consumer_positions
            WHERE consumer = $1 AND cluster = $2 ORDER BY shard";
        let rows = self.read(sql, vec![consumer.into(), cluster.into()]).await?;
        rows.iter().map(position).collect()
    }
}

fn position(row: &Row) -> Result<ShardPos> {
    let shard = u16::try_from(row.small(0)?).map_err(|err| unreadable(0, err))?;
    Ok(ShardPos { shard, incarnation: row.unsigned(1)?, pos: row.get(2)? })
}
