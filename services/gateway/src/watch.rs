//! Following executions: one feed behind WebSocket and SSE, resumed when the owner moves.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use base::{CallContext, Clock as _, ErrorCode, ExecutionId};
use futures::{StreamExt as _, stream};
use proto::executor::v1 as wire;
use runtime::{SystemClock, call};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::{Request, Status, Streaming};

use crate::{
    app::{App, Retry},
    executors::Client,
    model::{events::UserEvent, executions::Event},
    payload::{Raw, raw_text},
    problem::Problem,
    rest::{executions, workflows},
    seen::Seen,
};

/// How long a feed tries to find the new owner before it gives up. Above the time of a takeover.
const RESUME_PATIENCE: Duration = Duration::from_secs(60);
/// How often the feed of a workflow looks for executors that came or went.
const MEMBERS_CHECK: Duration = Duration::from_secs(10);
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// What a subscriber gets.
#[derive(Debug)]
pub(crate) struct Message {
    /// Where to resume after it; only where that is exact.
    pub id: Option<String>,
    /// The type.
    pub kind: String,
    /// The whole message.
    pub json: String,
}

/// Why a feed ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The execution has ended.
    Finished,
    /// The subscriber did not take messages in time.
    TooSlow,
    /// This process goes down.
    Draining,
    /// The executors cannot be reached, or refuse.
    Refused(Problem),
}

/// A running feed. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Feed {
    messages: mpsc::Receiver<Message>,
    end: Arc<OnceLock<End>>,
    /// One of the open streams that the gateway allows.
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
    /// Why it ended. A feed that was cut off counts as draining: the runtime is going down.
    pub(crate) fn end(&self) -> &End {
        self.end.get().unwrap_or(&End::Draining)
    }
}

/// The sending side.
struct Outlet {
    app: Arc<App>,
    messages: mpsc::Sender<Message>,
}

/// Why a feed stops.
enum Stop {
    /// Nobody listens any more.
    Gone,
    End(End),
}

impl Outlet {
    async fn send(&self, message: Message) -> Result<(), Stop> {
        // A subscriber that leaves a full backlog untouched for a heartbeat's time is too slow.
        match self.messages.send_timeout(message, self.app.limits.ping_interval).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Stop::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Stop::End(End::TooSlow)),
        }
    }

    async fn event(&self, event: Event, id: Option<String>) -> Result<(), Stop> {
        let json = serde_json::to_string(&event).unwrap_or_default();
        self.send(Message { id, kind: event.kind, json }).await
    }

    /// `None` when the feed has to stop.
    async fn until_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            done = work => Ok(done),
            () = self.messages.closed() => Err(Stop::Gone),
            () = self.app.role.drain.draining() => Err(Stop::End(End::Draining)),
        }
    }
}

/// A stream has no deadline: it ends with what it follows.
fn untimed<M>(mut request: Request<M>) -> Request<M> {
    request.metadata_mut().remove("grpc-timeout");
    request
}

/// A context in which a stream may be opened for as long as a takeover takes.
fn patient(ctx: &CallContext, patience: Duration) -> CallContext {
    CallContext { deadline: Some(SystemClock.now().plus(patience)), ..ctx.clone() }
}

fn permit(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        let rule = "too many open WebSocket and SSE connections (gateway.websocket_max); try again later";
        Problem::new(ErrorCode::ResourceExhausted, rule)
    })
}

fn launch<F>(app: &Arc<App>, permit: OwnedSemaphorePermit, work: impl FnOnce(Outlet) -> F) -> Feed
where
    F: Future<Output = Stop> + Send + 'static,
{
    let (sender, messages) = mpsc::channel(app.limits.backlog_max);
    let end = Arc::new(OnceLock::new());
    let work = work(Outlet { app: Arc::clone(app), messages: sender });
    let ended = Arc::clone(&end);
    tokio::spawn(async move {
        // The outlet is dropped inside `work`, so a reader that sees the end may come first: it waits for nothing more.
        if let Stop::End(why) = work.await {
            let _ = ended.set(why);
        }
    });
    Feed { messages, end, _permit: permit }
}

