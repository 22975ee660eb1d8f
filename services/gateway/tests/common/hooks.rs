//! Scripted hooks: there is one, called `format`.

use api::Fault;
use proto::executor::v1::{self as wire, hook_service_server::HookService};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Knows the hook `format` at revision 3, and one run of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct FakeHooks;

fn hook(spec: Option<wire::HookSpec>) -> wire::Hook {
    let usual = wire::HookSpec {
        name: "format".into(),
        trigger: "post_edit".into(),
        command: "builtin:format".into(),
        timeout_ms: Some(30_000),
        enabled: Some(true),
        priority: Some(100),
        on_failure: "warn".into(),
        ..wire::HookSpec::default()
    };
    wire::Hook {
        hook_id: "00000000-0000-4000-8000-000000000001".into(),
        spec: Some(spec.unwrap_or(usual)),
        revision: 3,
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    }
}

fn run() -> wire::HookRun {
    wire::HookRun {
        run_id: "r1".into(),
        request_id: "q1".into(),
        hook_id: hook(None).hook_id,
        hook_name: "format".into(),
        trigger: "post_edit".into(),
        action: "builtin".into(),
        state: "completed".into(),
        decision: "allow".into(),
        started_at: "2026-01-01T00:00:00Z".into(),
        finished_at: "2026-01-01T00:00:01Z".into(),
        ..wire::HookRun::default()
    }
}

fn known(name: &str) -> Result<(), Status> {
    if name == "format" { Ok(()) } else { Err(Fault::not_found("hook", name).into()) }
}

fn at(revision: u64) -> Result<(), Status> {
    let old = Fault::new(base::ErrorCode::Conflict, "the hook is at revision 3").field("revision");
    if matches!(revision, 0 | 3) { Ok(()) } else { Err(old.into()) }
}

fn checked(spec: Option<wire::HookSpec>) -> Result<wire::HookSpec, Status> {
    let spec = spec.unwrap_or_default();
    if spec.trigger == "sometimes" {
        return Err(Fault::bad("trigger", "is none of pre_task, post_task").into());
    }
    Ok(spec)
}

#[tonic::async_trait]
impl HookService for FakeHooks {
    async fn create_hook(&self, request: Request<wire::CreateHookRequest>) -> Answer<wire::Hook> {
        Ok(Response::new(hook(Some(checked(request.into_inner().spec)?))))
    }
    async fn get_hook(&self, request: Request<wire::GetHookRequest>) -> Answer<wire::Hook> {
        known(&request.get_ref().hook).map(|()| Response::new(hook(None)))
    }
    async fn list_hooks(&self, _: Request<wire::ListHooksRequest>) -> Answer<wire::ListHooksResponse> {
        Ok(Response::new(wire::ListHooksResponse { hooks: vec![hook(None)], next_page_token: String::new() }))
    }
    async fn update_hook(&self, request: Request<wire::UpdateHookRequest>) -> Answer<wire::Hook> {
        let wire::UpdateHookRequest { hook: name, spec, expected_revision } = request.into_inner();
        known(&name)?;
        at(expected_revision)?;
        Ok(Response::new(hook(Some(checked(spec)?))))
    }
    async fn delete_hook(
        &self,
        request: Request<wire::DeleteHookRequest>,
    ) -> Answer<wire::DeleteHookResponse> {
        let asked = request.into_inner();
        known(&asked.hook)?;
        at(asked.expected_revision)?;
        Ok(Response::new(wire::DeleteHookResponse {}))
    }
    async fn list_hook_runs(
        &self,
        _: Request<wire::ListHookRunsRequest>,
    ) -> Answer<wire::ListHookRunsResponse> {
        Ok(Response::new(wire::ListHookRunsResponse { runs: vec![run()], next_page_token: String::new() }))
    }
    async fn get_hook_run(&self, request: Request<wire::GetHookRunRequest>) -> Answer<wire::HookRun> {
        let id = request.into_inner().run_id;
        if id == "r1" { Ok(Response::new(run())) } else { Err(Fault::not_found("hook run", &id).into()) }
    }
}
