//! The client against a scripted server: what it repeats, what it resumes, what it says.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests too

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use api::{
    Fault,
    client::{Client, ClientOptions, ExecutionStatus, Start, Update},
};
use base::ErrorCode;
use futures::{StreamExt as _, stream, stream::BoxStream};
use proto::executor::v1::{self as wire, executor_service_server as server};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

type Script<T> = Arc<Mutex<VecDeque<T>>>;

/// Answers as its scripts say and records what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    starts: Script<Option<Status>>,
    looks: Script<&'static str>,
    watches: Script<Vec<Result<wire::WatchResponse, Status>>>,
    ids: Arc<Mutex<Vec<String>>>,
    resumed_after: Arc<Mutex<Vec<u64>>>,
    running: Arc<Mutex<(usize, usize)>>,
}

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Fault::new(ErrorCode::MethodNotAllowed, "not in the script").into())
}

#[tonic::async_trait]
impl server::ExecutorService for Scripted {
    type WatchExecutionStream = BoxStream<'static, Result<wire::WatchResponse, Status>>;
    type WatchWorkflowStream = BoxStream<'static, Result<wire::WatchResponse, Status>>;

    async fn start_execution(
        &self,
        request: Request<wire::StartExecutionRequest>,
    ) -> Result<Response<wire::StartExecutionResponse>, Status> {
        let message = request.into_inner();
        self.ids.lock().unwrap().push(message.execution_id.clone());
        if let Some(Some(refused)) = self.starts.lock().unwrap().pop_front() {
            return Err(refused);
        }
        let mut running = self.running.lock().unwrap();
        running.0 += 1;
        running.1 = running.1.max(running.0);
        Ok(Response::new(wire::StartExecutionResponse {
            execution_id: message.execution_id,
            status: "planning".into(),
            ..Default::default()
        }))
    }
    async fn get_execution(
        &self,
        request: Request<wire::GetExecutionRequest>,
    ) -> Result<Response<wire::Execution>, Status> {
        let status = self.looks.lock().unwrap().pop_front().unwrap_or("completed");
        // Lets other calls of the same client in, so that those that may run together do.
        tokio::task::yield_now().await;
        if status == "completed" {
            self.running.lock().unwrap().0 -= 1;
        }
        let execution_id = request.into_inner().execution_id;
        Ok(Response::new(wire::Execution { execution_id, status: status.into(), ..Default::default() }))
    }
    async fn watch_execution(
        &self,
        request: Request<wire::WatchExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        self.resumed_after.lock().unwrap().push(request.into_inner().after_seq);
        let script = self.watches.lock().unwrap().pop_front();
        let script = script.ok_or_else(|| Status::from(Fault::not_found("execution", "x")))?;
        Ok(Response::new(stream::iter(script).boxed()))
    }
    async fn list_executions(
        &self,
        _: Request<wire::ListExecutionsRequest>,
    ) -> Result<Response<wire::ListExecutionsResponse>, Status> {
        nothing()
    }
    async fn command_execution(
        &self,
        _: Request<wire::CommandExecutionRequest>,
    ) -> Result<Response<wire::CommandExecutionResponse>, Status> {
        nothing()
    }
    async fn resolve_task(
        &self,
        _: Request<wire::ResolveTaskRequest>,
    ) -> Result<Response<wire::CommandExecutionResponse>, Status> {
        nothing()
    }
    async fn answer_task(
        &self,
        _: Request<wire::AnswerTaskRequest>,
    ) -> Result<Response<wire::CommandExecutionResponse>, Status> {
        nothing()
    }
    async fn get_history(
        &self,
        _: Request<wire::GetHistoryRequest>,
    ) -> Result<Response<wire::GetHistoryResponse>, Status> {
        nothing()
    }
    async fn watch_workflow(
        &self,
        _: Request<wire::WatchWorkflowRequest>,
    ) -> Result<Response<Self::WatchWorkflowStream>, Status> {
        nothing()
    }
    async fn get_capacity(
        &self,
        _: Request<wire::GetCapacityRequest>,
    ) -> Result<Response<wire::GetCapacityResponse>, Status> {
        nothing()
    }
    async fn list_dead_letters(
        &self,
        _: Request<wire::ListDeadLettersRequest>,
    ) -> Result<Response<wire::ListDeadLettersResponse>, Status> {
        nothing()
    }
    async fn get_dead_letter(
        &self,
        _: Request<wire::GetDeadLetterRequest>,
    ) -> Result<Response<wire::DeadLetter>, Status> {
        nothing()
    }
    async fn redrive_dead_letter(
        &self,
        _: Request<wire::RedriveDeadLetterRequest>,
    ) -> Result<Response<wire::RedriveDeadLetterResponse>, Status> {
        nothing()
    }
}

