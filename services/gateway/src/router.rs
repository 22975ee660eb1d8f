//! All HTTP routes and their document, from the same declarations.

use std::{collections::HashSet, sync::Arc};

use axum::Router;
use base::ErrorCode;
use http::{Method, Uri};
use utoipa::{
    OpenApi as _,
    openapi::{
        Content, OpenApi, Ref, RefOr,
        path::{Operation, PathItem},
        response::ResponseBuilder,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    app::App,
    door::DoorLayer,
    live,
    model::{agents::AgentDefinition, events::UserEvent, executions::Event},
    problem::{self, FindingView, Problem, ProblemDetails},
    rest::{
        agents, approvals, budgets, cache, control, events, executions, hooks, letters, patterns, schedules,
        sessions, start, state, steer, triggers, workflows,
    },
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Orchestra",
        description = "Durable orchestration of multi-agent workflows. The routes below `/api/v1` are served below \
            `/api/v1/orchestra` too. Agents speak camel case, workflows and executions snake case, as in the documents \
            that define them. Every error is an RFC 9457 problem with a stable `code`."
    ),
    tags(
        (name = "agents", description = "Agents: what they can do, where they run, how they are."),
        (name = "workflows", description = "Definitions, their versions, plans and status."),
        (name = "patterns", description = "Who decides what happens next: built-in patterns and your own."),
        (name = "executions", description = "Executions: started once, run durably, observed and steered."),
        (name = "events", description = "User events: published, kept, replayed, and what they start."),
        (name = "schedules", description = "Executions that start by the clock."),
        (name = "cache", description = "The result cache: answers of pure capabilities, and values of your own."),
        (name = "budgets", description = "What a tenant and its workflows may spend."),
        (name = "hooks", description = "What is done when something happens to an execution, and the log of it."),
        (name = "sessions", description = "What executions share: variables and a conversation."),
        (name = "live", description = "What happens, as it happens: WebSocket and server-sent events."),
        (name = "operations", description = "Health, metrics, capacity, dead letters.")
    ),
    components(schemas(ProblemDetails, FindingView, Event, UserEvent, AgentDefinition))
)]
struct Base;

/// The routes below `/api/v1`.
fn api() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(agents::list_agents, agents::register_agent))
        .routes(routes!(agents::import_card))
        .routes(routes!(agents::get_agent, agents::update_agent, agents::delete_agent))
        .routes(routes!(agents::heartbeat))
        .routes(routes!(workflows::list_workflows, workflows::create_workflow))
        .routes(routes!(workflows::validate_workflow))
        .routes(routes!(workflows::plan_definition))
        .routes(routes!(workflows::get_workflow, workflows::delete_workflow))
        .routes(routes!(workflows::plan_workflow))
        .routes(routes!(patterns::list_patterns))
        .routes(routes!(patterns::register_pattern))
        .routes(routes!(patterns::get_pattern, patterns::delete_pattern))
        .routes(routes!(patterns::workflow_schema))
        .routes(routes!(executions::workflow_status))
        .routes(routes!(live::sse_workflow))
        .routes(routes!(start::execute_workflow))
        .routes(routes!(start::execute_batch))
        .routes(routes!(steer::pause_workflow))
        .routes(routes!(steer::resume_workflow))
        .routes(routes!(steer::cancel_workflow))
        .routes(routes!(steer::terminate_workflow))
        .routes(routes!(start::execute))
        .routes(routes!(executions::list_executions))
        .routes(routes!(executions::get_execution))
        .routes(routes!(executions::get_history))
        .routes(routes!(live::sse_execution))
        .routes(routes!(steer::pause_execution))
        .routes(routes!(steer::resume_execution))
        .routes(routes!(steer::cancel_execution))
        .routes(routes!(steer::terminate_execution))
        .routes(routes!(steer::answer_task))
        .routes(routes!(steer::resolve_task))
        .routes(routes!(control::decide_approval))
        .routes(routes!(approvals::list_approvals))
        .routes(routes!(control::grant_step))
        .routes(routes!(control::signal_execution))
        .routes(routes!(control::query_execution))
        .routes(routes!(control::update_variables))
        .routes(routes!(control::reset_execution))
        .routes(routes!(control::fork_execution))
        .routes(routes!(control::change_plan))
        .routes(routes!(control::list_revisions))
        .routes(routes!(control::switch_mode))
        .routes(routes!(budgets::list_budgets, budgets::set_budget, budgets::delete_budget))
        .routes(routes!(cache::cache_stats))
        .routes(routes!(cache::get_cache_entry, cache::set_cache_entry, cache::delete_cache_entry))
        .routes(routes!(cache::invalidate_cache))
        .routes(routes!(sessions::list_sessions, sessions::create_session))
        .routes(routes!(sessions::get_session, sessions::delete_session))
        .routes(routes!(
            sessions::get_session_variable,
            sessions::set_session_variable,
            sessions::delete_session_variable
        ))
        .routes(routes!(sessions::session_history, sessions::append_session_turn))
        .routes(routes!(sessions::session_executions))
        .routes(routes!(hooks::list_hooks, hooks::create_hook))
        .routes(routes!(hooks::list_hook_runs))
        .routes(routes!(hooks::get_hook_run))
        .routes(routes!(hooks::get_hook, hooks::update_hook, hooks::delete_hook))
        .routes(routes!(letters::list_dead_letters))
        .routes(routes!(letters::get_dead_letter))
        .routes(routes!(letters::redrive_dead_letter))
        .routes(routes!(events::list_events, events::publish_event))
        .routes(routes!(events::publish_events))
        .routes(routes!(events::event_stats))
        .routes(routes!(live::sse_events))
        .routes(routes!(events::get_event))
        .routes(routes!(triggers::list_triggers, triggers::create_trigger))
        .routes(routes!(triggers::get_trigger, triggers::delete_trigger))
        .routes(routes!(triggers::pause_trigger))
        .routes(routes!(triggers::resume_trigger))
        .routes(routes!(schedules::list_schedules, schedules::create_schedule))
        .routes(routes!(schedules::get_schedule, schedules::delete_schedule))
        .routes(routes!(schedules::pause_schedule))
        .routes(routes!(schedules::resume_schedule))
        .routes(routes!(schedules::trigger_schedule))
        .routes(routes!(schedules::backfill_schedule))
        .routes(routes!(state::health))
        .routes(routes!(state::metrics))
        .routes(routes!(state::document))
}

