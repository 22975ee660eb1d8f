//! Scripted registry and planner.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use api::Fault;
use base::{CallContext, ErrorCode, Finding, Severity};
use catalog::{AgentDefinition, AgentEntry, AgentState, snapshot::HealthReport};
use futures::Stream;
use proto::{
    planner::{
        internal::v1::{
            self as internal,
            planner_internal_service_server::{PlannerInternalService, PlannerInternalServiceServer},
        },
        v1 as planner,
    },
    registry::v1 as registry,
};
use runtime::{Role, Service, call};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Keeps agents in memory.
#[derive(Clone, Default)]
pub(crate) struct FakeRegistry {
    pub(crate) agents: Arc<Mutex<BTreeMap<String, (Value, u64)>>>,
    pub(crate) seen: Arc<Mutex<Vec<CallContext>>>,
}

impl FakeRegistry {
    pub(crate) fn role(&self) -> Role {
        let fake = self.clone();
        Role::new("registry", &[], move |_| {
            let server = registry::registry_service_server::RegistryServiceServer::new(fake.clone());
            async move { Ok(Service::new().grpc(server).descriptor(proto::DESCRIPTORS)) }
        })
    }

    fn put(&self, text: &str) -> Answer<registry::Agent> {
        let value: Value =
            serde_json::from_str(text).unwrap_or_else(|_| json!({"id": "from-yaml", "name": "From YAML"}));
        let Some(id) = value["id"].as_str() else {
            let finding = Finding::new(Severity::Error, "missing-key", "id", "`id` is missing").at(1, 1);
            return Err(Fault::new(ErrorCode::InvalidArgument, "the agent has errors")
                .findings(vec![finding])
                .into());
        };
        let mut agents = self.agents.lock().unwrap();
        let revision = agents.get(id).map_or(0, |(_, r)| *r) + 1;
        agents.insert(id.to_owned(), (value.clone(), revision));
        Ok(Response::new(agent(id, &value, revision, "active")))
    }

    fn find(&self, id: &str) -> Result<(Value, u64), Status> {
        let found = self.agents.lock().unwrap().get(id).cloned();
        found.ok_or_else(|| Fault::not_found("agent", id).into())
    }
}

/// The document of an agent as the registry writes it.
fn agent(id: &str, value: &Value, revision: u64, state: &str) -> registry::Agent {
    let health = |d: &AgentDefinition| HealthReport::of(d, BTreeMap::new());
    let value = match AgentDefinition::from_stored(value) {
        Ok(d) => AgentEntry::new(d.clone(), revision, AgentState::Active, health(&d)).to_value(),
        Err(_) => {
            json!({"id": id, "name": value["name"], "healthStatus": {"status": "unknown", "score": 50}})
        }
    };
    registry::Agent {
        definition_json: value.to_string(),
        agent_id: id.into(),
        revision,
        state: state.into(),
        health: "unknown".into(),
        score: 50,
        findings: vec![],
    }
}

