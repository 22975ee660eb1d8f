//! Both contracts: decode, ask the app, encode. The only file that knows tonic.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use api::Fault;
use base::{AgentId, CallContext, ErrorCode, Finding};
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use proto::registry::{
    internal::v1::{
        ReadLogRequest, ReadLogResponse, ReportUseRequest, ReportUseResponse,
        registry_internal_service_server::RegistryInternalService,
    },
    v1::{
        Agent, DeleteAgentRequest, GetAgentRequest, HeartbeatRequest, HeartbeatResponse, ImportCardRequest,
        ListAgentsRequest, ListAgentsResponse, RegisterAgentRequest, UpdateAgentRequest, WatchAgentsRequest,
        WatchAgentsResponse, registry_service_client::RegistryServiceClient,
        registry_service_server::RegistryService,
    },
};
use runtime::{Peers, call};
use tonic::{Request, Response, Status};

use crate::{
    app::{App, Filter, Known, LeaveMode, Saved, Step, UseReport, Watch},
    error::RegistryError,
};

/// Agents in one message of a watch.
const AGENTS_PER_MESSAGE: usize = 200;
/// Events in one answer to `ReadLog`.
const EVENTS_PER_MESSAGE: u32 = 1000;
/// Marks a call that another replica passed on: it is not passed on again.
const FORWARDED: &str = "x-orchestra-forwarded";

/// Serves both contracts.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    app: Arc<App>,
    /// Only where there can be other replicas: the peers of a process hold its services, this one included.
    peers: Option<Peers>,
}

impl Grpc {
    pub(crate) fn new(app: Arc<App>, peers: Option<Peers>) -> Self {
        Self { app, peers }
    }

    /// Passes a heartbeat on to the replica that looks after the agent. `None` when it is to be handled here.
    async fn elsewhere(
        &self,
        ctx: &CallContext,
        id: &AgentId,
        request: &Request<HeartbeatRequest>,
    ) -> Option<HeartbeatResponse> {
        let owner = self.app.ring.owner(&ctx.tenant, id);
        let forwarded = request.metadata().contains_key(FORWARDED);
        if forwarded || self.app.ring.owns(&ctx.tenant, id) || owner.address.is_empty() {
            return None;
        }
        let peer = self.peers.as_ref()?.dial(&owner.address).ok()?;
        let mut passed = call::request(ctx, request.get_ref().clone());
        passed.metadata_mut().insert(FORWARDED, tonic::metadata::MetadataValue::from_static("1"));
        match RegistryServiceClient::new(peer).heartbeat(passed).await {
            Ok(answer) => Some(answer.into_inner()),
            // The owner may just have gone: heard here it counts as soon as this replica takes over.
            Err(status) => {
                tracing::debug!(owner = %owner.id, %status, "a heartbeat was not passed on");
                None
            }
        }
    }

    /// Tells the other replicas what an executor measured: each looks after its share of the agents.
    fn spread(&self, ctx: &CallContext, request: &Request<ReportUseRequest>) {
        let (report, Some(peers)) = (request.get_ref(), &self.peers) else { return };
        if report.measured.is_empty() || request.metadata().contains_key(FORWARDED) {
            return;
        }
        for member in self.app.ring.others() {
            let Ok(peer) = peers.dial(&member.address) else { continue };
            let mut passed = call::request(ctx, report.clone());
            passed.metadata_mut().insert(FORWARDED, tonic::metadata::MetadataValue::from_static("1"));
            tokio::spawn(async move {
                use proto::registry::internal::v1::registry_internal_service_client::RegistryInternalServiceClient;
                // What was measured only moves a score; the next report is two seconds away.
                if let Err(status) = RegistryInternalServiceClient::new(peer).report_use(passed).await {
                    tracing::debug!(replica = %member.id, %status, "a report was not passed on");
                }
            });
        }
    }
}

fn agent_id(text: &str) -> Result<AgentId, Fault> {
    AgentId::new(text).map_err(|error| Fault::bad("agent_id", error))
}

fn encode(known: &Known, findings: &[Finding]) -> Agent {
    Agent {
        definition_json: known.to_value().to_string(),
        agent_id: known.id.to_string(),
        revision: known.entry.revision,
        state: known.entry.state.as_str().into(),
        health: known.entry.status().as_str().into(),
        score: u32::from(known.entry.score()),
        findings: findings.iter().map(api::status::finding_to_wire).collect(),
    }
}

