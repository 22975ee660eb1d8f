//! What nobody asks for: timers of parked executions, and the end of what was kept long enough.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use store::journal::ShardPos;

use super::Inner;

/// Executions that are woken at once.
const DUE_AT_ONCE: u32 = 1000;
/// Executions that are deleted at once.
const DELETED_AT_ONCE: u32 = 500;
/// How often old executions are looked for.
const RETENTION_EVERY: Duration = Duration::from_secs(30);

/// Sweeps until the cluster stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut due = tokio::time::interval(inner.options.sweep_every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut old = tokio::time::interval(RETENTION_EVERY);
    old.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = inner.stopped() => return,
            _ = due.tick() => inner.wake_due().await,
            _ = old.tick() => inner.delete_old().await,
        }
    }
}

impl Inner {
    /// Loads executions whose timer has passed.
    async fn wake_due(&self) {
        let shards: Vec<u16> = self.map.load().here().iter().copied().collect();
        if shards.is_empty() {
            return;
        }
        match self.journal.due(&shards, self.clock.now(), DUE_AT_ONCE).await {
            Ok(due) => {
                for due in due {
                    if self.engine.wake(due.execution_id, due.shard).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "parked executions could not be looked at"),
        }
    }

    /// Deletes executions that ended long enough ago and were published.
    async fn delete_old(&self) {
        let Some(kept) = self.options.retention else { return };
        if let Err(error) = self.count_as_published().await {
            tracing::warn!(%error, "positions could not be stored; nothing is deleted");
            return;
        }
        let kept = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.clock.now().micros().saturating_sub(kept));
        loop {
            match self.journal.sweep(before, DELETED_AT_ONCE).await {
                Ok(swept) if swept.more && swept.executions > 0 => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "old executions could not be deleted");
                    return;
                }
            }
        }
    }

    /// Where nothing is published, nothing has to be kept for it.
    async fn count_as_published(&self) -> Result<(), store::StoreError> {
        if self.options.publish {
            return Ok(());
        }
        let mut positions = Vec::new();
        for shard in self.map.load_full().here() {
            let pos = self.journal.last_pos(*shard).await?;
            positions.push(ShardPos { shard: *shard, incarnation: self.me.incarnation, pos });
        }
        self.journal.put_published(&positions).await
    }
}