async fn client_of(scripted: &Scripted) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = server::ExecutorServiceServer::new(scripted.clone());
    let serve = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));
    let options = ClientOptions { patience: Duration::from_secs(30), ..ClientOptions::default() };
    Client::connect_with(&address, options).await.unwrap()
}

fn script<T>(items: impl IntoIterator<Item = T>) -> Script<T> {
    Arc::new(Mutex::new(items.into_iter().collect()))
}

fn events(seqs: &[u64], ended: bool) -> Result<wire::WatchResponse, Status> {
    let event = |&seq: &u64| wire::ExecutionEvent { r#type: "t".into(), seq, ..Default::default() };
    Ok(wire::WatchResponse { events: seqs.iter().map(event).collect(), ended, ..Default::default() })
}

#[tokio::test]
async fn a_start_is_repeated_under_one_id_while_the_server_is_away() {
    let away = || Some(Status::from(Fault::unavailable("starting")));
    let scripted = Scripted { starts: script([away(), away(), None]), ..Scripted::default() };
    let client = client_of(&scripted).await;
    let execution = client.run(&Start::workflow("w").input(&json!({"a": 1}))).await.unwrap();
    let ids = scripted.ids.lock().unwrap().clone();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == execution.execution_id && !id.is_empty()), "{ids:?}");
}

#[tokio::test]
async fn a_refused_start_is_not_repeated_and_keeps_its_code() {
    let refusal = Fault::new(ErrorCode::AlreadyExecuting, "one at a time").related(vec!["e1".into()]);
    let scripted = Scripted { starts: script([Some(refusal.clone().into())]), ..Scripted::default() };
    let client = client_of(&scripted).await;
    assert_eq!(client.start(&Start::workflow("w")).await.unwrap_err(), refusal);
    assert_eq!(scripted.ids.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn waiting_asks_until_the_end_or_the_limit() {
    let scripted = Scripted { looks: script(["executing", "executing", "failed"]), ..Scripted::default() };
    let client = client_of(&scripted).await;
    let ended = client.wait("e", None).await.unwrap();
    assert_eq!(ended.status, ExecutionStatus::Failed);
    assert!(ended.error_details.is_some());

    scripted.looks.lock().unwrap().push_back("executing");
    let late = client.wait("e", Some(Duration::ZERO)).await.unwrap_err();
    assert_eq!((late.code, late.message.as_str()), (ErrorCode::Timeout, "execution e is still executing"));
}

#[tokio::test]
async fn a_watch_tells_every_event_once_over_lost_connections() {
    let lost = || Err(Status::unavailable("gone"));
    let scripted = Scripted {
        watches: script([
            vec![events(&[1, 2], false), lost()],
            vec![],
            // The server may tell again what was told before the loss.
            vec![events(&[2, 3, 3], false), events(&[4], true)],
        ]),
        ..Scripted::default()
    };
    let mut watch = client_of(&scripted).await.watch("e", 0);
    let mut seqs = Vec::new();
    while let Some(update) = watch.next().await.unwrap() {
        if let Update::Event(event) = update {
            seqs.push(event.seq);
        }
    }
    assert_eq!(seqs, [1, 2, 3, 3, 4]);
    assert_eq!(watch.last_seq(), 4);
    assert_eq!(*scripted.resumed_after.lock().unwrap(), [0, 2, 2]);
}

#[tokio::test]
async fn a_watch_of_nothing_says_so() {
    let client = client_of(&Scripted::default()).await;
    let told: Vec<_> = client.watch("x", 0).into_stream().collect().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].as_ref().unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn many_inputs_run_at_most_so_many_at_once_and_each_has_its_own_id() {
    let scripted = Scripted::default();
    let client = client_of(&scripted).await;
    let ran = client.run_many(Start::workflow("w").key("k"), (0..40).map(|n| json!(n)), 4);
    let mut indices: Vec<usize> = ran.map(|one| one.result.map(|_| one.index).unwrap()).collect().await;
    indices.sort_unstable();
    assert_eq!(indices, (0..40).collect::<Vec<_>>());
    let mut ids = scripted.ids.lock().unwrap().clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    let most = scripted.running.lock().unwrap().1;
    assert!((1..=4).contains(&most), "{most} ran at once");
}
