//! Scripted events, triggers and schedules.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use api::Fault;
use base::ErrorCode;
use futures::{Stream, StreamExt as _, stream};
use proto::executor::v1::{
    self as wire, event_service_server::EventService, schedule_service_server::ScheduleService,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;
type Watch = Pin<Box<dyn Stream<Item = Result<wire::WatchEventsResponse, Status>> + Send>>;

/// What was asked, and what the next watches send.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) published: Vec<wire::NewEvent>,
    pub(crate) lists: Vec<wire::ListEventsRequest>,
    pub(crate) watches: Vec<wire::WatchEventsRequest>,
    pub(crate) timings: Vec<wire::Timing>,
    pub(crate) scripts: std::collections::VecDeque<mpsc::UnboundedReceiver<wire::WatchEventsResponse>>,
}

/// Answers as it is told.
#[derive(Clone, Default)]
pub(crate) struct FakeEvents(pub(crate) Arc<Mutex<Asked>>);

pub(crate) fn event(id: &str, pos: i64) -> wire::Event {
    wire::Event {
        id: id.into(),
        topic: "orders".into(),
        r#type: "order.placed".into(),
        cursor: pos.to_string(),
        at: "2026-01-02T03:04:05.000Z".into(),
        ..wire::Event::default()
    }
}

fn trigger(id: &str, paused: bool) -> Answer<wire::Trigger> {
    match id {
        "missing" => Err(Fault::not_found("trigger", id).into()),
        id => Ok(Response::new(wire::Trigger {
            id: id.into(),
            name: "t".into(),
            input_json: "{\"a\":1}".into(),
            paused,
            ..wire::Trigger::default()
        })),
    }
}

fn schedule(name: &str, paused: bool) -> Answer<wire::Schedule> {
    match name {
        "missing" => Err(Fault::not_found("schedule", name).into()),
        name => Ok(Response::new(wire::Schedule {
            id: "7".into(),
            name: name.into(),
            timing: Some(wire::Timing { every_ms: 900_000, overlap: "skip".into(), ..Default::default() }),
            recent: vec![wire::Fire {
                outcome: "started".into(),
                execution_id: "e".into(),
                ..Default::default()
            }],
            paused,
            ..wire::Schedule::default()
        })),
    }
}

impl FakeEvents {
    /// The next watch sends what is sent here.
    pub(crate) fn next_watch(&self) -> mpsc::UnboundedSender<wire::WatchEventsResponse> {
        let (sender, script) = mpsc::unbounded_channel();
        self.0.lock().unwrap().scripts.push_back(script);
        sender
    }
}

