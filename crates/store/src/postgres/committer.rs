//! A committer: a task with a connection of its own that joins waiting groups into one statement.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::{PgConnection, Row};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    fences::Fences,
    i64_of,
    link::{Fault, Link},
    statement::{self, Part},
};
use crate::{
    error::StoreError,
    journal::{Group, Membership, Outcome, Rejection, Result},
};

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(crate) type Answer = oneshot::Sender<Result<Vec<Outcome>>>;

pub(crate) struct Job {
    pub(crate) group: Group,
    pub(crate) answer: Answer,
}

/// What a committer joins into one statement, and how long it waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) patience: Duration,
}

pub(crate) struct Committer {
    pub(crate) link: Link,
    pub(crate) fences: Arc<Fences>,
    pub(crate) bounds: Bounds,
    pub(crate) conn: Option<PgConnection>,
    /// Becomes true when a database that is away is no longer waited for.
    pub(crate) closing: watch::Receiver<bool>,
}

/// Why a batch was not written.
enum Stop {
    /// The answer to every group of it.
    End(StoreError),
    /// The server refuses something in it.
    Refused(String),
}

impl Committer {
    /// Runs until every sender is gone and what was accepted is answered.
    pub(crate) async fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(job) => job,
                None => match waiting.recv().await {
                    Some(job) => job,
                    None => break,
                },
            };
            let mut jobs = vec![first];
            next = self.gather(&mut jobs, &mut waiting);
            let groups: Vec<&Group> = jobs.iter().map(|job| &job.group).collect();
            let answers = self.commit(&groups).await;
            for (job, answer) in jobs.into_iter().zip(answers) {
                // Nobody listens any more when the caller was dropped: the commit stands all the same.
                let _ = job.answer.send(answer);
            }
        }
    }

    /// Adds what waits, and gives back the job that does not fit: another member's, or a second group of a shard, whose
    /// items may change the same rows.
    fn gather(&self, jobs: &mut Vec<Job>, waiting: &mut mpsc::Receiver<Job>) -> Option<Job> {
        let size = |group: &Group| group.items.iter().map(crate::journal::Item::bytes).sum::<usize>();
        let (mut items, mut bytes) = (jobs[0].group.items.len(), size(&jobs[0].group));
        let mut shards = HashSet::from([jobs[0].group.shard]);
        while items < self.bounds.items && bytes < self.bounds.bytes {
            let job = waiting.try_recv().ok()?;
            if job.group.by != jobs[0].group.by || !shards.insert(job.group.shard) {
                return Some(job);
            }
            (items, bytes) = (items + job.group.items.len(), bytes + size(&job.group));
            jobs.push(job);
        }
        None
    }

    /// One statement for all; when the server refuses that, one per group, and then one per item of the refused group.
    async fn commit(&mut self, groups: &[&Group]) -> Vec<Result<Vec<Outcome>>> {
        let by = &groups[0].by;
        let all: Vec<Part<'_>> = groups.iter().flat_map(|group| parts_of(group)).collect();
        match self.attempt(by, &all).await {
            Ok(mut outcomes) => {
                let mut answers = Vec::with_capacity(groups.len());
                for group in groups {
                    let rest = outcomes.split_off(group.items.len().min(outcomes.len()));
                    answers.push(Ok(std::mem::replace(&mut outcomes, rest)));
                }
                answers
            }
            Err(Stop::End(err)) => groups.iter().map(|_| Err(err.clone())).collect(),
            Err(Stop::Refused(why)) if groups.len() == 1 => {
                vec![self.item_by_item(by, &parts_of(groups[0]), why).await]
            }
            Err(Stop::Refused(_)) => {
                let mut answers = Vec::with_capacity(groups.len());
                for group in groups {
                    let parts = parts_of(group);
                    answers.push(match self.attempt(by, &parts).await {
                        Ok(outcomes) => Ok(outcomes),
                        Err(Stop::End(err)) => Err(err),
                        Err(Stop::Refused(why)) => self.item_by_item(by, &parts, why).await,
                    });
                }
                answers
            }
        }
    }

    async fn item_by_item(
        &mut self,
        by: &Membership,
        parts: &[Part<'_>],
        why: String,
    ) -> Result<Vec<Outcome>> {
        if parts.len() == 1 {
            return Ok(vec![Outcome::Failed(why)]);
        }
        let mut outcomes = Vec::with_capacity(parts.len());
        for part in parts {
            match self.attempt(by, std::slice::from_ref(part)).await {
                Ok(mut one) => outcomes.append(&mut one),
                Err(Stop::Refused(why)) => outcomes.push(Outcome::Failed(why)),
                Err(Stop::End(err)) => return Err(err),
            }
        }
        Ok(outcomes)
    }

    /// Writes a batch, however often the connection is lost meanwhile.
    async fn attempt(
        &mut self,
        by: &Membership,
        all: &[Part<'_>],
    ) -> std::result::Result<Vec<Outcome>, Stop> {
        let checked: Vec<_> = all.iter().map(|part| part.item.check(part.shard)).collect();
        let sound: Vec<Part<'_>> =
            all.iter().zip(&checked).filter(|(_, c)| c.is_ok()).map(|(p, _)| *p).collect();
        let mut written = self.write(by, &sound).await?.into_iter();
        let outcome = |check: std::result::Result<(), String>| match check {
            Ok(()) => written.next().unwrap_or(Outcome::Committed),
            Err(why) => Outcome::Failed(why),
        };
        Ok(checked.into_iter().map(outcome).collect())
    }

    async fn write(
        &mut self,
        by: &Membership,
        parts: &[Part<'_>],
    ) -> std::result::Result<Vec<Outcome>, Stop> {
        let mut pause = PAUSE_MIN;
        loop {
            let fence = self.fences.get(by);
            let fault = match self.send(by, fence, parts).await {
                Ok(Some(outcomes)) => return Ok(outcomes),
                Ok(None) => {
                    // Another committer of ours may have raised the fence: wait until it is done and look.
                    drop(self.fences.raising.lock().await);
                    if self.fences.get(by) == fence {
                        return Err(Stop::End(StoreError::Fenced));
                    }
                    continue;
                }
                Err(fault) => fault,
            };
            match fault {
                Fault::Lost(why) => {
                    tracing::warn!(reason = %why, "connection lost in a commit; finding out what happened");
                    self.conn = None;
                    if let Some(outcomes) = self.find_out(by, fence, parts).await? {
                        return Ok(outcomes);
                    }
                }
                Fault::Again(why) => {
                    tracing::warn!(reason = %why, "commit rolled back; sending it again");
                    // A server that became a standby stays one: ask the address again.
                    self.conn = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Fault::Closed => return Err(Stop::End(Fault::Closed.into_error())),
                Fault::Duplicate(what) => return Err(Stop::End(StoreError::TwoOwners { what })),
                Fault::Fatal(why) => return Err(Stop::End(StoreError::Fatal(why))),
                Fault::Refused(why) => return Err(Stop::Refused(why)),
            }
        }
    }

    async fn send(
        &mut self,
        by: &Membership,
        fence: i64,
        parts: &[Part<'_>],
    ) -> std::result::Result<Option<Vec<Outcome>>, Fault> {
        let patience = self.bounds.patience;
        let conn = self.connected().await?;
        match timeout(patience, statement::send(conn, by, fence, parts)).await {
            Ok(result) => result.map_err(|err| Fault::of(&err)),
            Err(_) => Err(Fault::Lost(format!("no answer within {patience:?}"))),
        }
    }

    /// The connection, made again for as long as it takes, or until the store is closed.
    async fn connected(&mut self) -> std::result::Result<&mut PgConnection, Fault> {
        let mut pause = PAUSE_MIN;
        let conn = loop {
            if let Some(conn) = self.conn.take() {
                break conn;
            }
            if *self.closing.borrow() {
                return Err(Fault::Closed);
            }
            match timeout(self.bounds.patience, self.link.committer()).await {
                Ok(Ok(conn)) => break conn,
                failed => {
                    let why = match failed {
                        Ok(Err(err)) => err.to_string(),
                        _ => "no answer".to_owned(),
                    };
                    tracing::warn!(reason = %why, server = %self.link.server(), "cannot connect; trying again");
                    // Ends early when the store is closed.
                    let _ = timeout(pause, self.closing.wait_for(|closing| *closing)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        };
        Ok(self.conn.insert(conn))
    }

    /// After a lost connection: shuts the lost statement out, or waits until it is done, by raising the fence, and then
    /// looks whether the batch is there. `None`: it is not, and never will be.
    async fn find_out(
        &mut self,
        by: &Membership,
        lost_under: i64,
        parts: &[Part<'_>],
    ) -> std::result::Result<Option<Vec<Outcome>>, Stop> {
        loop {
            let found = match self.raise(by, lost_under).await {
                Ok(false) => return Err(Stop::End(StoreError::Fenced)),
                Ok(true) => self.look(parts).await,
                Err(fault) => Err(fault),
            };
            match found {
                Ok(outcomes) => return Ok(outcomes),
                Err(fault @ (Fault::Fatal(_) | Fault::Closed)) => return Err(Stop::End(fault.into_error())),
                Err(fault) => {
                    tracing::warn!(?fault, "cannot find out what became of a commit yet");
                    self.conn = None;
                    tokio::time::sleep(PAUSE_MIN).await;
                }
            }
        }
    }

    /// Makes sure that the fence lies above `lost_under`. `false`: the incarnation is over.
    async fn raise(&mut self, by: &Membership, lost_under: i64) -> std::result::Result<bool, Fault> {
        let fences = self.fences.clone();
        let _one_at_a_time = fences.raising.lock().await;
        if fences.get(by) > lost_under {
            return Ok(true);
        }
        let patience = self.bounds.patience;
        let raise = sqlx::query_scalar::<_, i64>(
            "UPDATE members SET fence = fence + 1 WHERE id = $1 AND incarnation = $2 RETURNING fence",
        )
        .bind(by.id.as_str())
        .bind(i64_of(by.incarnation))
        .fetch_optional(self.connected().await?);
        let fence = match timeout(patience, raise).await {
            Ok(result) => result.map_err(|err| Fault::of(&err))?,
            Err(_) => return Err(Fault::Lost(format!("no answer within {patience:?}"))),
        };
        if let Some(fence) = fence {
            fences.set(by, fence);
        }
        Ok(fence.is_some())
    }

    /// Whether the rows of a batch are in the log. A batch without one can be sent twice.
    async fn look(&mut self, parts: &[Part<'_>]) -> std::result::Result<Option<Vec<Outcome>>, Fault> {
        let rows: Vec<_> = parts.iter().filter_map(|p| p.item.log.as_ref().map(|row| (p, row))).collect();
        let found = sqlx::query(
            "SELECT l.execution_id FROM log AS l JOIN unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::bigint[])
                 AS w(execution_id, first_seq, shard, pos) USING (execution_id, first_seq)
             WHERE l.shard = w.shard AND l.pos = w.pos",
        )
        .bind(rows.iter().map(|(p, _)| p.item.execution_id.uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.first_seq).collect::<Vec<_>>())
        .bind(rows.iter().map(|(p, _)| p.shard as i16).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.pos).collect::<Vec<_>>())
        .fetch_all(self.connected().await?)
        .await
        .map_err(|err| Fault::of(&err))?;
        if found.is_empty() {
            return Ok(None);
        }
        let found: HashSet<uuid::Uuid> =
            found.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>().map_err(|e| Fault::of(&e))?;
        let mut outcomes = Vec::with_capacity(parts.len());
        for part in parts {
            let rejected = part.insert().is_some() && !found.contains(&part.item.execution_id.uuid());
            outcomes.push(match rejected {
                true => Outcome::Rejected(self.why_rejected(part).await?),
                false => Outcome::Committed,
            });
        }
        Ok(Some(outcomes))
    }

    async fn why_rejected(&mut self, part: &Part<'_>) -> std::result::Result<Rejection, Fault> {
        let key = part.insert().and_then(|insert| insert.exclusive.as_deref());
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM executions WHERE execution_id = $1),
                 (SELECT execution_id FROM exclusive WHERE tenant = $2 AND key = $3)",
        )
        .bind(part.item.execution_id.uuid())
        .bind(part.item.tenant.as_str())
        .bind(key)
        .fetch_one(self.connected().await?)
        .await
        .map_err(|err| Fault::of(&err))?;
        let read = || -> sqlx::Result<Rejection> {
            if key.is_none() || row.try_get(0)? {
                return Ok(Rejection::StartKeyTaken);
            }
            let by: Option<uuid::Uuid> = row.try_get(1)?;
            Ok(Rejection::ExclusiveTaken { by: by.map(base::ExecutionId::new) })
        };
        read().map_err(|err| Fault::of(&err))
    }
}

fn parts_of(group: &Group) -> Vec<Part<'_>> {
    group.items.iter().map(|item| Part { shard: group.shard, item }).collect()
}