fn saved(saved: Saved) -> Response<Agent> {
    Response::new(encode(&saved.known, &saved.findings))
}

/// The one place where errors choose their code.
fn fault(error: RegistryError) -> Fault {
    let text = error.to_string();
    match error {
        RegistryError::Rejected(rejected) => {
            let field = rejected.field().to_owned();
            Fault::new(ErrorCode::InvalidDefinition, text).field(field).findings(rejected.findings)
        }
        RegistryError::BadRequest { field, rule } => Fault::bad(field, rule),
        RegistryError::NotFound(_) | RegistryError::NoInstance { .. } => {
            Fault::new(ErrorCode::NotFound, text)
        }
        RegistryError::Exists(id) => Fault::new(ErrorCode::AlreadyExists, text).related(vec![id.to_string()]),
        RegistryError::Stale { .. } => Fault::new(ErrorCode::Conflict, text).field("expected_revision"),
        RegistryError::Leaving(_) | RegistryError::Busy { .. } => Fault::new(ErrorCode::InvalidState, text),
        RegistryError::Unreachable { .. } => Fault::unavailable(text).field("url"),
        RegistryError::NotACard { .. } => Fault::new(ErrorCode::InvalidArgument, text).field("url"),
        RegistryError::Store(cause) => {
            // The cause may name hosts or tables: it is logged, the caller is told to try again.
            tracing::error!(error = %cause, "the store failed");
            Fault::unavailable("the registry's database cannot be used at the moment; try again")
        }
    }
}

fn status(error: RegistryError) -> Status {
    fault(error).into()
}

#[tonic::async_trait]
impl RegistryService for Grpc {
    async fn register_agent(
        &self,
        request: Request<RegisterAgentRequest>,
    ) -> Result<Response<Agent>, Status> {
        let tenant = call::context(&request).tenant;
        let r = request.into_inner();
        self.app.register(&tenant, &r.definition, &r.format).await.map(saved).map_err(status)
    }

    async fn import_card(&self, request: Request<ImportCardRequest>) -> Result<Response<Agent>, Status> {
        let tenant = call::context(&request).tenant;
        let r = request.into_inner();
        self.app.import(&tenant, &r.url, &r.agent_id, r.capacity).await.map(saved).map_err(status)
    }

