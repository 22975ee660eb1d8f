//! The public contract of schedules: decode, ask, encode.

use proto::executor::v1::{self as pb, schedule_service_server::ScheduleService};
use runtime::call;
use tonic::{Request, Response, Status};

use super::{Schedules, model::shown};
use crate::topics::grpc::size;

type Answer<T> = Result<Response<T>, Status>;

/// The door of schedules.
#[derive(Clone)]
pub(crate) struct ScheduleDoor(Schedules);

impl ScheduleDoor {
    pub(crate) fn new(schedules: Schedules) -> Self {
        Self(schedules)
    }
}

#[tonic::async_trait]
impl ScheduleService for ScheduleDoor {
    async fn create_schedule(&self, request: Request<pb::CreateScheduleRequest>) -> Answer<pb::Schedule> {
        let context = call::context(&request);
        let row = self.0.create(&context, request.into_inner()).await?;
        Ok(Response::new(shown(&row)?))
    }

    async fn get_schedule(&self, request: Request<pb::GetScheduleRequest>) -> Answer<pb::Schedule> {
        let context = call::context(&request);
        let row = self.0.get(&context, &request.into_inner().r#ref).await?;
        Ok(Response::new(shown(&row)?))
    }

    async fn list_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Answer<pb::ListSchedulesResponse> {
        let context = call::context(&request);
        let page = request.into_inner().page.unwrap_or_default();
        let limit = size(&page);
        let rows = self.0.list(&context, &page.page_token, limit).await?;
        let next = rows.last().filter(|_| rows.len() == limit as usize).map(|row| row.name.clone());
        Ok(Response::new(pb::ListSchedulesResponse {
            schedules: rows.iter().map(shown).collect::<Result<_, _>>()?,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn pause_schedule(&self, request: Request<pb::PauseScheduleRequest>) -> Answer<pb::Schedule> {
        let context = call::context(&request);
        let request = request.into_inner();
        let row = self.0.pause(&context, &request.r#ref, request.paused).await?;
        Ok(Response::new(shown(&row)?))
    }

    async fn trigger_schedule(
        &self,
        request: Request<pb::TriggerScheduleRequest>,
    ) -> Answer<pb::TriggerScheduleResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let execution_id = self.0.trigger(&context, &request.r#ref, &request.at).await?;
        Ok(Response::new(pb::TriggerScheduleResponse { execution_id }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<pb::BackfillScheduleRequest>,
    ) -> Answer<pb::BackfillScheduleResponse> {
        let context = call::context(&request);
        let pb::BackfillScheduleRequest { r#ref, from, to } = request.into_inner();
        let execution_ids = self.0.backfill(&context, &r#ref, &from, &to).await?;
        Ok(Response::new(pb::BackfillScheduleResponse { execution_ids }))
    }

    async fn delete_schedule(
        &self,
        request: Request<pb::DeleteScheduleRequest>,
    ) -> Answer<pb::DeleteScheduleResponse> {
        let context = call::context(&request);
        self.0.delete(&context, &request.into_inner().r#ref).await?;
        Ok(Response::new(pb::DeleteScheduleResponse {}))
    }
}
