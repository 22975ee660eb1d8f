//! The little that hooks need of sessions.

use api::Fault;
use async_trait::async_trait;
use base::{ExecutionId, Tenant};
use serde_json::{Map, Value};

/// Variables of the session that an execution belongs to.
#[async_trait]
pub trait SessionMemory: Send + Sync + 'static {
    /// Writes variables. Safe to repeat.
    ///
    /// # Errors
    /// The execution belongs to no session; the session takes no more; the store is away.
    async fn write(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        variables: Map<String, Value>,
    ) -> Result<(), Fault>;
    /// All variables.
    ///
    /// # Errors
    /// The execution belongs to no session; the store is away.
    async fn read(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Map<String, Value>, Fault>;
}