/// Follows an execution from the event after `after`. Errors: NOT_FOUND before anything is sent.
pub(crate) async fn execution(
    app: &Arc<App>,
    ctx: &CallContext,
    id: &str,
    after: u64,
) -> Result<Feed, Problem> {
    let permit = permit(app)?;
    let found = executions::get(app, ctx, id, Duration::ZERO, true).await?;
    let id = crate::extract::execution_id(id)?;
    let first = open_execution(app, ctx, id, after).await?;
    let follow = ExecutionFeed { ctx: ctx.clone(), id, workflow_id: found.workflow_id, after };
    Ok(launch(app, permit, move |out| follow.run(out, first)))
}

async fn open_execution(
    app: &App,
    ctx: &CallContext,
    id: ExecutionId,
    after_seq: u64,
) -> Result<Streaming<wire::WatchResponse>, Problem> {
    let message = || wire::WatchExecutionRequest { execution_id: id.to_string(), after_seq };
    let call = async |mut to: Client, request| to.watch_execution(untimed(request)).await;
    app.executors.call_owner(ctx, id, Retry::UntilDeadline, message, call).await
}

struct ExecutionFeed {
    ctx: CallContext,
    id: ExecutionId,
    workflow_id: String,
    /// Sequence number of the last event that was sent.
    after: u64,
}

impl ExecutionFeed {
    async fn run(mut self, out: Outlet, first: Streaming<wire::WatchResponse>) -> Stop {
        match self.follow(&out, first).await {
            Ok(()) => Stop::End(End::Finished),
            Err(stop) => stop,
        }
    }

    /// Until the execution ends.
    async fn follow(&mut self, out: &Outlet, mut stream: Streaming<wire::WatchResponse>) -> Result<(), Stop> {
        loop {
            match out.until_stopped(stream.message()).await? {
                Ok(Some(message)) => {
                    let ended = message.ended;
                    self.pass_on(out, message).await?;
                    if ended {
                        return Ok(());
                    }
                    continue;
                }
                // The owner moved or goes down.
                Ok(None) => {}
                Err(status) => lost(&status)?,
            }
            out.until_stopped(tokio::time::sleep(REOPEN_PAUSE)).await?;
            let ctx = patient(&self.ctx, RESUME_PATIENCE);
            let opened = out.until_stopped(open_execution(&out.app, &ctx, self.id, self.after)).await?;
            stream = opened.map_err(|problem| Stop::End(End::Refused(problem)))?;
        }
    }

    async fn pass_on(&mut self, out: &Outlet, message: wire::WatchResponse) -> Result<(), Stop> {
        let before = self.after;
        let mut events = message.events.into_iter().filter(|event| event.seq > before).peekable();
        while let Some(event) = events.next() {
            // Several messages may come of one event: only behind the last of them nothing is missed.
            let exact = events.peek().is_none_or(|next| next.seq > event.seq);
            self.after = event.seq;
            let id = exact.then(|| event.seq.to_string());
            out.event(Event::from(event), id).await?;
        }
        for progress in message.progress {
            out.event(self.progress(progress), None).await?;
        }
        Ok(())
    }

    fn progress(&self, p: wire::Progress) -> Event {
        let mut data = json!({ "task_id": p.task_id, "progress": p.progress, "text": p.text });
        if p.item >= 0 {
            data["item"] = p.item.into();
        }
        extra("task.progress", &self.workflow_id, &p.execution_id, &data)
    }
}

/// A message that is no event of the log.
pub(crate) fn extra(kind: &str, workflow_id: &str, execution_id: &str, data: &serde_json::Value) -> Event {
    let data: Raw = raw_text(data.to_string());
    Event {
        kind: kind.to_owned(),
        workflow_id: workflow_id.to_owned(),
        execution_id: execution_id.to_owned(),
        timestamp: SystemClock.now().rfc3339(),
        data,
        seq: None,
        cursor: None,
    }
}

