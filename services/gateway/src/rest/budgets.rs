//! Budgets: list, set, delete.

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse as _};
use http::StatusCode;
use proto::executor::v1::{self as wire, budget_service_client::BudgetServiceClient};
use runtime::PeerChannel;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, ok};
use crate::{
    app::{App, Retry},
    executors::Dialled,
    extract::{Call, Json, Query},
    model::budgets::{Budget, BudgetList, NewBudget},
};

fn client(to: Dialled) -> BudgetServiceClient<PeerChannel> {
    BudgetServiceClient::new(to.channel)
        .max_decoding_message_size(to.message_max)
        .max_encoding_message_size(to.message_max)
}

/// Which budget.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BudgetKey {
    /// Name of the workflow; absent = that of the tenant.
    pub workflow: Option<String>,
    /// `day`, `month` or `total`.
    pub period: String,
}

/// Budgets of the tenant, with what was spent in their present period.
#[utoipa::path(get, path = "/budgets", tag = "budgets", responses((status = 200, body = BudgetList)))]
pub(crate) async fn list_budgets(State(app): State<Arc<App>>, Call(ctx): Call) -> Answer {
    let call = async |to, request| client(to).list_budgets(request).await;
    let found = app.executors.call_service(&ctx, Retry::Read, || wire::ListBudgetsRequest {}, call).await?;
    ok(&BudgetList { budgets: found.budgets.into_iter().map(Budget::from).collect() })
}

/// Sets a budget, in place of an older one of the same workflow and period; what was spent stays counted.
#[utoipa::path(put, path = "/budgets", tag = "budgets", request_body = NewBudget, responses((status = 200, body = Budget)))]
pub(crate) async fn set_budget(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Json(given): Json<NewBudget>,
) -> Answer {
    let limits = Some(given.limits.to_wire());
    let message = wire::SetBudgetRequest { workflow: given.workflow, period: given.period, limits };
    let call = async |to, request| client(to).set_budget(request).await;
    ok(&Budget::from(app.executors.call_service(&ctx, Retry::UntilDeadline, || message.clone(), call).await?))
}

/// Deletes a budget.
#[utoipa::path(delete, path = "/budgets", tag = "budgets", params(BudgetKey), responses((status = 204)))]
pub(crate) async fn delete_budget(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(key): Query<BudgetKey>,
) -> Answer {
    let message =
        wire::DeleteBudgetRequest { workflow: key.workflow.unwrap_or_default(), period: key.period };
    let call = async |to, request| client(to).delete_budget(request).await;
    app.executors.call_service(&ctx, Retry::OnlyRefused, || message.clone(), call).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
