//! Members, shards and leases in one file. One process holds the file, but the rules are those of every backend.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base::Timestamp;
use rusqlite::{Transaction, types::ValueRef};

use super::{SqliteJournal, classify, i64_of, rows};
use crate::{
    error::{OpenError, StoreError},
    journal::{Join, MEMBER_KEPT_US, MemberId, Members, Membership, Result, Roster, SHARDS_MAX, columns},
};

/// The database's clock: SQLite has none but the machine's.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}

fn next_incarnation(tx: &Transaction<'_>) -> rusqlite::Result<i64> {
    tx.query_row("UPDATE incarnations SET last = last + 1 RETURNING last", (), |row| row.get(0))
}

fn check(tx: &Transaction<'_>, by: &Membership) -> Result<()> {
    let held = tx
        .prepare_cached("SELECT 1 FROM members WHERE id = ?1 AND incarnation = ?2")
        .and_then(|mut q| q.exists((by.id.as_str(), i64_of(by.incarnation))))
        .map_err(classify)?;
    if held { Ok(()) } else { Err(StoreError::Fenced) }
}

fn join(tx: &Transaction<'_>, join: &Join) -> rusqlite::Result<Membership> {
    let incarnation = next_incarnation(tx)?;
    tx.execute(
        "INSERT INTO members (id, incarnation, address, expires_at, reads_up_to, region, cluster)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, address = excluded.address,
             expires_at = excluded.expires_at, reads_up_to = excluded.reads_up_to, region = excluded.region,
             cluster = excluded.cluster",
        (
            join.id.as_str(),
            incarnation,
            &join.address,
            now().plus(join.lease).micros(),
            join.reads_up_to,
            &join.region,
            &join.cluster,
        ),
    )?;
    Ok(Membership { id: join.id.clone(), incarnation: incarnation.unsigned_abs() })
}

fn take_over(
    tx: &Transaction<'_>,
    by: &Membership,
    dead: &MemberId,
    limit: u16,
) -> rusqlite::Result<Vec<u16>> {
    let incarnation = next_incarnation(tx)?;
    let ended = tx.execute(
        "UPDATE members SET incarnation = ?2 WHERE id = ?1 AND expires_at <= ?3",
        (dead.as_str(), incarnation, now().micros()),
    )?;
    if ended == 0 {
        return Ok(Vec::new());
    }
    let mut moved = tx.prepare_cached(
        "UPDATE shards SET member = ?1 WHERE shard IN
             (SELECT shard FROM shards WHERE member = ?2 ORDER BY shard LIMIT ?3) RETURNING shard",
    )?;
    let moved = moved.query_map((by.id.as_str(), dead.as_str(), limit), |row| row.get(0))?;
    moved.collect()
}

/// Deletes members that own nothing and whose lease ended a day ago: replicas that never come back.
pub(super) fn forget_dead(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let day_ago = now().micros() - MEMBER_KEPT_US;
    let sql = "DELETE FROM members WHERE expires_at < ?1
        AND NOT EXISTS (SELECT 1 FROM shards WHERE shards.member = members.id)";
    tx.execute(sql, [day_ago]).map(drop)
}

#[async_trait]
impl Members for SqliteJournal {
    async fn ensure_shards(&self, count: u16) -> std::result::Result<(), OpenError> {
        let count = count.clamp(1, SHARDS_MAX);
        let ensure = move |tx: &Transaction<'_>| -> rusqlite::Result<u16> {
            let found: u16 = tx.query_row("SELECT count(*) FROM shards", (), |row| row.get(0))?;
            if found > 0 {
                return Ok(found);
            }
            for shard in 0..count {
                tx.execute("INSERT INTO shards (shard) VALUES (?1)", [shard])?;
            }
            Ok(count)
        };
        let found =
            self.writer.write(move |tx| ensure(tx).map_err(classify)).await.map_err(|err| {
                OpenError::Failed { what: "the table of shards".into(), why: err.to_string() }
            })?;
        if found == count { Ok(()) } else { Err(OpenError::ShardCount { found, wanted: count }) }
    }

    async fn join(&self, wanted: Join) -> Result<Membership> {
        self.writer.write(move |tx| join(tx, &wanted).map_err(classify)).await
    }

    async fn renew(&self, by: &Membership, lease: Duration) -> Result<()> {
        let by = by.clone();
        self.writer
            .write(move |tx| {
                let renewed = tx.execute(
                    "UPDATE members SET expires_at = ?3 WHERE id = ?1 AND incarnation = ?2",
                    (by.id.as_str(), i64_of(by.incarnation), now().plus(lease).micros()),
                );
                if renewed.map_err(classify)? == 1 { Ok(()) } else { Err(StoreError::Fenced) }
            })
            .await
    }

    async fn roster(&self) -> Result<Roster> {
        self.readers
            .read(|conn| {
                let read = || -> rusqlite::Result<Roster> {
                    let tx = conn.unchecked_transaction()?;
                    let (now, mut roster) = (now(), Roster::default());
                    let sql = "SELECT id, incarnation, address, expires_at, reads_up_to, region, cluster
                        FROM members ORDER BY id";
                    for member in tx.prepare_cached(sql)?.query_map((), |row| rows::member(row, now))? {
                        roster.members.push(member?);
                    }
                    let sql = "SELECT member FROM shards ORDER BY shard";
                    for owner in tx.prepare_cached(sql)?.query_map((), |row| match row.get_ref(0)? {
                        ValueRef::Null => Ok(None),
                        _ => columns::member_id(row, 0).map(Some),
                    })? {
                        roster.shards.push(owner?);
                    }
                    Ok(roster)
                };
                read().map_err(classify)
            })
            .await
    }

    async fn claim(&self, by: &Membership, shard: u16) -> Result<bool> {
        let by = by.clone();
        self.writer
            .write(move |tx| {
                check(tx, &by)?;
                let sql =
                    "UPDATE shards SET member = ?2 WHERE shard = ?1 AND (member IS NULL OR member = ?2)";
                tx.execute(sql, (shard, by.id.as_str())).map(|n| n == 1).map_err(classify)
            })
            .await
    }

    async fn take_over(&self, by: &Membership, dead: &MemberId, limit: u16) -> Result<Vec<u16>> {
        let (by, dead) = (by.clone(), dead.clone());
        self.writer
            .write(move |tx| {
                check(tx, &by)?;
                take_over(tx, &by, &dead, limit).map_err(classify)
            })
            .await
    }

    async fn hand_over(&self, by: &Membership, shard: u16, to: &MemberId) -> Result<bool> {
        let (by, to) = (by.clone(), to.clone());
        self.writer
            .write(move |tx| {
                check(tx, &by)?;
                let sql = "UPDATE shards SET member = ?3 WHERE shard = ?1 AND member = ?2
                    AND EXISTS (SELECT 1 FROM members WHERE id = ?3 AND expires_at > ?4)";
                tx.execute(sql, (shard, by.id.as_str(), to.as_str(), now().micros()))
                    .map(|n| n == 1)
                    .map_err(classify)
            })
            .await
    }

    async fn leave(&self, by: &Membership) -> Result<()> {
        let by = by.clone();
        self.writer
            .write(move |tx| {
                check(tx, &by)?;
                let leave = || -> rusqlite::Result<()> {
                    tx.execute("UPDATE shards SET member = NULL WHERE member = ?1", [by.id.as_str()])?;
                    tx.execute("DELETE FROM members WHERE id = ?1", [by.id.as_str()])?;
                    Ok(())
                };
                leave().map_err(classify)
            })
            .await
    }
}
