//! Background tasks of this process, and the ways in which they end it.

use std::{future::Future, sync::Arc};

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// A reason to end the process at once, without draining.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{role}: {reason}")]
pub struct TaskFailed {
    /// The role that it belongs to.
    pub role: String,
    /// What happened.
    pub reason: String,
}

/// Ends the process at once, without draining: for a replica that was fenced off, or an fsync that failed.
#[derive(Clone, Debug)]
pub struct Fatal {
    role: String,
    first: Arc<watch::Sender<Option<TaskFailed>>>,
}

impl Fatal {
    /// The first call counts; the process exits with code 1 and logs `reason`.
    pub fn end(&self, reason: impl Into<String>) {
        let failed = TaskFailed { role: self.role.clone(), reason: reason.into() };
        self.first.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(failed);
            }
            first
        });
    }
}

/// The tasks of this process.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    failed: Arc<watch::Sender<Option<TaskFailed>>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { tracker: TaskTracker::new(), failed: Arc::new(watch::Sender::new(None)) }
    }

    pub(crate) fn fatal(&self, role: &str) -> Fatal {
        Fatal { role: role.to_owned(), first: Arc::clone(&self.failed) }
    }

    /// Runs `task`; an error or a panic of it ends the process: a service with a dead part is worse than none.
    pub(crate) fn spawn<F>(&self, role: &str, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let fatal = self.fatal(role);
        self.tracker.spawn(async move {
            match std::panic::AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => fatal.end(format!("task {name} failed: {e:#}")),
                Err(_) => fatal.end(format!("task {name} panicked")),
            }
        });
    }

    /// Waits until something calls [`Fatal::end`].
    pub(crate) async fn failure(&self) -> TaskFailed {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(failure) = failed.borrow_and_update().clone() {
                return failure;
            }
            if failed.changed().await.is_err() {
                // The sender lives as long as `self`.
                return std::future::pending().await;
            }
        }
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
