//! The contract of patterns.

use base::Tenant;
use proto::planner::v1::{
    DeletePatternRequest, DeletePatternResponse, GetPatternRequest, ListPatternsRequest,
    ListPatternsResponse, Pattern, PatternParameter, RegisterPatternRequest, RegisterPatternResponse,
    pattern_service_server::PatternService,
};
use runtime::call::context;
use tonic::{Request, Response, Status};

use super::{Planner, findings_to_wire, to_status};
use crate::{error::PlannerError, patterns::Shown};

fn listed(shown: Shown) -> Pattern {
    Pattern { source: String::new(), ..whole(shown) }
}

fn whole(shown: Shown) -> Pattern {
    let parameters = shown.pattern.parameters.iter().map(|parameter| PatternParameter {
        name: parameter.name.clone(),
        r#type: parameter.kind.clone(),
        description: parameter.description.clone(),
        default_json: parameter.default.as_ref().map(ToString::to_string).unwrap_or_default(),
        schema_json: parameter.schema.to_string(),
    });
    let mut wire = Pattern {
        name: shown.pattern.name.clone(),
        version: shown.pattern.version.clone(),
        description: shown.pattern.description.clone(),
        built_in: shown.stored.is_none(),
        versions: shown.versions,
        uses: shown.pattern.uses.clone(),
        parameters: parameters.collect(),
        source: shown.built_in_source.unwrap_or_default().to_owned(),
        ..Default::default()
    };
    if let Some(stored) = shown.stored {
        wire.content_hash = stored.content_hash;
        wire.source = stored.source;
        wire.created_at = stored.created_at.rfc3339();
    }
    wire
}

impl Planner {
    async fn registered(
        &self,
        tenant: &Tenant,
        source: String,
    ) -> Result<RegisterPatternResponse, PlannerError> {
        let (shown, findings) = self.0.register_pattern(tenant, source).await?;
        Ok(RegisterPatternResponse { pattern: Some(whole(shown)), findings: findings_to_wire(&findings) })
    }
}

#[tonic::async_trait]
impl PatternService for Planner {
    async fn register_pattern(
        &self,
        request: Request<RegisterPatternRequest>,
    ) -> Result<Response<RegisterPatternResponse>, Status> {
        let tenant = context(&request).tenant;
        let source = request.into_inner().source;
        self.registered(&tenant, source).await.map(Response::new).map_err(to_status)
    }

    async fn list_patterns(
        &self,
        request: Request<ListPatternsRequest>,
    ) -> Result<Response<ListPatternsResponse>, Status> {
        let all = self.0.all_patterns(&context(&request).tenant).await.map_err(to_status)?;
        Ok(Response::new(ListPatternsResponse { patterns: all.into_iter().map(listed).collect() }))
    }

    async fn get_pattern(&self, request: Request<GetPatternRequest>) -> Result<Response<Pattern>, Status> {
        let tenant = context(&request).tenant;
        let reference = request.into_inner().r#ref;
        self.0.pattern(&tenant, &reference).await.map(|shown| Response::new(whole(shown))).map_err(to_status)
    }

    async fn delete_pattern(
        &self,
        request: Request<DeletePatternRequest>,
    ) -> Result<Response<DeletePatternResponse>, Status> {
        let context = context(&request);
        let reference = request.into_inner().r#ref;
        let deleted = self.0.delete_pattern(&context, &reference).await.map_err(to_status)?;
        let versions_deleted = u32::try_from(deleted).unwrap_or(u32::MAX);
        Ok(Response::new(DeletePatternResponse { versions_deleted }))
    }
}
