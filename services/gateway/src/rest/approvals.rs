//! What people are asked, over all executions.

use std::sync::Arc;

use axum::extract::State;
use proto::executor::v1 as wire;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, control::client, ok, page};
use crate::{
    app::{App, Retry},
    extract::{Call, Query, execution_id},
    model::{
        approvals::{Approval, ApprovalPage},
        some,
    },
};

/// Which open approvals.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApprovalsQuery {
    /// Of this execution alone.
    execution_id: Option<String>,
    /// Those that this principal may answer, or anybody may.
    #[param(example = "ann")]
    who: Option<String>,
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Lists open approvals, those that wait longest first.
#[utoipa::path(get, path = "/approvals", tag = "executions", params(ApprovalsQuery), responses((status = 200, body = ApprovalPage)))]
pub(crate) async fn list_approvals(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<ApprovalsQuery>,
) -> Answer {
    let of = query.execution_id.as_deref().map(execution_id).transpose()?;
    let message = wire::ListApprovalsRequest {
        execution_id: of.map_or_else(String::new, |id| id.to_string()),
        who: query.who.unwrap_or_default(),
        page: Some(page(&app.limits, query.page_size, query.page_token)?),
    };
    let call = async |to, request| client(to).list_approvals(request).await;
    let answer = app.executors.call_service(&ctx, Retry::Read, || message.clone(), call).await?;
    let approvals = answer.approvals.into_iter().map(Approval::from).collect();
    ok(&ApprovalPage { approvals, next_page_token: some(answer.next_page_token) })
}
