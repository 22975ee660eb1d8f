//! Scripted commands on running executions, and one request to each of their routes.

use std::sync::{Arc, Mutex};

use api::Fault;
use base::ErrorCode;
use proto::{
    common::v1::{Payload, payload::Body},
    executor::v1::{self as wire, control_service_server::ControlService},
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::{Gateway, executor::some_id};

type Answer<T> = Result<Response<T>, Status>;

/// What was asked for.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) signals: Vec<wire::SignalExecutionRequest>,
    pub(crate) vars: Vec<wire::UpdateVariablesRequest>,
    pub(crate) decisions: Vec<wire::DecideApprovalRequest>,
    pub(crate) steps: Vec<wire::GrantStepRequest>,
    pub(crate) resets: Vec<wire::ResetExecutionRequest>,
    pub(crate) forks: Vec<wire::ForkExecutionRequest>,
    pub(crate) plans: Vec<wire::ChangePlanRequest>,
    pub(crate) modes: Vec<wire::SwitchModeRequest>,
    /// How many of the next calls are refused with `unavailable`.
    pub(crate) away: usize,
}

/// Knows one execution, whose tasks are `a` and `improve[2].draft`.
#[derive(Clone, Default)]
pub(crate) struct FakeControl(pub(crate) Arc<Mutex<Asked>>);

fn done(id: &str) -> Answer<wire::CommandExecutionResponse> {
    if id != some_id().to_string() {
        return Err(Fault::not_found("execution", id).into());
    }
    let (execution_id, status) = (id.to_owned(), "executing".to_owned());
    Ok(Response::new(wire::CommandExecutionResponse { execution_id, status, checkpoint_id: String::new() }))
}

fn known(task: &str) -> Result<(), Status> {
    if matches!(task, "" | "a" | "improve[2].draft") {
        return Ok(());
    }
    Err(Fault::not_found("task", task).field("task_id").into())
}

impl FakeControl {
    fn heard(&self, write: impl FnOnce(&mut Asked)) -> Result<(), Status> {
        let mut asked = self.0.lock().unwrap();
        write(&mut asked);
        if asked.away > 0 {
            asked.away -= 1;
            return Err(Fault::new(ErrorCode::Unavailable, "as told").into());
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl ControlService for FakeControl {
    async fn signal_execution(
        &self,
        request: Request<wire::SignalExecutionRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.signals.push(asked.clone()))?;
        done(&asked.execution_id)
    }
    async fn update_variables(
        &self,
        request: Request<wire::UpdateVariablesRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.vars.push(asked.clone()))?;
        done(&asked.execution_id)
    }
    async fn decide_approval(
        &self,
        request: Request<wire::DecideApprovalRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.decisions.push(asked.clone()))?;
        known(&asked.task_id)?;
        done(&asked.execution_id)
    }
    async fn grant_step(
        &self,
        request: Request<wire::GrantStepRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.steps.push(asked.clone()))?;
        known(&asked.task_id)?;
        done(&asked.execution_id)
    }
    async fn reset_execution(
        &self,
        request: Request<wire::ResetExecutionRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.resets.push(asked.clone()))?;
        if asked.task_ids.is_empty() && asked.checkpoint_id.is_empty() {
            return Err(Fault::bad("task_ids", "name tasks, or give checkpoint_id").into());
        }
        done(&asked.execution_id)
    }
    async fn fork_execution(
        &self,
        request: Request<wire::ForkExecutionRequest>,
    ) -> Answer<wire::StartExecutionResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.forks.push(asked.clone()))?;
        done(&asked.execution_id)?;
        Ok(Response::new(wire::StartExecutionResponse {
            execution_id: "00000000-0000-4000-8000-000000000009".into(),
            workflow_id: super::services::WORKFLOW_ID.into(),
            status: "planning".into(),
            existing: !asked.key.is_empty(),
            ..Default::default()
        }))
    }
    async fn change_plan(
        &self,
        request: Request<wire::ChangePlanRequest>,
    ) -> Answer<wire::ChangePlanResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.plans.push(asked.clone()))?;
        if asked.plan_json == "{}" {
            return Err(Fault::bad("plan_json", "a plan has tasks").into());
        }
        if asked.workflow == "missing" {
            return Err(Fault::not_found("workflow", "missing").field("workflow").into());
        }
        if asked.definition.contains("broken") {
            return Err(Fault::new(ErrorCode::InvalidDefinition, "broken").field("definition").into());
        }
        let refused = wire::PlanRefusal {
            code: "conflict".into(),
            message: "a has run".into(),
            task_id: "a".into(),
            ..Default::default()
        };
        Ok(Response::new(wire::ChangePlanResponse {
            execution_id: done(&asked.execution_id)?.into_inner().execution_id,
            revision: 1,
            added: vec!["b".into()],
            refused: if asked.dry_run { vec![refused] } else { vec![] },
            ..Default::default()
        }))
    }
    async fn list_revisions(
        &self,
        request: Request<wire::ListRevisionsRequest>,
    ) -> Answer<wire::ListRevisionsResponse> {
        done(&request.get_ref().execution_id)?;
        let first = wire::Revision {
            by: "ann".into(),
            at: "2026-01-01T00:00:00Z".into(),
            tasks: 2,
            ..Default::default()
        };
        Ok(Response::new(wire::ListRevisionsResponse { revisions: vec![first] }))
    }
    async fn switch_mode(
        &self,
        request: Request<wire::SwitchModeRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        let asked = request.into_inner();
        self.heard(|log| log.modes.push(asked.clone()))?;
        known(&asked.task_id)?;
        done(&asked.execution_id)
    }
    async fn list_approvals(
        &self,
        request: Request<wire::ListApprovalsRequest>,
    ) -> Answer<wire::ListApprovalsResponse> {
        let asked = request.into_inner();
        if !asked.execution_id.is_empty() {
            done(&asked.execution_id)?;
        }
        let approval = wire::Approval {
            execution_id: some_id().to_string(),
            task_id: "a".into(),
            title: "Ship it?".into(),
            who: vec![asked.who],
            since: "2026-01-01T00:00:00Z".into(),
            form_json: "{\"type\":\"object\"}".into(),
            ..Default::default()
        };
        Ok(Response::new(wire::ListApprovalsResponse {
            approvals: vec![approval],
            next_page_token: asked.page.unwrap_or_default().page_token,
        }))
    }

    async fn query_execution(
        &self,
        request: Request<wire::QueryExecutionRequest>,
    ) -> Answer<wire::QueryExecutionResponse> {
        let asked = request.into_inner();
        known(&asked.task_id)?;
        let output =
            Payload { media_type: "application/json".into(), body: Some(Body::Json("{\"n\": 1.50}".into())) };
        let wait = wire::Wait {
            task_id: "a".into(),
            kind: "approval".into(),
            what: "Ship it?".into(),
            since: "2026-01-01T00:00:00Z".into(),
            who: vec!["ann".into()],
            ..Default::default()
        };
        let stuck = wire::StuckReason {
            reason: "approval".into(),
            task_id: "a".into(),
            command: "approve".into(),
            ..Default::default()
        };
        let broken = wire::StuckReason {
            reason: "breaker_open".into(),
            agents: vec!["painter".into()],
            until: "2026-01-01T00:00:09Z".into(),
            ..Default::default()
        };
        let away = wire::StuckReason {
            reason: "provider_away".into(),
            provider: "temporal".into(),
            since: "2026-01-01T00:00:01Z".into(),
            error: "connection refused".into(),
            ..Default::default()
        };
        Ok(Response::new(wire::QueryExecutionResponse {
            execution_id: done(&asked.execution_id)?.into_inner().execution_id,
            status: "executing".into(),
            vars_json: "{\"round\": 2}".into(),
            waits: vec![wait],
            output: (!asked.task_id.is_empty()).then_some(output),
            revision: 1,
            spent: Some(wire::Spending { calls: 3, tokens: 40, money_micros: 5 }),
            stuck: vec![stuck, broken, away],
            ..Default::default()
        }))
    }
}

