//! A scripted result cache, and scripted sessions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use api::Fault;
use proto::{
    common::v1::Payload,
    executor::v1::{self as wire, cache_service_server::CacheService},
};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Keeps values by namespace and key.
#[derive(Clone, Default)]
pub(crate) struct FakeCache {
    values: Arc<Mutex<BTreeMap<(String, String), Payload>>>,
}

fn entry(namespace: String, key: String, value: Payload) -> Response<wire::CacheEntry> {
    let stored_at = "2026-01-01T00:00:00Z".into();
    Response::new(wire::CacheEntry {
        namespace,
        key,
        value: Some(value),
        stored_at,
        expires_at: String::new(),
    })
}

#[tonic::async_trait]
impl CacheService for FakeCache {
    async fn get_cache_entry(
        &self,
        request: Request<wire::GetCacheEntryRequest>,
    ) -> Answer<wire::CacheEntry> {
        let wire::GetCacheEntryRequest { namespace, key } = request.into_inner();
        let found = self.values.lock().unwrap().get(&(namespace.clone(), key.clone())).cloned();
        let found = found.ok_or_else(|| Fault::not_found("cache entry", &key))?;
        Ok(entry(namespace, key, found))
    }
    async fn set_cache_entry(
        &self,
        request: Request<wire::SetCacheEntryRequest>,
    ) -> Answer<wire::CacheEntry> {
        let wire::SetCacheEntryRequest { namespace, key, value, ttl_ms } = request.into_inner();
        let mut entry = entry(namespace.clone(), key.clone(), value.clone().unwrap());
        entry.get_mut().expires_at = if ttl_ms > 0 { format!("in {ttl_ms} ms") } else { String::new() };
        self.values.lock().unwrap().insert((namespace, key), value.unwrap());
        Ok(entry)
    }
    async fn delete_cache_entry(
        &self,
        request: Request<wire::DeleteCacheEntryRequest>,
    ) -> Answer<wire::InvalidateCacheResponse> {
        let wire::DeleteCacheEntryRequest { namespace, key } = request.into_inner();
        let gone = self.values.lock().unwrap().remove(&(namespace, key)).is_some();
        Ok(Response::new(wire::InvalidateCacheResponse { removed: gone.into() }))
    }
    async fn invalidate_cache(
        &self,
        request: Request<wire::InvalidateCacheRequest>,
    ) -> Answer<wire::InvalidateCacheResponse> {
        let asked = request.into_inner();
        if asked.pattern == "(" {
            return Err(Fault::bad("pattern", "is no regular expression").into());
        }
        let mut values = self.values.lock().unwrap();
        let before = values.len();
        values.retain(|(namespace, key), _| *namespace != asked.namespace || !key.contains(&asked.pattern));
        Ok(Response::new(wire::InvalidateCacheResponse { removed: (before - values.len()) as u64 }))
    }
    async fn get_cache_stats(&self, _: Request<wire::GetCacheStatsRequest>) -> Answer<wire::CacheStats> {
        let entries = self.values.lock().unwrap().len() as u64;
        let of = |namespace: &str| wire::CacheNamespace {
            namespace: namespace.into(),
            entries,
            ..Default::default()
        };
        Ok(Response::new(wire::CacheStats {
            total: Some(of("")),
            namespaces: vec![of("n")],
            strategy: "lru".into(),
            size_max: 100,
            replicas: 1,
        }))
    }
}

/// Knows the session `s` with the variable `v`, and takes what it is given.
#[derive(Clone, Default)]
pub(crate) struct FakeSessions;

const AT: &str = "2026-01-01T00:00:00Z";

fn known(id: &str) -> Result<(), Status> {
    if id == "s" { Ok(()) } else { Err(Fault::not_found("session", id).into()) }
}

fn session(id: &str, variables: Vec<wire::SessionVariable>) -> wire::Session {
    wire::Session {
        session_id: id.into(),
        version: 3,
        created_at: AT.into(),
        updated_at: AT.into(),
        turns: 1,
        variables_count: 1,
        variables,
        ..Default::default()
    }
}

fn variable(name: &str, value_json: &str) -> wire::SessionVariable {
    wire::SessionVariable {
        name: name.into(),
        value_json: value_json.into(),
        version: 3,
        updated_at: AT.into(),
        updated_by: "execution 1".into(),
    }
}

fn turn(role: &str, parts_json: &str) -> wire::SessionTurn {
    let execution_id = String::new();
    wire::SessionTurn {
        turn: 1,
        role: role.into(),
        parts_json: parts_json.into(),
        execution_id,
        at: AT.into(),
    }
}