/// The routes outside of it.
fn outer() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(state::health))
        .routes(routes!(state::ready))
        .routes(routes!(state::root_metrics))
        .routes(routes!(state::capacity))
        .routes(routes!(live::ws_execution))
        .routes(routes!(live::ws_workflow))
        .routes(routes!(live::ws_events))
}

fn parts() -> (Router<Arc<App>>, OpenApi) {
    let (router, mut document) = outer().nest("/api/v1", api()).split_for_parts();
    complete(&mut document);
    // The same routes once more; the document says so in a sentence.
    let (again, _) = api().split_for_parts();
    (router.nest("/api/v1/orchestra", again), document)
}

/// The document alone.
pub(crate) fn document() -> OpenApi {
    parts().1
}

/// Everything that the HTTP listener serves.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (router, document) = parts();
    app.schemas.set(&document);
    let _ = app.document.set(serde_json::to_string(&document).unwrap_or_default());
    let ui = SwaggerUi::new("/docs").config(Config::new(["/api/v1/openapi.json"]));
    router
        .merge(ui)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(app))
        .layer(DoorLayer(Arc::clone(&app.rules)))
}

async fn unknown_path(uri: Uri) -> Problem {
    let rule =
        format!("there is nothing at {}; the routes are in /api/v1/openapi.json and at /docs", uri.path());
    Problem::new(ErrorCode::NotFound, rule)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let rule = format!("{method} does not exist at {}; the Allow header names what does", uri.path());
    Problem::new(ErrorCode::MethodNotAllowed, rule)
}

/// Adds what every operation shares: the form of its errors, and an id of its own.
fn complete(document: &mut OpenApi) {
    let mut ids = HashSet::new();
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            let schema = RefOr::Ref(Ref::from_schema_name("ProblemDetails"));
            let problem = ResponseBuilder::new()
                .description("What went wrong, with a stable code.")
                .content(problem::MEDIA_TYPE, Content::new(Some(schema)))
                .build();
            operation.responses.responses.insert("default".into(), problem.into());
            let id = operation.operation_id.get_or_insert_with(|| path.clone());
            if !ids.insert(id.clone()) {
                *id = format!("{id}_api");
                ids.insert(id.clone());
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_an_id_of_its_own_and_names_its_errors() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut ids = HashSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                assert!(ids.insert(id), "{method} {path}: its operationId is taken");
                let error = &operation["responses"]["default"]["content"][problem::MEDIA_TYPE]["schema"];
                assert_eq!(error["$ref"], "#/components/schemas/ProblemDetails", "{method} {path}");
            }
        }
        assert!(ids.len() > 35, "{}", ids.len());
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
