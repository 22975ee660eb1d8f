//! Agents: register, read, change, drain.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use proto::registry::v1 as wire;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, json, ok, page, with_location};
use crate::{
    app::{App, Registry, Retry, ask},
    extract::{Call, Document, Json, MaybeJson, Path, Query, header_text},
    model::{
        agents::{
            Agent, AgentDefinition, AgentPage, Heartbeat, HeartbeatAnswer, HeartbeatStatus, ImportCard,
            if_match, without_entry,
        },
        some,
    },
    problem::Problem,
};

/// Which agents.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AgentFilter {
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
    /// Offers this capability.
    capability: Option<String>,
    /// Has this tag.
    tag: Option<String>,
    /// `healthy`, `degraded`, `unhealthy` or `unknown`.
    health: Option<String>,
    /// Runs in this environment.
    environment: Option<String>,
    /// Is of this type.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
}

/// How an agent goes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Removal {
    /// At once: running calls are cut.
    #[serde(default)]
    force: bool,
    /// Refuse (409) while calls run, instead of draining.
    #[serde(default)]
    refuse_if_busy: bool,
}

fn shown(status: StatusCode, agent: wire::Agent) -> Result<Response, Problem> {
    let agent = Agent::try_from(agent)?;
    let mut response = json(status, &agent);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", agent.revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

fn created(agent: wire::Agent) -> Answer {
    let location = format!("/api/v1/agents/{}", agent.agent_id);
    Ok(with_location(shown(StatusCode::CREATED, agent)?, &location))
}

/// Registers an agent. The same definition under the same id is the same agent.
#[utoipa::path(post, path = "/agents", tag = "agents", request_body(content((AgentDefinition = "application/json"), (String = "application/yaml"))),
    responses((status = 201, body = Agent)))]
pub(crate) async fn register_agent(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    document: Document,
) -> Answer {
    let (definition, _) = without_entry(document.text, document.format);
    let message = wire::RegisterAgentRequest { definition, format: document.format.into() };
    let call = async |mut to: Registry, request| to.register_agent(request).await;
    created(ask(&app.registry, &ctx, Retry::UntilDeadline, message, call).await?)
}

/// Lists agents by id.
#[utoipa::path(get, path = "/agents", tag = "agents", params(AgentFilter), responses((status = 200, body = AgentPage)))]
pub(crate) async fn list_agents(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(filter): Query<AgentFilter>,
) -> Answer {
    let message = wire::ListAgentsRequest {
        page: Some(page(&app.limits, filter.page_size, filter.page_token)?),
        capability: filter.capability.unwrap_or_default(),
        tag: filter.tag.unwrap_or_default(),
        health: filter.health.unwrap_or_default(),
        environment: filter.environment.unwrap_or_default(),
        r#type: filter.kind.unwrap_or_default(),
    };
    let call = async |mut to: Registry, request| to.list_agents(request).await;
    let answer = ask(&app.registry, &ctx, Retry::Read, message, call).await?;
    let agents = answer.agents.into_iter().map(Agent::try_from).collect::<Result<_, _>>()?;
    ok(&AgentPage { agents, next_page_token: some(answer.next_page_token) })
}

/// Shows an agent.
#[utoipa::path(get, path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), responses((status = 200, body = Agent)))]
pub(crate) async fn get_agent(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let call = async |mut to: Registry, request| to.get_agent(request).await;
    let message = wire::GetAgentRequest { agent_id: id };
    shown(StatusCode::OK, ask(&app.registry, &ctx, Retry::Read, message, call).await?)
}

/// Replaces an agent's definition. With `If-Match`, or a `revision` in the body, only if nobody changed it since (409).
#[utoipa::path(put, path = "/agents/{id}", tag = "agents", params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body(content((AgentDefinition = "application/json"), (String = "application/yaml"))), responses((status = 200, body = Agent)))]
pub(crate) async fn update_agent(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    headers: HeaderMap,
    document: Document,
) -> Answer {
    let wanted = if_match(header_text(&headers, "if-match", 64)?)?;
    let (definition, read_at) = without_entry(document.text, document.format);
    let expected_revision = if wanted > 0 { wanted } else { read_at };
    let message = wire::UpdateAgentRequest {
        agent_id: id,
        definition,
        format: document.format.into(),
        expected_revision,
    };
    let call = async |mut to: Registry, request| to.update_agent(request).await;
    // A repeated update of a named revision would find its own change and refuse it.
    let retry = if expected_revision > 0 { Retry::OnlyRefused } else { Retry::UntilDeadline };
    shown(StatusCode::OK, ask(&app.registry, &ctx, retry, message, call).await?)
}

/// Drains an agent: no new calls; it is gone when none is running. Answers with the draining agent.
#[utoipa::path(delete, path = "/agents/{id}", tag = "agents", params(("id" = String, Path), Removal), responses((status = 202, body = Agent)))]
pub(crate) async fn delete_agent(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(how): Query<Removal>,
) -> Answer {
    let message =
        wire::DeleteAgentRequest { agent_id: id, force: how.force, refuse_if_busy: how.refuse_if_busy };
    let call = async |mut to: Registry, request| to.delete_agent(request).await;
    shown(StatusCode::ACCEPTED, ask(&app.registry, &ctx, Retry::OnlyRefused, message, call).await?)
}

/// Registers what an agent's A2A card says.
#[utoipa::path(post, path = "/agents/import-card", tag = "agents", request_body = ImportCard, responses((status = 201, body = Agent)))]
pub(crate) async fn import_card(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Json(card): Json<ImportCard>,
) -> Answer {
    if card.url.is_empty() {
        return Err(Problem::argument("url", "url must be the address of a card or of an agent"));
    }
    let message = wire::ImportCardRequest {
        url: card.url,
        agent_id: card.id.unwrap_or_default(),
        capacity: card.capacity.unwrap_or_default(),
    };
    let call = async |mut to: Registry, request| to.import_card(request).await;
    created(ask(&app.registry, &ctx, Retry::OnlyRefused, message, call).await?)
}

/// Says that an instance lives.
#[utoipa::path(post, path = "/agents/{id}/heartbeat", tag = "agents", params(("id" = String, Path)), request_body = Option<Heartbeat>,
    responses((status = 200, body = HeartbeatAnswer)))]
pub(crate) async fn heartbeat(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    MaybeJson(beat): MaybeJson<Heartbeat>,
) -> Answer {
    let status = match beat.status {
        None => "",
        Some(HeartbeatStatus::Healthy) => "healthy",
        Some(HeartbeatStatus::Degraded) => "degraded",
    };
    let message = wire::HeartbeatRequest {
        agent_id: id,
        instance_id: beat.instance_id.unwrap_or_default(),
        status: status.into(),
        in_flight: beat.in_flight.unwrap_or_default(),
    };
    let call = async |mut to: Registry, request| to.heartbeat(request).await;
    let answer = ask(&app.registry, &ctx, Retry::Read, message, call).await?;
    ok(&HeartbeatAnswer { expires_in_ms: answer.expires_in_ms })
}
