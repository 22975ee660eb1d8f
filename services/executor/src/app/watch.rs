//! Following executions live: subscribe, read back, splice, drop doubles.

use api::Fault;
use base::{CallContext, ExecutionId, Timestamp, WorkflowId};
use futures::{Stream, StreamExt as _, stream};
use store::journal::ExecutionFilter;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::engine::{CallProgress, Live, PublicEvent, away};

use super::App;

/// Events of one message of a watch.
const BATCH: usize = 200;
/// A resumed workflow watch goes back this far before its cursor: lanes commit side by side, so an event that is
/// slightly older than the cursor may not have been sent. (execution, seq) tells doubles apart.
const OVERLAP_US: i64 = 1_000_000;

/// One message of a watch.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Events in order.
    pub events: Vec<PublicEvent>,
    /// Progress of calls; not an event.
    pub progress: Vec<(ExecutionId, String, CallProgress)>,
    /// The execution has ended.
    pub ended: bool,
}

/// Where a workflow's watch stands: the time of the newest event that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowCursor(pub Timestamp);

impl WorkflowCursor {
    /// The text form.
    pub fn to_text(self) -> String {
        format!("t{}", self.0.micros())
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('t')?.parse().ok().map(|us| Self(Timestamp::from_micros(us)))
    }
}

impl App {
    /// Everything after `after_seq`, then what happens, until the end.
    pub async fn watch(
        &self,
        context: &CallContext,
        id: ExecutionId,
        after_seq: u64,
    ) -> Result<impl Stream<Item = Watched> + Send + use<>, Fault> {
        let mut live = self.engine.follow(&context.tenant, id).await?;
        if live.is_none() {
            // Put aside or over: what is over needs no owner.
            let view = self.view(context, id, None, false).await?;
            if !view.status.is_final() {
                self.engine.wake(id, self.engine.shared().shard_of(id)).await?;
                live = self.follow_when_loaded(context, id).await?;
            }
        }
        let names = self.task_names(context, id).await?;
        let past = self.history(context, id, after_seq, usize::MAX).await?.events;
        let seen = past.last().map_or(after_seq, |e| e.seq);
        let ended = past.last().is_some_and(is_end);
        let mut first: Vec<Watched> = past.chunks(BATCH).map(|c| Watched::events(c.to_vec())).collect();
        if ended || live.is_none() {
            first.push(Watched { events: vec![], progress: vec![], ended: true });
            return Ok(stream::iter(first).left_stream());
        }
        let (_, receiver) = live.unwrap_or_else(|| (0, mpsc::channel(1).1));
        let later = ReceiverStream::new(receiver)
            .scan(seen, move |seen, live| std::future::ready(Some(live_message(id, live, seen, &names))));
        Ok(stream::iter(first).chain(later.filter_map(std::future::ready)).right_stream())
    }

    async fn follow_when_loaded(
        &self,
        context: &CallContext,
        id: ExecutionId,
    ) -> Result<Option<(u64, mpsc::Receiver<Live>)>, Fault> {
        for _ in 0..100 {
            if let Some(live) = self.engine.follow(&context.tenant, id).await? {
                return Ok(Some(live));
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Err(Fault::unavailable("the execution is being read back; try again").retry_after_ms(500))
    }

    async fn task_names(&self, context: &CallContext, id: ExecutionId) -> Result<Vec<String>, Fault> {
        let row = self.journal.get_execution(&context.tenant, id).await.map_err(away)?;
        let row = row.ok_or_else(|| Fault::not_found("execution", id))?;
        let plan =
            self.engine.shared().plan_by_id(&context.tenant, row.workflow_id, &row.workflow_version).await?;
        Ok(plan.compiled.plan().tasks.iter().map(|t| t.id.clone()).collect())
    }

    /// What happens in all executions of a workflow on this replica from `cursor` on, or from now on.
    pub async fn watch_workflow(
        &self,
        context: &CallContext,
        workflow: WorkflowId,
        cursor: Option<WorkflowCursor>,
    ) -> Result<impl Stream<Item = Watched> + Send + use<>, Fault> {
        let live = self.engine.follow_workflow(workflow).await?;
        let past = match cursor {
            Some(cursor) => self.since(context, workflow, cursor).await?,
            None => Vec::new(),
        };
        let first: Vec<Watched> = past.chunks(BATCH).map(|c| Watched::events(c.to_vec())).collect();
        let later = ReceiverStream::new(live).filter_map(|live| async move {
            match live {
                Live::Events(events) if !events.is_empty() => Some(Watched::events(events.to_vec())),
                Live::Events(_) | Live::Progress(_) | Live::Ended => None,
            }
        });
        Ok(stream::iter(first).chain(later))
    }

    async fn since(
        &self,
        context: &CallContext,
        workflow: WorkflowId,
        cursor: WorkflowCursor,
    ) -> Result<Vec<PublicEvent>, Fault> {
        let from = Timestamp::from_micros(cursor.0.micros() - OVERLAP_US);
        let filter = ExecutionFilter {
            tenant: context.tenant.clone(),
            workflow_id: Some(workflow),
            ..ExecutionFilter::default()
        };
        let (mut events, mut after) = (Vec::new(), None);
        loop {
            let page = self.journal.list_executions(&filter, after, 500).await.map_err(away)?;
            for row in &page.rows {
                if row.completed_at.is_none_or(|at| at >= from) {
                    let history = self.history(context, row.execution_id, 0, usize::MAX).await?;
                    events.extend(history.events.into_iter().filter(|e| e.at >= from));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        events.sort_by_key(|e| (e.at, e.execution_id, e.seq));
        Ok(events)
    }
}

impl Watched {
    fn events(events: Vec<PublicEvent>) -> Self {
        Self { events, progress: Vec::new(), ended: false }
    }
}

fn is_end(event: &PublicEvent) -> bool {
    let status = event.data["status"].as_str().and_then(workflow::Status::parse);
    event.kind == "workflow.status_changed" && status.is_some_and(workflow::Status::is_final)
}

fn live_message(id: ExecutionId, live: Live, seen: &mut u64, names: &[String]) -> Option<Watched> {
    match live {
        Live::Events(events) => {
            let fresh: Vec<PublicEvent> = events.iter().filter(|e| e.seq > *seen).cloned().collect();
            *seen = fresh.last()?.seq;
            Some(Watched::events(fresh))
        }
        Live::Progress(progress) => {
            let task = names.get(progress.call.task as usize).cloned().unwrap_or_default();
            Some(Watched { events: vec![], progress: vec![(id, task, progress)], ended: false })
        }
        Live::Ended => Some(Watched { events: vec![], progress: vec![], ended: true }),
    }
}
