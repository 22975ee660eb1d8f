//! The two steps of going down: draining (no new work), then stopped (nothing any more).

use tokio_util::sync::CancellationToken;

/// Tells a role that the process goes down.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    draining: CancellationToken,
    stopped: CancellationToken,
}

impl Drain {
    /// Ends when the process begins to drain: take no new work, end streams so that clients go elsewhere.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }
    /// Ends when accepted work is done or its time is up: background tasks end now.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }
    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
    /// Whether background tasks have to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }
    /// A token that is cancelled when draining begins.
    pub fn draining_token(&self) -> CancellationToken {
        self.draining.clone()
    }
    /// A token that is cancelled when background tasks have to end.
    pub fn stopped_token(&self) -> CancellationToken {
        self.stopped.clone()
    }
    pub(crate) fn begin(&self) {
        self.draining.cancel();
    }
    pub(crate) fn stop(&self) {
        self.draining.cancel();
        self.stopped.cancel();
    }
}
