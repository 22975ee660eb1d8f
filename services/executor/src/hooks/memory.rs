//! The little that hooks need of sessions.

use async_trait::async_trait;
use base::{ExecutionId, Tenant};
use serde_json::{Map, Value};

/// Variables of the session that an execution belongs to; an execution without one is a session of its own.
#[async_trait]
pub trait SessionMemory: Send + Sync + 'static {
    /// Writes variables. The same `request` writes once.
    ///
    /// # Errors
    /// In words.
    async fn write(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        variables: Map<String, Value>,
        request: uuid::Uuid,
    ) -> Result<(), String>;
    /// All variables.
    ///
    /// # Errors
    /// In words.
    async fn read(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Map<String, Value>, String>;
}
