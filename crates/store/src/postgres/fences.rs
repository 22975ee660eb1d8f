//! The number within an incarnation that rises when a commit's outcome is unknown.
//!
//! The incarnation itself stays: the rest of the cluster takes its change for the death of this process. Only our own
//! committers look at the fence.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::journal::Membership;

/// What the fences of our memberships are at, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    known: Mutex<HashMap<Membership, i64>>,
    /// Held while a fence is being raised, so that a committer that was shut out can wait for the new number.
    pub(crate) raising: tokio::sync::Mutex<()>,
}

impl Fences {
    /// The present number; a new membership begins at 0.
    pub(crate) fn get(&self, by: &Membership) -> i64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(by).copied().unwrap_or(0)
    }

    pub(crate) fn set(&self, by: &Membership, fence: i64) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(by.clone(), fence);
    }
}