#[tonic::async_trait]
impl registry::registry_service_server::RegistryService for FakeRegistry {
    async fn register_agent(
        &self,
        request: Request<registry::RegisterAgentRequest>,
    ) -> Answer<registry::Agent> {
        self.seen.lock().unwrap().push(call::context(&request));
        self.put(&request.into_inner().definition)
    }
    async fn import_card(&self, request: Request<registry::ImportCardRequest>) -> Answer<registry::Agent> {
        let request = request.into_inner();
        self.put(&json!({"id": request.agent_id, "name": "Imported", "endpoint": request.url}).to_string())
    }
    async fn update_agent(&self, request: Request<registry::UpdateAgentRequest>) -> Answer<registry::Agent> {
        let request = request.into_inner();
        let (_, revision) = self.find(&request.agent_id)?;
        if request.expected_revision > 0 && request.expected_revision != revision {
            return Err(
                Fault::new(ErrorCode::Conflict, format!("the agent is at revision {revision}")).into()
            );
        }
        self.put(&request.definition)
    }
    async fn get_agent(&self, request: Request<registry::GetAgentRequest>) -> Answer<registry::Agent> {
        self.seen.lock().unwrap().push(call::context(&request));
        let id = request.into_inner().agent_id;
        let (value, revision) = self.find(&id)?;
        Ok(Response::new(agent(&id, &value, revision, "active")))
    }
    async fn list_agents(
        &self,
        request: Request<registry::ListAgentsRequest>,
    ) -> Answer<registry::ListAgentsResponse> {
        let page = request.into_inner().page.unwrap_or_default();
        if page.page_token == "bad" {
            return Err(Fault::bad("page.page_token", "is not a token of this list").into());
        }
        let agents = self.agents.lock().unwrap();
        let agents: Vec<_> = agents.iter().map(|(id, (value, r))| agent(id, value, *r, "active")).collect();
        Ok(Response::new(registry::ListAgentsResponse { agents, next_page_token: "more".into() }))
    }
    async fn delete_agent(&self, request: Request<registry::DeleteAgentRequest>) -> Answer<registry::Agent> {
        let id = request.into_inner().agent_id;
        let (value, revision) = self.find(&id)?;
        Ok(Response::new(agent(&id, &value, revision + 1, "draining")))
    }
    async fn heartbeat(
        &self,
        request: Request<registry::HeartbeatRequest>,
    ) -> Answer<registry::HeartbeatResponse> {
        self.find(&request.into_inner().agent_id)?;
        Ok(Response::new(registry::HeartbeatResponse { expires_in_ms: 90_000 }))
    }
    type WatchAgentsStream =
        Pin<Box<dyn Stream<Item = Result<registry::WatchAgentsResponse, Status>> + Send>>;
    async fn watch_agents(
        &self,
        _: Request<registry::WatchAgentsRequest>,
    ) -> Answer<Self::WatchAgentsStream> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// Knows the workflows whose name does not start with `missing`.
#[derive(Clone, Default)]
pub(crate) struct FakePlanner {
    pub(crate) sources: Arc<Mutex<Vec<(String, String)>>>,
}

pub(crate) const WORKFLOW_ID: &str = "6f1c1c5e-0000-5000-8000-000000000001";

impl FakePlanner {
    pub(crate) fn role(&self) -> Role {
        let fake = self.clone();
        Role::new("planner", &[], move |_| {
            let server = planner::planner_service_server::PlannerServiceServer::new(fake.clone());
            let patterns = planner::pattern_service_server::PatternServiceServer::new(fake.clone());
            let service = Service::new()
                .grpc(server)
                .grpc(patterns)
                .grpc(PlannerInternalServiceServer::new(fake.clone()));
            async move { Ok(service.descriptor(proto::DESCRIPTORS)) }
        })
    }

