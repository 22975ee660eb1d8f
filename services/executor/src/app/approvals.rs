//! What people are asked, over all executions.

use api::Fault;
use base::{CallContext, ExecutionId, Timestamp};
use proto::executor::v1 as pb;
use store::topics::{AskedFilter, AskedPlace, AskedRow, AskedStore};

use super::App;
use crate::engine::{Asked, away};

impl App {
    /// A page of open approvals, those that wait longest first.
    ///
    /// # Errors
    /// A field that is none, no such execution, or the store is away.
    pub async fn approvals(
        &self,
        context: &CallContext,
        request: pb::ListApprovalsRequest,
    ) -> Result<pb::ListApprovalsResponse, Fault> {
        let page = request.page.unwrap_or_default();
        let limit = if page.page_size <= 0 { 50 } else { page.page_size.min(1000) as u32 };
        let after = place(&page.page_token)?;
        let execution_id = match request.execution_id.as_str() {
            "" => None,
            text => {
                let id = text.parse().map_err(|_| Fault::bad("execution_id", "is not a UUID"))?;
                self.row(context, id).await?;
                Some(id)
            }
        };
        let filter = AskedFilter {
            tenant: context.tenant.clone(),
            execution_id,
            who: Some(request.who).filter(|who| !who.is_empty()),
        };
        let store = AskedStore::new(self.journal.tables());
        let mut rows = store.list(&filter, after, limit + 1).await.map_err(away)?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| token(row.place));
        Ok(pb::ListApprovalsResponse {
            approvals: rows.into_iter().map(wire).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }
}

fn token(place: AskedPlace) -> String {
    format!("{}.{}.{}", place.since.micros(), place.execution_id, place.task)
}

fn place(token: &str) -> Result<Option<AskedPlace>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let mut parts = token.split('.');
        let since = Timestamp::from_micros(parts.next()?.parse().ok()?);
        let execution_id: ExecutionId = parts.next()?.parse().ok()?;
        let task = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(AskedPlace { since, execution_id, task })
    };
    read().map(Some).ok_or_else(|| Fault::bad("page_token", "is not a token of this list; begin without one"))
}

fn wire(row: AskedRow) -> pb::Approval {
    let Asked { task, workflow_id, workflow_name, workflow_version, title, who, form } =
        Asked::read(&row.asked);
    pb::Approval {
        execution_id: row.place.execution_id.to_string(),
        task_id: task,
        workflow_id,
        workflow_name,
        workflow_version,
        title,
        who,
        since: row.place.since.rfc3339(),
        form_json: form.map_or_else(String::new, |form| form.to_string()),
    }
}