#[tonic::async_trait]
impl EventService for FakeEvents {
    async fn publish_events(
        &self,
        request: Request<wire::PublishEventsRequest>,
    ) -> Answer<wire::PublishEventsResponse> {
        let events = request.into_inner().events;
        if events.iter().any(|e| e.topic == "full") {
            return Err(Fault::new(ErrorCode::ResourceExhausted, "too many").retry_after_ms(1500).into());
        }
        let told =
            |e: &wire::NewEvent| wire::Published { id: e.id.clone(), duplicate: false, durable: !e.volatile };
        let answer = events.iter().map(told).collect();
        self.0.lock().unwrap().published.extend(events);
        Ok(Response::new(wire::PublishEventsResponse { events: answer }))
    }
    async fn get_event(&self, request: Request<wire::GetEventRequest>) -> Answer<wire::Event> {
        match request.into_inner().id.as_str() {
            "missing" => Err(Fault::not_found("event", "missing").into()),
            id => Ok(Response::new(event(id, 1))),
        }
    }
    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Answer<wire::ListEventsResponse> {
        self.0.lock().unwrap().lists.push(request.into_inner());
        let events = vec![event("a", 2)];
        Ok(Response::new(wire::ListEventsResponse { events, next_page_token: "2".into() }))
    }
    async fn get_event_stats(&self, _: Request<wire::GetEventStatsRequest>) -> Answer<wire::EventStats> {
        let events_by_type = vec![wire::TypeCount { r#type: "x".into(), events: 2 }];
        Ok(Response::new(wire::EventStats { total_events: 2, events_by_type, queue_size: 1, held_starts: 0 }))
    }

    type WatchEventsStream = Watch;

    async fn watch_events(&self, request: Request<wire::WatchEventsRequest>) -> Answer<Watch> {
        let mut asked = self.0.lock().unwrap();
        asked.watches.push(request.into_inner());
        let script = asked.scripts.pop_front();
        let stream = stream::unfold(script, |script| async move {
            let mut script = script?;
            script.recv().await.map(|message| (Ok(message), Some(script)))
        });
        Ok(Response::new(stream.boxed()))
    }
    async fn create_trigger(&self, request: Request<wire::CreateTriggerRequest>) -> Answer<wire::Trigger> {
        trigger("1", request.into_inner().paused)
    }
    async fn get_trigger(&self, request: Request<wire::GetTriggerRequest>) -> Answer<wire::Trigger> {
        trigger(&request.into_inner().id, false)
    }
    async fn list_triggers(
        &self,
        _: Request<wire::ListTriggersRequest>,
    ) -> Answer<wire::ListTriggersResponse> {
        let triggers = vec![trigger("1", false)?.into_inner()];
        Ok(Response::new(wire::ListTriggersResponse { triggers, next_page_token: String::new() }))
    }
    async fn pause_trigger(&self, request: Request<wire::PauseTriggerRequest>) -> Answer<wire::Trigger> {
        let request = request.into_inner();
        trigger(&request.id, request.paused)
    }
    async fn delete_trigger(
        &self,
        request: Request<wire::DeleteTriggerRequest>,
    ) -> Answer<wire::DeleteTriggerResponse> {
        trigger(&request.into_inner().id, false)?;
        Ok(Response::new(wire::DeleteTriggerResponse {}))
    }
}

#[tonic::async_trait]
impl ScheduleService for FakeEvents {
    async fn create_schedule(&self, request: Request<wire::CreateScheduleRequest>) -> Answer<wire::Schedule> {
        let request = request.into_inner();
        let timing = request.timing.unwrap_or_default();
        if timing.cron == "nonsense" {
            return Err(Fault::bad("timing.cron", "is not a cron expression").into());
        }
        self.0.lock().unwrap().timings.push(timing);
        schedule(&request.name, request.paused)
    }
    async fn get_schedule(&self, request: Request<wire::GetScheduleRequest>) -> Answer<wire::Schedule> {
        schedule(&request.into_inner().r#ref, false)
    }
    async fn list_schedules(
        &self,
        _: Request<wire::ListSchedulesRequest>,
    ) -> Answer<wire::ListSchedulesResponse> {
        let schedules = vec![schedule("n", false)?.into_inner()];
        Ok(Response::new(wire::ListSchedulesResponse { schedules, next_page_token: String::new() }))
    }
    async fn pause_schedule(&self, request: Request<wire::PauseScheduleRequest>) -> Answer<wire::Schedule> {
        let request = request.into_inner();
        schedule(&request.r#ref, request.paused)
    }
    async fn trigger_schedule(
        &self,
        request: Request<wire::TriggerScheduleRequest>,
    ) -> Answer<wire::TriggerScheduleResponse> {
        schedule(&request.into_inner().r#ref, false)?;
        Ok(Response::new(wire::TriggerScheduleResponse { execution_id: "e".into() }))
    }
    async fn backfill_schedule(
        &self,
        _: Request<wire::BackfillScheduleRequest>,
    ) -> Answer<wire::BackfillScheduleResponse> {
        Ok(Response::new(wire::BackfillScheduleResponse { execution_ids: vec!["e".into()] }))
    }
    async fn delete_schedule(
        &self,
        request: Request<wire::DeleteScheduleRequest>,
    ) -> Answer<wire::DeleteScheduleResponse> {
        schedule(&request.into_inner().r#ref, false)?;
        Ok(Response::new(wire::DeleteScheduleResponse {}))
    }
}
