//! Questions: from the owner's memory while an execution is hot, else from its log.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::Fault;
use base::{CallContext, ExecutionId, WorkflowId};
use store::journal::{Cursor, ExecutionFilter, ExecutionRow, Page};
use workflow::{Status, Why, fold};

use crate::{
    engine::{ExecutionView, PublicEvent, away, present, view},
    plans::PlanEntry,
};

use super::App;

/// Which executions to list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Empty = active ones, with a correlation id every status; `all` = every status.
    pub statuses: Vec<String>,
    /// Of one workflow.
    pub workflow: Option<WorkflowId>,
    /// Given with the start; empty = any.
    pub correlation_id: String,
    /// Only those in which nothing goes on.
    pub stuck: bool,
    /// For these reasons; empty = any.
    pub stuck_reasons: Vec<String>,
    /// Where the page begins.
    pub after: Option<Cursor>,
    /// Rows wanted.
    pub limit: u32,
}

/// A page of history.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// Oldest first.
    pub events: Vec<PublicEvent>,
    /// There are more.
    pub more: bool,
}

/// Pause before an execution that is not in memory is asked for again.
const NOT_HERE_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Statuses of executions that are not over.
const ACTIVE: [Status; 4] = [Status::Planning, Status::Executing, Status::Paused, Status::Compensating];

impl App {
    /// The execution as it is; with `wait`, once it has ended or the time is over.
    pub async fn view(
        &self,
        context: &CallContext,
        id: ExecutionId,
        wait: Option<Duration>,
        tasks: bool,
    ) -> Result<Arc<ExecutionView>, Fault> {
        if let Some(wait) = wait
            && let Some(view) = self.end(context, id, tokio::time::Instant::now() + wait).await?
        {
            return Ok(view);
        }
        if let Some(view) = self.engine.hot_view(&context.tenant, id, tasks).await? {
            return Ok(view);
        }
        let state = self.folded(context, id).await?;
        Ok(Arc::new(view(&state, self.clock.now(), tasks, &|_| None)))
    }