/// A broken stream: an error that will not go away ends the feed.
fn lost(status: &Status) -> Result<(), Stop> {
    let problem = Problem::from(status);
    match problem.0.code {
        ErrorCode::NotFound | ErrorCode::InvalidArgument | ErrorCode::PermissionDenied => {
            Err(Stop::End(End::Refused(problem)))
        }
        // Whatever else broke it, the next owner may do better; opening has its own patience.
        _ => Ok(()),
    }
}

/// Follows all executions of a workflow from `cursor`, or from now on. Errors: NOT_FOUND before anything is sent.
pub(crate) async fn workflow(
    app: &Arc<App>,
    ctx: &CallContext,
    id: &str,
    cursor: String,
) -> Result<Feed, Problem> {
    let permit = permit(app)?;
    let workflow = workflows::find(app, ctx, id).await?.workflow_id;
    let mut follow =
        WorkflowFeed { ctx: ctx.clone(), workflow, cursor, members: vec![], seen: Seen::default() };
    let first = follow.open(app, ctx).await?;
    Ok(launch(app, permit, move |out| follow.run(out, first)))
}

type Merged = stream::SelectAll<stream::BoxStream<'static, Option<Result<wire::WatchResponse, Status>>>>;

/// Each executor knows its own executions: their streams are merged.
struct WorkflowFeed {
    ctx: CallContext,
    workflow: String,
    /// Of the last message; empty = none yet.
    cursor: String,
    members: Vec<String>,
    seen: Seen,
}

impl WorkflowFeed {
    async fn open(&mut self, app: &App, ctx: &CallContext) -> Result<Merged, Problem> {
        let mut merged = Merged::new();
        self.members = app.executors.members(ctx).await;
        for mut client in app.executors.all(ctx).await {
            let message =
                wire::WatchWorkflowRequest { workflow: self.workflow.clone(), cursor: self.cursor.clone() };
            let opened = client.watch_workflow(untimed(call::request(ctx, message))).await;
            let opened = opened.map_err(|status| Problem::from(&status))?.into_inner();
            // The end of one stream has to be seen in the merged one.
            let marked = opened.map(Some).chain(stream::once(std::future::ready(None)));
            merged.push(marked.boxed());
        }
        Ok(merged)
    }

    /// Opens anew; while executors come and go that may take several tries.
    async fn reopen(&mut self, out: &Outlet) -> Result<Merged, Stop> {
        let mut patience =
            crate::app::Patience::new(&patient(&self.ctx, RESUME_PATIENCE), Retry::UntilDeadline);
        loop {
            out.until_stopped(tokio::time::sleep(REOPEN_PAUSE)).await?;
            out.app.executors.forget();
            let ctx = patient(&self.ctx, RESUME_PATIENCE);
            let problem = match out.until_stopped(self.open(&out.app, &ctx)).await? {
                Ok(merged) => return Ok(merged),
                Err(problem) => problem,
            };
            let status = Status::from(problem.0.clone());
            if !patience.again(&status).await {
                return Err(Stop::End(End::Refused(problem)));
            }
        }
    }