    async fn update_agent(&self, request: Request<UpdateAgentRequest>) -> Result<Response<Agent>, Status> {
        let tenant = call::context(&request).tenant;
        let r = request.into_inner();
        let id = agent_id(&r.agent_id)?;
        let done = self.app.update(&tenant, &id, &r.definition, &r.format, r.expected_revision).await;
        done.map(saved).map_err(status)
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<Agent>, Status> {
        let tenant = call::context(&request).tenant;
        let id = agent_id(&request.into_inner().agent_id)?;
        self.app.get(&tenant, &id).await.map(saved).map_err(status)
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let tenant = call::context(&request).tenant;
        let r = request.into_inner();
        let page = r.page.unwrap_or_default();
        let filter = Filter {
            capability: r.capability,
            tag: r.tag,
            health: r.health,
            environment: r.environment,
            agent_type: r.r#type,
        };
        let (agents, next_page_token) =
            self.app.list(&tenant, &filter, page.page_size, &page.page_token).await.map_err(status)?;
        let agents = agents.iter().map(|known| encode(known, &[])).collect();
        Ok(Response::new(ListAgentsResponse { agents, next_page_token }))
    }

    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<Agent>, Status> {
        let tenant = call::context(&request).tenant;
        let r = request.into_inner();
        let id = agent_id(&r.agent_id)?;
        let mode = match (r.force, r.refuse_if_busy) {
            (true, true) => return Err(Fault::bad("force", "excludes refuse_if_busy; choose one").into()),
            (true, false) => LeaveMode::Force,
            (false, true) => LeaveMode::RefuseIfBusy,
            (false, false) => LeaveMode::Drain,
        };
        let known = self.app.remove(&tenant, &id, mode).await.map_err(status)?;
        let mut agent = encode(&known, &[]);
        agent.state = catalog::AgentState::Draining.as_str().into();
        Ok(Response::new(agent))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let ctx = call::context(&request);
        let id = agent_id(&request.get_ref().agent_id)?;
        if let Some(answer) = self.elsewhere(&ctx, &id, &request).await {
            return Ok(Response::new(answer));
        }
        let r = request.into_inner();
        self.app.heartbeat(&ctx.tenant, &id, &r.instance_id, &r.status).await.map_err(status)?;
        let expires = self.app.options.heartbeat_expiry;
        Ok(Response::new(HeartbeatResponse {
            expires_in_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
        }))
    }

    type WatchAgentsStream = Pin<Box<dyn Stream<Item = Result<WatchAgentsResponse, Status>> + Send>>;

    async fn watch_agents(
        &self,
        request: Request<WatchAgentsRequest>,
    ) -> Result<Response<Self::WatchAgentsStream>, Status> {
        let tenant = call::context(&request).tenant;
        let from = request.into_inner().from_revision;
        let watch = Watch::new(self.app.clone(), tenant, from);
        let steps = stream::unfold((watch, from), |(mut watch, stands_at)| async move {
            let step = watch.next().await?;
            let revision = match &step {
                Step::Snapshot { revision, .. } | Step::Changes { revision, .. } => *revision,
            };
            Some((stream::iter(messages(step, stands_at)), (watch, revision)))
        });
        Ok(Response::new(steps.flatten().map(Ok).boxed()))
    }
}

/// The messages of a step. Only the last one moves the revision: a client that stops in between resumes before them.
fn messages(step: Step, stands_at: u64) -> Vec<WatchAgentsResponse> {
    let (is_snapshot, revision, agents, removed) = match step {
        Step::Snapshot { revision, agents } => (true, revision, agents, Vec::new()),
        Step::Changes { revision, changed, removed } => (false, revision, changed, removed),
    };
    let before = if is_snapshot { 0 } else { stands_at };
    let mut out: Vec<WatchAgentsResponse> = agents
        .chunks(AGENTS_PER_MESSAGE)
        .map(|chunk| WatchAgentsResponse {
            revision: before,
            snapshot: is_snapshot,
            changed: chunk.iter().map(|known| encode(known, &[])).collect(),
            ..WatchAgentsResponse::default()
        })
        .collect();
    if out.is_empty() {
        out.push(WatchAgentsResponse { snapshot: is_snapshot, ..WatchAgentsResponse::default() });
    }
    if let Some(last) = out.last_mut() {
        last.revision = revision;
        last.snapshot_complete = is_snapshot;
        last.removed = removed.iter().map(ToString::to_string).collect();
    }
    out
}

#[tonic::async_trait]
impl RegistryInternalService for Grpc {
    async fn report_use(
        &self,
        request: Request<ReportUseRequest>,
    ) -> Result<Response<ReportUseResponse>, Status> {
        let ctx = call::context(&request);
        let tenant = &ctx.tenant;
        let report = request.get_ref();
        let ids: Vec<AgentId> =
            report.measured.iter().map(|m| agent_id(&m.agent_id)).collect::<Result<_, _>>()?;
        let mut in_flight = HashMap::new();
        for (id, calls) in &report.in_flight {
            in_flight.insert(agent_id(id)?, *calls);
        }
        if !request.metadata().contains_key(FORWARDED) {
            let member = report.member_id.clone();
            let seen = UseReport { member, revision: report.revision, in_flight };
            self.app.report_use(tenant, seen).await.map_err(status)?;
        }
        for (id, one) in ids.into_iter().zip(&report.measured) {
            let key = (tenant.clone(), id);
            self.app.measured(&key, &one.instance_id, one.calls, one.failures, one.call_us);
        }
        self.spread(&ctx, &request);
        let expires_in_ms = u64::try_from(self.app.options.executor_expiry.as_millis()).unwrap_or(u64::MAX);
        Ok(Response::new(ReportUseResponse { expires_in_ms }))
    }

    async fn read_log(&self, request: Request<ReadLogRequest>) -> Result<Response<ReadLogResponse>, Status> {
        let ReadLogRequest { from_pos, limit } = request.into_inner();
        let limit = if limit == 0 { EVENTS_PER_MESSAGE } else { limit.min(EVENTS_PER_MESSAGE) };
        let page = self.app.read_log(from_pos, limit).await.map_err(|error| status(error.into()))?;
        let batches = page.batches.iter().map(|batch| batch.encode_to_vec()).collect();
        Ok(Response::new(ReadLogResponse { batches, last_pos: page.last, gone: page.gone }))
    }
}
