//! Saves what ended while nobody looked, and forgets old sessions.

use std::time::Duration;

use super::book::Sessions;
use crate::engine::away;

/// Executions that are saved, or sessions that are deleted, in one round.
const ROUND: u32 = 200;
/// How often it is looked for what nobody announced.
const EVERY: Duration = Duration::from_secs(10);
/// An execution that joined and is not there after this long never started.
const NEVER_STARTED: Duration = Duration::from_secs(600);

/// Looks until `stopped` ends: at once whenever an execution of a session has ended here, and every ten seconds for the
/// rest, such as those of a replica that died in between.
pub async fn sweep(sessions: Sessions, stopped: impl Future<Output = ()>) {
    tokio::pin!(stopped);
    let ended = sessions.engine.session_ended();
    loop {
        if let Err(fault) = sessions.look().await {
            tracing::warn!(%fault, "what executions left could not be saved; it is tried again");
        }
        tokio::select! {
            () = &mut stopped => return,
            () = ended.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

impl Sessions {
    /// One look: saves what has ended, forgets what never started, deletes what nobody has touched for too long.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn look(&self) -> Result<(), api::Fault> {
        loop {
            let unsaved = self.store.unsaved_of_all(ROUND).await.map_err(away)?;
            let full = unsaved.len() == ROUND as usize;
            let mut failed = None;
            for (tenant, id) in unsaved {
                if let Err(fault) = self.save(&tenant, id).await {
                    tracing::warn!(execution = %id, %fault, "what an execution left is not saved yet");
                    failed = Some(fault);
                }
            }
            match failed {
                Some(fault) => return Err(fault),
                None if !full => break,
                None => {}
            }
        }
        let now = self.clock.now();
        let before =
            |age: Duration| base::Timestamp::from_micros(now.micros().saturating_sub(age.as_micros() as i64));
        self.store.forget_never_started(before(NEVER_STARTED)).await.map_err(away)?;
        if let Some(retention) = self.options.retention {
            for (tenant, id) in self.store.idle(before(retention), ROUND).await.map_err(away)? {
                self.store.delete(&tenant, &id).await.map_err(away)?;
            }
        }
        Ok(())
    }
}