    async fn run(mut self, out: Outlet, mut merged: Merged) -> Stop {
        let mut check = tokio::time::interval_at(tokio::time::Instant::now() + MEMBERS_CHECK, MEMBERS_CHECK);
        // The executors were complete when this was the cursor.
        let mut complete_at = self.cursor.clone();
        loop {
            let step = out.until_stopped(async {
                tokio::select! {
                    message = merged.next() => Some(message.flatten()),
                    _ = check.tick() => None,
                }
            });
            let again = match step.await {
                Err(stop) => return stop,
                Ok(Some(Some(Ok(message)))) => {
                    // Without a cursor of the caller: where the first executor begins.
                    if complete_at.is_empty() {
                        complete_at.clone_from(&message.cursor);
                    }
                    match self.pass_on(&out, message).await {
                        Ok(()) => false,
                        Err(stop) => return stop,
                    }
                }
                Ok(Some(Some(Err(status)))) => match lost(&status) {
                    Ok(()) => true,
                    Err(stop) => return stop,
                },
                Ok(Some(None)) => true,
                Ok(None) => {
                    let members = out.app.executors.members(&patient(&self.ctx, MEMBERS_CHECK)).await;
                    let changed = members != self.members;
                    if changed {
                        // Another executor may have told things before the last message of those that were known.
                        self.cursor.clone_from(&complete_at);
                    } else {
                        complete_at.clone_from(&self.cursor);
                    }
                    changed
                }
            };
            if again {
                merged = match self.reopen(&out).await {
                    Ok(merged) => merged,
                    Err(stop) => return stop,
                };
            }
        }
    }

    async fn pass_on(&mut self, out: &Outlet, message: wire::WatchResponse) -> Result<(), Stop> {
        if !message.cursor.is_empty() {
            self.cursor.clone_from(&message.cursor);
        }
        let fresh = self.seen.fresh(message.events);
        let last = fresh.len().saturating_sub(1);
        for (at, event) in fresh.into_iter().enumerate() {
            let exact = at == last && !message.cursor.is_empty();
            let id = exact.then(|| message.cursor.clone());
            let event = Event { cursor: id.clone(), ..Event::from(event) };
            out.event(event, id).await?;
        }
        Ok(())
    }
}

/// Follows user events after a cursor, or from now on.
pub(crate) async fn events(
    app: &Arc<App>,
    ctx: &CallContext,
    filter: wire::EventFilter,
    from: String,
) -> Result<Feed, Problem> {
    let permit = permit(app)?;
    let follow = UserEvents { ctx: ctx.clone(), filter, from };
    let first = follow.open(app, ctx).await?;
    Ok(launch(app, permit, move |out| follow.run(out, first)))
}

struct UserEvents {
    ctx: CallContext,
    filter: wire::EventFilter,
    /// Cursor of the last event that was sent; empty = from now on.
    from: String,
}

impl UserEvents {
    async fn open(
        &self,
        app: &App,
        ctx: &CallContext,
    ) -> Result<Streaming<wire::WatchEventsResponse>, Problem> {
        let message =
            || wire::WatchEventsRequest { filter: Some(self.filter.clone()), from: self.from.clone() };
        let call = async |to, request| crate::rest::events::client(to).watch_events(untimed(request)).await;
        app.executors.call_service(ctx, Retry::UntilDeadline, message, call).await
    }

    async fn run(mut self, out: Outlet, first: Streaming<wire::WatchEventsResponse>) -> Stop {
        let mut stream = first;
        loop {
            match self.follow(&out, stream).await {
                Ok(()) => {}
                Err(stop) => return stop,
            }
            // The replica went down: any other goes on from the cursor.
            tokio::time::sleep(REOPEN_PAUSE).await;
            let ctx = patient(&self.ctx, RESUME_PATIENCE);
            stream = match out.until_stopped(self.open(&out.app, &ctx)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(problem)) => return Stop::End(End::Refused(problem)),
                Err(stop) => return stop,
            };
        }
    }

    async fn follow(
        &mut self,
        out: &Outlet,
        mut stream: Streaming<wire::WatchEventsResponse>,
    ) -> Result<(), Stop> {
        while let Some(Ok(message)) = out.until_stopped(stream.next()).await? {
            for event in message.events {
                let event = UserEvent::from(event);
                let (id, kind) = (event.cursor.clone(), event.kind.clone());
                let json = serde_json::to_string(&event).unwrap_or_default();
                out.send(Message { id, kind, json }).await?;
            }
            self.from = message.cursor;
        }
        Ok(())
    }
}