/// Sends requests to every route of commands; each must be answered with its status.
pub(crate) async fn every_route(door: &Gateway) {
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let nobody = "../00000000-0000-0000-0000-000000000000/signals/go";
    for (method, path, given, want) in [
        (&post, "signals/go", json!({"payload": {"n": 1}, "id": "s1"}), 200),
        (&post, "signals/go", Value::Null, 200),
        (&post, "signals/go", json!({"colour": "red"}), 400),
        (&post, nobody, Value::Null, 404),
        (&get, "query", Value::Null, 200),
        (&get, "query?task=improve%5B2%5D.draft", Value::Null, 200),
        (&get, "query?task=nobody", Value::Null, 404),
        (&get, "query?tsk=a", Value::Null, 400),
        (&put, "variables", json!({"vars": {"round": 3}}), 200),
        (&put, "variables", json!({}), 400),
        (&post, "tasks/a/decide", json!({"verdict": "approved", "comment": "fine"}), 200),
        (&post, "tasks/a/decide", json!({"verdict": "maybe"}), 400),
        (&post, "tasks/nobody/decide", json!({"verdict": "rejected"}), 404),
        (&post, "tasks/improve%5B2%5D.draft/step", Value::Null, 200),
        (&post, "tasks/nobody/step", Value::Null, 404),
        (&post, "reset", json!({"task_ids": ["a"], "input": {"q": 2}, "reason": "again"}), 200),
        (&post, "reset", json!({}), 400),
        (&post, "fork", Value::Null, 202),
        (&post, "fork", json!({"task_ids": ["a"], "id": "k"}), 202),
        (&put, "plan", json!({"workflow": "x@2"}), 200),
        (&put, "plan", json!({"workflow": "missing"}), 404),
        (&put, "plan", json!({"definition": {"name": "broken"}}), 422),
        (&put, "plan", json!({"plan": {"tasks": []}, "dry_run": true}), 200),
        (&put, "plan", json!({"revert_to": 0}), 200),
        (&put, "plan", json!({"plan": {}, "revert_to": 0}), 400),
        (&get, "plan/revisions", Value::Null, 200),
        (&post, "mode", json!({"task_id": "a", "topic": "orders"}), 200),
        (&post, "mode", json!({"topic": "orders"}), 400),
    ] {
        let path = format!("/api/v1/executions/{}/{path}", some_id());
        let body = (!given.is_null()).then(|| given.to_string());
        let headers: &[(&str, &str)] =
            if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        let got = door.send(method.clone(), &path, headers, body).await;
        assert_eq!(got.status, want, "{method} {path} {given}: {}", got.text);
    }
}