#[tonic::async_trait]
impl wire::session_service_server::SessionService for FakeSessions {
    async fn create_session(&self, request: Request<wire::CreateSessionRequest>) -> Answer<wire::Session> {
        match request.into_inner().session_id.as_str() {
            "s" => Err(Fault::new(base::ErrorCode::AlreadyExists, "session s exists").into()),
            "" => Ok(Response::new(session("drawn", vec![]))),
            id => Ok(Response::new(session(id, vec![]))),
        }
    }
    async fn list_sessions(
        &self,
        request: Request<wire::ListSessionsRequest>,
    ) -> Answer<wire::ListSessionsResponse> {
        let asked = request.into_inner();
        let next_page_token = asked.page.filter(|p| p.page_size == 1).map(|_| "s".into()).unwrap_or_default();
        let sessions = if "s".starts_with(&asked.prefix) { vec![session("s", vec![])] } else { vec![] };
        Ok(Response::new(wire::ListSessionsResponse { sessions, next_page_token }))
    }
    async fn get_session(&self, request: Request<wire::GetSessionRequest>) -> Answer<wire::Session> {
        known(&request.get_ref().session_id)?;
        Ok(Response::new(session("s", vec![variable("v", "{\"b\": 1.0}")])))
    }
    async fn delete_session(
        &self,
        request: Request<wire::DeleteSessionRequest>,
    ) -> Answer<wire::DeleteSessionResponse> {
        known(&request.get_ref().session_id)?;
        Ok(Response::new(wire::DeleteSessionResponse {}))
    }
    async fn get_session_variable(
        &self,
        request: Request<wire::GetSessionVariableRequest>,
    ) -> Answer<wire::SessionVariable> {
        known(&request.get_ref().session_id)?;
        Ok(Response::new(variable(&request.get_ref().name, "{\"b\": 1.0}")))
    }
    async fn set_session_variable(
        &self,
        request: Request<wire::SetSessionVariableRequest>,
    ) -> Answer<wire::SessionVariable> {
        let asked = request.into_inner();
        known(&asked.session_id)?;
        match asked.expected_version {
            0 | 3 => Ok(Response::new(variable(&asked.name, &asked.value_json))),
            _ => Err(Fault::new(base::ErrorCode::Conflict, "has version 3").field("expected_version").into()),
        }
    }
    async fn delete_session_variable(
        &self,
        request: Request<wire::DeleteSessionVariableRequest>,
    ) -> Answer<wire::DeleteSessionResponse> {
        known(&request.get_ref().session_id)?;
        Ok(Response::new(wire::DeleteSessionResponse {}))
    }
    async fn list_session_turns(
        &self,
        request: Request<wire::ListSessionTurnsRequest>,
    ) -> Answer<wire::ListSessionTurnsResponse> {
        known(&request.get_ref().session_id)?;
        let turns = vec![turn("user", "[{\"text\": \"hi\"}]")];
        Ok(Response::new(wire::ListSessionTurnsResponse { turns, next_page_token: String::new() }))
    }
    async fn append_session_turn(
        &self,
        request: Request<wire::AppendSessionTurnRequest>,
    ) -> Answer<wire::SessionTurn> {
        known(&request.get_ref().session_id)?;
        Ok(Response::new(turn(&request.get_ref().role, "[{\"text\": \"hi\"}]")))
    }
    async fn list_session_executions(
        &self,
        request: Request<wire::ListSessionExecutionsRequest>,
    ) -> Answer<wire::ListSessionExecutionsResponse> {
        known(&request.get_ref().session_id)?;
        let execution = wire::SessionExecution {
            execution_id: super::executor::some_id().to_string(),
            workflow: "w".into(),
            joined_at: AT.into(),
            ..Default::default()
        };
        let next_page_token = String::new();
        Ok(Response::new(wire::ListSessionExecutionsResponse {
            executions: vec![execution],
            next_page_token,
        }))
    }
}

/// Knows one budget: of the tenant, by day.
#[derive(Clone)]
pub(crate) struct FakeBudgets;

fn budget(period: &str, limits: Option<wire::BudgetAmounts>) -> wire::Budget {
    wire::Budget {
        period: period.into(),
        limits,
        spent: Some(wire::BudgetAmounts { calls: 1, ..Default::default() }),
        executions: 1,
        span: "day:2026-01-01".into(),
        updated_at: AT.into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl wire::budget_service_server::BudgetService for FakeBudgets {
    async fn list_budgets(&self, _: Request<wire::ListBudgetsRequest>) -> Answer<wire::ListBudgetsResponse> {
        let limits = wire::BudgetAmounts { calls: 10, ..Default::default() };
        Ok(Response::new(wire::ListBudgetsResponse { budgets: vec![budget("day", Some(limits))] }))
    }
    async fn set_budget(&self, request: Request<wire::SetBudgetRequest>) -> Answer<wire::Budget> {
        let asked = request.into_inner();
        match asked.period.as_str() {
            "day" => Ok(Response::new(budget("day", asked.limits))),
            _ => Err(Fault::bad("period", "is not one of day, month, total").into()),
        }
    }
    async fn delete_budget(
        &self,
        request: Request<wire::DeleteBudgetRequest>,
    ) -> Answer<wire::DeleteBudgetResponse> {
        match request.get_ref().period.as_str() {
            "day" => Ok(Response::new(wire::DeleteBudgetResponse {})),
            period => Err(Fault::not_found("budget", period).into()),
        }
    }
}
