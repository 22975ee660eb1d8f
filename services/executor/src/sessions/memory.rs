//! Sessions as hooks see them: the variables of the session that an execution belongs to.

use api::Fault;
use async_trait::async_trait;
use base::{ExecutionId, Tenant};
use serde_json::{Map, Value};

use super::{
    Sessions,
    book::{Leavings, read_vars},
    rules,
};
use crate::hooks::SessionMemory;

/// `by` of variables that a hook sets.
const BY: &str = "hooks";

impl Sessions {
    async fn session_of(&self, tenant: &Tenant, execution: ExecutionId) -> Result<String, Fault> {
        let member = self.member(tenant, execution).await?;
        member.map(|m| m.session_id).ok_or_else(|| Fault::not_found("session of execution", execution))
    }
}

#[async_trait]
impl SessionMemory for Sessions {
    async fn write(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        variables: Map<String, Value>,
    ) -> Result<(), Fault> {
        let session = self.session_of(tenant, execution).await?;
        let set = |vars: &mut rules::Vars, stamp: rules::Stamp<'_>| {
            for (name, value) in &variables {
                rules::set(vars, (name, value.clone()), None, stamp, self.options())?;
            }
            Ok(((), Leavings::default()))
        };
        self.change(tenant, &session, BY, set).await.map(drop)
    }

    async fn read(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Map<String, Value>, Fault> {
        let session = self.session_of(tenant, execution).await?;
        let row = self.row(tenant, &session).await?;
        Ok(rules::loaded(&read_vars(&row)?, &[]))
    }
}
