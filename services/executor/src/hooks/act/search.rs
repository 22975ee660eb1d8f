//! What searches found: kept in the memory of this replica, for the next equal search.

use std::time::Duration;

use base::ExecutionId;
use moka::sync::Cache;
use serde_json::Value;

/// Searches under way whose result is waited for.
const OPEN_MAX: u64 = 10_000;

/// Found outputs by search, and the searches of tasks that run.
pub(super) struct SearchCache {
    found: Cache<[u8; 32], Value>,
    open: Cache<(ExecutionId, String), [u8; 32]>,
}

impl SearchCache {
    pub(super) fn new(bytes_max: u64, ttl: Duration) -> Self {
        let weigh =
            |_: &[u8; 32], output: &Value| u32::try_from(output.to_string().len() + 64).unwrap_or(u32::MAX);
        Self {
            found: Cache::builder().max_capacity(bytes_max).weigher(weigh).time_to_live(ttl).build(),
            open: Cache::builder().max_capacity(OPEN_MAX).time_to_live(Duration::from_secs(3600)).build(),
        }
    }

    /// What an equal search found; else the task's result is waited for.
    pub(super) fn look(&self, execution: ExecutionId, task: &str, key: [u8; 32]) -> Option<Value> {
        let found = self.found.get(&key);
        if found.is_none() {
            self.open.insert((execution, task.to_owned()), key);
        }
        found
    }

    /// Keeps what the task found. `false`: nobody looked for it here.
    pub(super) fn fill(&self, execution: ExecutionId, task: &str, output: Value) -> bool {
        let Some(key) = self.open.remove(&(execution, task.to_owned())) else { return false };
        self.found.insert(key, output);
        true
    }
}