    /// Refuses what says that it is broken.
    fn judge(&self, source: &str, format: &str) -> Result<Vec<proto::common::v1::Finding>, Status> {
        self.sources.lock().unwrap().push((source.to_owned(), format.to_owned()));
        for (word, code) in [
            ("broken", ErrorCode::InvalidDefinition),
            ("unsupported", ErrorCode::UnsupportedPattern),
            ("too-big", ErrorCode::InsufficientResources),
        ] {
            if source.contains(word) {
                let finding =
                    Finding::new(Severity::Error, "unknown-role", "tasks[0].agent", "no such role").at(3, 7);
                return Err(Fault::new(code, word).findings(vec![finding]).into());
            }
        }
        let note = Finding::new(Severity::Warning, "no-effect-yet", "coordination", "has no effect yet");
        Ok(vec![api::status::finding_to_wire(&note)])
    }
}

fn workflow(name: &str) -> planner::Workflow {
    planner::Workflow {
        workflow_id: WORKFLOW_ID.into(),
        name: name.into(),
        version: "1.0".into(),
        orchestration_pattern: "supervisor".into(),
        content_hash: "00ff".into(),
        source: "name: x".into(),
        format: "yaml".into(),
        dialect: "workflow".into(),
        definition_json: r#"{"name":"x"}"#.into(),
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
        versions: vec!["1.0".into()],
        tasks: 3,
    }
}

fn known(name: &str) -> Result<planner::Workflow, Status> {
    if name.starts_with("missing") {
        Err(Fault::not_found("workflow", name).into())
    } else {
        Ok(workflow(name))
    }
}

#[tonic::async_trait]
impl planner::planner_service_server::PlannerService for FakePlanner {
    async fn create_workflow(
        &self,
        request: Request<planner::CreateWorkflowRequest>,
    ) -> Answer<planner::CreateWorkflowResponse> {
        let request = request.into_inner();
        let findings = self.judge(&request.source, &request.format)?;
        Ok(Response::new(planner::CreateWorkflowResponse {
            workflow: Some(workflow("x")),
            status: "validated".into(),
            findings,
            estimated_resources_json: r#"{"cpu_millis":2000,"agents":3}"#.into(),
        }))
    }
    async fn validate_workflow(
        &self,
        request: Request<planner::ValidateWorkflowRequest>,
    ) -> Answer<planner::ValidateWorkflowResponse> {
        let request = request.into_inner();
        let judged = self.judge(&request.source, &request.format);
        let rendered =
            if judged.is_ok() { String::new() } else { format!("{}:3:7: no such role", request.file_name) };
        let valid = judged.is_ok();
        Ok(Response::new(planner::ValidateWorkflowResponse {
            valid,
            findings: judged.unwrap_or_default(),
            rendered,
        }))
    }
    async fn get_workflow(&self, request: Request<planner::GetWorkflowRequest>) -> Answer<planner::Workflow> {
        known(&request.into_inner().r#ref).map(Response::new)
    }
    async fn list_workflows(
        &self,
        _: Request<planner::ListWorkflowsRequest>,
    ) -> Answer<planner::ListWorkflowsResponse> {
        Ok(Response::new(planner::ListWorkflowsResponse {
            workflows: vec![workflow("x")],
            next_page_token: String::new(),
        }))
    }
    async fn delete_workflow(
        &self,
        request: Request<planner::DeleteWorkflowRequest>,
    ) -> Answer<planner::DeleteWorkflowResponse> {
        let name = request.into_inner().r#ref;
        if name == "busy" {
            return Err(Fault::new(ErrorCode::InvalidState, "2 executions are active").into());
        }
        known(&name).map(|_| Response::new(planner::DeleteWorkflowResponse { versions_deleted: 1 }))
    }
    async fn explain_plan(
        &self,
        request: Request<planner::ExplainPlanRequest>,
    ) -> Answer<planner::ExplainPlanResponse> {
        let request = request.into_inner();
        known(&request.r#ref)?;
        let plan_json = r#"{"levels":[["a"],["b"]],"critical_path":["a","b"]}"#.to_owned();
        Ok(Response::new(planner::ExplainPlanResponse { plan_json, findings: vec![] }))
    }
}

#[tonic::async_trait]
impl planner::pattern_service_server::PatternService for FakePlanner {
    async fn register_pattern(
        &self,
        request: Request<planner::RegisterPatternRequest>,
    ) -> Answer<planner::RegisterPatternResponse> {
        let findings = self.judge(&request.into_inner().source, "")?;
        Ok(Response::new(planner::RegisterPatternResponse { pattern: Some(pattern("review")), findings }))
    }
    async fn list_patterns(
        &self,
        _: Request<planner::ListPatternsRequest>,
    ) -> Answer<planner::ListPatternsResponse> {
        let patterns = vec![pattern("debate"), pattern("review")];
        Ok(Response::new(planner::ListPatternsResponse { patterns }))
    }
    async fn get_pattern(&self, request: Request<planner::GetPatternRequest>) -> Answer<planner::Pattern> {
        match request.into_inner().r#ref.as_str() {
            "missing" => Err(Fault::not_found("pattern", "missing").into()),
            name => Ok(Response::new(pattern(name))),
        }
    }
    async fn delete_pattern(
        &self,
        request: Request<planner::DeletePatternRequest>,
    ) -> Answer<planner::DeletePatternResponse> {
        match request.into_inner().r#ref.as_str() {
            "busy" => Err(Fault::new(ErrorCode::InvalidState, "busy is used").into()),
            _ => Ok(Response::new(planner::DeletePatternResponse { versions_deleted: 2 })),
        }
    }
}

#[tonic::async_trait]
impl PlannerInternalService for FakePlanner {
    async fn get_plan(
        &self,
        request: Request<internal::GetPlanRequest>,
    ) -> Answer<internal::GetPlanResponse> {
        let asked = request.into_inner();
        self.judge(&asked.inline_source, &asked.inline_format)?;
        known(&asked.r#ref)?;
        let plan_json = json!({"of": format!("{}{}", asked.r#ref, asked.inline_source)}).to_string();
        Ok(Response::new(internal::GetPlanResponse { plan_json, ..Default::default() }))
    }
    async fn list_plan_triggers(
        &self,
        _: Request<internal::ListPlanTriggersRequest>,
    ) -> Answer<internal::ListPlanTriggersResponse> {
        Ok(Response::new(internal::ListPlanTriggersResponse::default()))
    }
}

fn pattern(name: &str) -> planner::Pattern {
    let parameter = |name: &str, default: &str| planner::PatternParameter {
        name: name.into(),
        r#type: "role".into(),
        default_json: default.into(),
        schema_json: json!({"type": "string"}).to_string(),
        ..Default::default()
    };
    planner::Pattern {
        name: name.into(),
        version: "1.0.0".into(),
        versions: vec!["1.0.0".into()],
        parameters: vec![parameter("author", ""), parameter("reviewer", "\"ann\"")],
        source: "pattern: x".into(),
        ..Default::default()
    }
}
