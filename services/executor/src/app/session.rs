//! Starts in a session.

use api::Fault;
use base::{CallContext, ExecutionId};
use expr::Scope;
use serde_json::Value;
use workflow::Created;

use super::{App, StartRequest};
use crate::{plans::PlanEntry, sessions::Sessions};

impl App {
    /// Keeps sessions: starts that name one belong to it.
    #[must_use]
    pub fn with_sessions(self, sessions: Sessions) -> Self {
        Self { sessions: Some(sessions), ..self }
    }

    /// Holds starts to the budgets of their tenant and workflow.
    #[must_use]
    pub fn with_budgets(self, budgets: crate::budgets::Budgets) -> Self {
        Self { budgets: Some(budgets), ..self }
    }

    /// The creation with what its session gives it; as it is when it belongs to none.
    ///
    /// # Errors
    /// `invalid_argument` when the id cannot be one, or the workflow's expression for it fails.
    pub(super) async fn in_session(
        &self,
        context: &CallContext,
        request: &StartRequest,
        plan: &PlanEntry,
        id: ExecutionId,
        created: Created,
    ) -> Result<Created, Fault> {
        let spec = plan.compiled.plan().session.as_ref();
        let Some(session) = session_id(request, plan, &created)? else { return Ok(created) };
        let Some(sessions) = &self.sessions else {
            return Err(Fault::bad("session_id", "this executor keeps no sessions"));
        };
        let snapshot = sessions.open(&context.tenant, &session, (id, &*plan.name), spec).await?;
        let mut created = created;
        created.settings.session = snapshot.session;
        created.settings.vars = Some(snapshot.vars);
        created.settings.history = Some(snapshot.history);
        Ok(created)
    }
}

/// The id that the start names, else the one that the workflow's expression gives; an empty text or `null` is none.
fn session_id(request: &StartRequest, plan: &PlanEntry, created: &Created) -> Result<Option<String>, Fault> {
    if !request.session_id.is_empty() {
        return Ok(Some(request.session_id.clone()));
    }
    let Some(expr) = plan.compiled.session() else { return Ok(None) };
    let wrong = |e: expr::ExprError| Fault::bad("session_id", format!("session.id of the workflow: {e}"));
    let metadata: Value =
        serde_json::from_str(&created.metadata_json).unwrap_or_else(|_| Value::Object(Default::default()));
    let input = created.input.json().map(|value| (*value).clone()).unwrap_or_default();
    let scope = Scope::new().with("input", input).with("metadata", metadata);
    match expr.eval(&scope).map_err(wrong)? {
        Value::Null => Ok(None),
        Value::String(id) if id.is_empty() => Ok(None),
        Value::String(id) => Ok(Some(id)),
        Value::Number(id) => Ok(Some(id.to_string())),
        other => {
            Err(Fault::bad("session_id", format!("session.id of the workflow gives {other}, not a text")))
        }
    }
}