    /// The end, when it comes before `deadline`; `None` also when it came before anybody asked.
    async fn end(
        &self,
        context: &CallContext,
        id: ExecutionId,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Arc<ExecutionView>>, Fault> {
        loop {
            let end = self.engine.until_end(&context.tenant, id).await?;
            match tokio::time::timeout_at(deadline, end).await {
                Ok(Ok(view)) => return Ok(Some(view)),
                Err(_) => return Ok(None),
                // It is not in memory.
                Ok(Err(_)) => {}
            }
            if self.row(context, id).await?.completed_at.is_some() || tokio::time::Instant::now() >= deadline
            {
                return Ok(None);
            }
            self.engine.wake(id, self.engine.shared().shard_of(id)).await?;
            tokio::time::sleep(NOT_HERE_AGAIN_AFTER).await;
        }
    }

    pub(super) async fn row(&self, context: &CallContext, id: ExecutionId) -> Result<ExecutionRow, Fault> {
        let row = self.journal.get_execution(&context.tenant, id).await.map_err(away)?;
        row.ok_or_else(|| Fault::not_found("execution", id))
    }

    pub(crate) async fn folded(
        &self,
        context: &CallContext,
        id: ExecutionId,
    ) -> Result<workflow::State, Fault> {
        self.folded_with_plan(context, id).await.map(|(_, state)| state)
    }

    /// The execution from its log, with the plan that it runs now.
    pub(super) async fn folded_with_plan(
        &self,
        context: &CallContext,
        id: ExecutionId,
    ) -> Result<(Arc<PlanEntry>, workflow::State), Fault> {
        let (plan, events) = self.log(context, id).await?;
        let state = fold(id, plan.compiled.clone(), &events).ok_or_else(Fault::internal)?;
        Ok((plan, state))
    }

    /// The plan that it was started with, and all its events.
    pub(super) async fn log(
        &self,
        context: &CallContext,
        id: ExecutionId,
    ) -> Result<(Arc<PlanEntry>, Vec<workflow::Event>), Fault> {
        let shared = self.engine.shared();
        let read = shared.read(id).await?.filter(|read| read.row.tenant == context.tenant);
        let (row, events) = read.ok_or_else(|| Fault::not_found("execution", id))?.events();
        let plan = shared.plan_by_id(&context.tenant, row.workflow_id, &row.workflow_version).await?;
        Ok((plan, events))
    }

    /// A page of executions, newest first.
    pub async fn list(&self, context: &CallContext, query: ListQuery) -> Result<Page<ExecutionRow>, Fault> {
        let statuses = match query.statuses.as_slice() {
            // What stands still is active.
            [] if !query.correlation_id.is_empty() || query.stuck => Vec::new(),
            [] => ACTIVE.map(|s| s.as_str().to_owned()).to_vec(),
            [all] if all == "all" => Vec::new(),
            given => {
                if let Some(unknown) = given.iter().find(|s| Status::parse(s).is_none()) {
                    let known = Status::ALL.map(Status::as_str).join(", ");
                    return Err(Fault::bad("statuses", format!("{unknown:?} is not one of {known} or all")));
                }
                given.to_vec()
            }
        };
        let stuck = match (query.stuck, query.stuck_reasons) {
            (false, _) => Vec::new(),
            (true, none) if none.is_empty() => Why::ALL.map(str::to_owned).to_vec(),
            (true, given) => given,
        };
        if let Some(unknown) = stuck.iter().find(|reason| !Why::ALL.contains(&reason.as_str())) {
            let known = Why::ALL.join(", ");
            return Err(Fault::bad("stuck_reasons", format!("{unknown:?} is not one of {known}")));
        }
        let filter = ExecutionFilter {
            stuck,
            tenant: context.tenant.clone(),
            workflow_id: query.workflow,
            statuses,
            correlation_id: Some(query.correlation_id).filter(|id| !id.is_empty()),
            ..ExecutionFilter::default()
        };
        let limit = if query.limit == 0 { 50 } else { query.limit.min(1000) };
        self.journal.list_executions(&filter, query.after, limit).await.map_err(away)
    }

    /// Places in the start queue of those rows that wait for one and are looked after here.
    pub(crate) fn queue_places(&self, rows: &[ExecutionRow]) -> HashMap<ExecutionId, u32> {
        let queued = |row: &&ExecutionRow| row.status == Status::Planning.as_str();
        let ids: Vec<_> = rows.iter().filter(queued).map(|row| row.execution_id).collect();
        self.engine.queue_places(&ids)
    }

    /// Events after `after_seq`, oldest first.
    pub async fn history(
        &self,
        context: &CallContext,
        id: ExecutionId,
        after_seq: u64,
        limit: usize,
    ) -> Result<HistoryPage, Fault> {
        let (plan, events) = self.log(context, id).await?;
        let mut page = HistoryPage::default();
        let messages = replay(id, &plan, &events);
        for message in messages.into_iter().filter(|m| m.seq > after_seq) {
            // Messages of one fact stay together, so that a sequence number is a place to go on from.
            if page.events.len() >= limit && page.events.last().is_some_and(|last| last.seq != message.seq) {
                page.more = true;
                break;
            }
            page.events.push(message);
        }
        Ok(page)
    }

    /// A workflow by UUID or name.
    pub fn workflow_id(&self, context: &CallContext, text: &str) -> WorkflowId {
        let name = text.split_once('@').map_or(text, |(name, _)| name);
        name.parse().unwrap_or_else(|_| WorkflowId::from_name(&context.tenant, name))
    }
}

/// The messages of a log, each made from the state right after its event.
pub(crate) fn replay(id: ExecutionId, plan: &PlanEntry, events: &[workflow::Event]) -> Vec<PublicEvent> {
    let Some((first, rest)) = events.split_first() else { return Vec::new() };
    let Some(mut state) = fold(id, plan.compiled.clone(), [first]) else { return Vec::new() };
    let mut out = present(&state, 1, first);
    for event in rest {
        state.apply(event);
        out.extend(present(&state, state.seq(), event));
    }
    out
}
