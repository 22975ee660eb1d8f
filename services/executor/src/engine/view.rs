//! A snapshot of an execution for those who ask, detached from its owner.

use std::{collections::BTreeMap, sync::Arc};

use base::{ExecutionId, Payload, Timestamp, WorkflowId};
use workflow::{CallKey, CallPhase, CallState, Cause, Spending, State, Status, TaskPhase, plan::Budget};

use super::hot::CallProgress;

mod waits;

pub use waits::WaitView;
use waits::wait_views;

/// What is known of an execution at one moment.
#[derive(Clone, Debug)]
pub struct ExecutionView {
    pub(crate) id: ExecutionId,
    pub(crate) workflow_id: WorkflowId,
    pub(crate) workflow_name: Arc<str>,
    pub(crate) workflow_version: Arc<str>,
    pub(crate) status: Status,
    pub(crate) current_phase: String,
    pub(crate) priority: i32,
    pub(crate) input: Payload,
    pub(crate) output: Option<Payload>,
    pub(crate) tasks: Vec<TaskView>,
    pub(crate) agents: Vec<AgentView>,
    pub(crate) metrics: MetricsView,
    pub(crate) causes: Vec<Cause>,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) last_seq: u64,
    pub(crate) metadata_json: Arc<str>,
    pub(crate) correlation_id: Arc<str>,
    pub(crate) waiting: Vec<String>,
    pub(crate) queue_position: u32,
    /// Variables, when the view has tasks.
    pub(crate) vars: Option<serde_json::Value>,
    pub(crate) waits: Vec<WaitView>,
    pub(crate) stuck: Vec<workflow::Reason>,
    pub(crate) revision: u32,
    pub(crate) spent: Spending,
    pub(crate) budget: Budget,
    pub(crate) parent: Option<ExecutionId>,
}

impl ExecutionView {
    /// What tasks wait for from outside.
    pub fn waits(&self) -> &[WaitView] {
        &self.waits
    }
    /// Why it makes no progress by itself.
    pub fn stuck(&self) -> &[workflow::Reason] {
        &self.stuck
    }
    /// Variables; `None` before the first are set.
    pub fn vars(&self) -> Option<&serde_json::Value> {
        self.vars.as_ref()
    }
    /// How often its plan was changed.
    pub fn revision(&self) -> u32 {
        self.revision
    }
    /// What was spent so far.
    pub fn spent(&self) -> Spending {
        self.spent
    }
    /// What it may spend; 0 = no limit.
    pub fn budget(&self) -> Spending {
        let Budget { calls, tokens, money_micros, .. } = self.budget;
        Spending { calls, tokens, money_micros }
    }
    /// The execution whose task started this one.
    pub fn parent(&self) -> Option<ExecutionId> {
        self.parent
    }
    /// Output of a task, when the view has tasks and the task has one.
    pub fn task_output(&self, id: &str) -> Option<&Payload> {
        self.tasks.iter().find(|task| task.id == id)?.output.as_ref()
    }
    /// Its output, when it completed.
    pub fn output(&self) -> Option<&Payload> {
        self.output.as_ref()
    }
    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }
    /// Every reason why something failed, oldest first.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }
    /// Number of its newest event.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }
    /// Place in the start queue, from 1; 0 = running.
    pub fn queue_position(&self) -> u32 {
        self.queue_position
    }
    /// What it waits for, in words.
    pub fn waiting(&self) -> &[String] {
        &self.waiting
    }
    /// State of a task as people see it, when the view has tasks.
    pub fn task_state(&self, id: &str) -> Option<&'static str> {
        self.tasks.iter().find(|task| task.id == id).map(|task| task.state)
    }
}

/// A task, or an item of a scattered one.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) agent: Option<Arc<str>>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) capability: String,
    pub(crate) attempt: u32,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) progress: f64,
    pub(crate) progress_text: Option<Arc<str>>,
    pub(crate) output: Option<Payload>,
    pub(crate) error: Option<String>,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) after: Vec<String>,
    pub(crate) items: Vec<TaskView>,
}

/// What an agent does for this execution.
#[derive(Clone, Debug)]
pub(crate) struct AgentView {
    pub(crate) agent: Arc<str>,
    pub(crate) status: &'static str,
    pub(crate) current_task: String,
    pub(crate) progress: f64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MetricsView {
    pub(crate) runtime_ms: u64,
    pub(crate) agents: u32,
    pub(crate) completed: u32,
    pub(crate) total: u32,
    pub(crate) overhead: f64,
    pub(crate) agent_ms: u64,
    pub(crate) retries: u32,
}

/// Reasons of a wait that a view names.
const REASONS_MAX: usize = 50;

type Progress<'a> = &'a dyn Fn(CallKey) -> Option<CallProgress>;

/// Takes the picture. `tasks`: with all tasks and their outputs.
pub(crate) fn view(state: &State, now: Timestamp, tasks: bool, progress: Progress<'_>) -> ExecutionView {
    let created = state.created();
    ExecutionView {
        id: state.id(),
        workflow_id: created.workflow_id,
        workflow_name: created.workflow_name.clone(),
        workflow_version: created.workflow_version.clone(),
        status: state.status(),
        current_phase: state.current_phase(),
        priority: created.priority,
        input: created.input.clone(),
        output: state.output().cloned(),
        tasks: if tasks { task_views(state, progress) } else { Vec::new() },
        agents: agent_views(state, progress),
        metrics: metrics(state, now),
        causes: state.causes().to_vec(),
        created_at: state.created_at(),
        started_at: state.started_at(),
        ended_at: state.ended_at(),
        last_seq: state.seq(),
        metadata_json: created.metadata_json.clone(),
        correlation_id: created.correlation_id.clone(),
        waiting: waiting(state),
        queue_position: 0,
        vars: state.vars().filter(|_| tasks).cloned(),
        waits: wait_views(state),
        stuck: foremost_first(state.stuck(REASONS_MAX)),
        revision: state.revision(),
        spent: state.spent(),
        budget: state.budget(),
        parent: created.settings.parent.as_ref().map(|parent| parent.execution),
    }
}

fn foremost_first(mut reasons: Vec<workflow::Reason>) -> Vec<workflow::Reason> {
    reasons.sort_by_key(|reason| reason.why.rank());
    reasons
}

pub(crate) fn metrics(state: &State, now: Timestamp) -> MetricsView {
    MetricsView {
        runtime_ms: state.runtime(now).as_millis() as u64,
        agents: state.agents().len() as u32,
        completed: state.completed_tasks(),
        total: state.tasks().len() as u32,
        overhead: state.coordination_overhead(now),
        agent_ms: state.agent_us() / 1000,
        retries: state.retries(),
    }
}

fn task_views(state: &State, progress: Progress<'_>) -> Vec<TaskView> {
    let one = |(i, task): (usize, &workflow::TaskState)| {
        let plan = state.task_plan(i as u32);
        let mut view = match task.calls.first() {
            Some(call) if !task.scattered => call_view(call, CallKey::new(i as u32, 0), progress),
            _ => TaskView::default(),
        };
        view.id = state.task_path(i as u32);
        view.name = plan.name.clone();
        view.state = task.state_text();
        view.started_at = task.scheduled_at;
        view.ended_at = task.ended_at;
        view.output = task.output.clone();
        view.after = state.before(i as u32).into_iter().map(|t| state.task_path(t)).collect();
        view.capability = state.need(i as u32).capability.clone().unwrap_or_default();
        if let TaskPhase::Skipped(reason) = task.phase {
            view.reason = Some(reason.as_str().into());
        }
        if task.phase == TaskPhase::Completed {
            (view.progress, view.error) = (1.0, None);
        }
        if task.scattered {
            let calls = task.calls.iter().enumerate();
            view.items =
                calls.map(|(n, c)| call_view(c, CallKey::new(i as u32, n as u32), progress)).collect();
            for (n, item) in view.items.iter_mut().enumerate() {
                item.id = format!("{}[{n}]", view.id);
            }
            view.progress = share_done(&view.items, view.progress);
            view.error =
                view.items.iter().find_map(|i| i.error.clone()).filter(|_| task.phase == TaskPhase::Failed);
        }
        view
    };
    state.tasks().iter().enumerate().map(one).collect()
}

fn share_done(items: &[TaskView], whole: f64) -> f64 {
    if items.is_empty() { whole } else { items.iter().map(|i| i.progress).sum::<f64>() / items.len() as f64 }
}

fn call_view(call: &CallState, key: CallKey, progress: Progress<'_>) -> TaskView {
    let attempt = call.current.as_deref();
    let reported = progress(key);
    TaskView {
        state: match call.phase {
            CallPhase::Waiting => "pending",
            CallPhase::Ready(_) if call.waiting.is_some() => "waiting",
            CallPhase::Ready(_) if call.attempt > 0 => "retrying",
            CallPhase::Ready(_) => "ready",
            CallPhase::Running => "running",
            CallPhase::Input => "input_required",
            CallPhase::Decision => "needs_decision",
            CallPhase::Completed => "completed",
            CallPhase::Failed => "failed",
        },
        agent: attempt.map(|a| Arc::from(a.to.agent.as_str())),
        instance: attempt.map(|a| a.to.instance.clone()),
        attempt: call.attempt,
        started_at: attempt.map(|a| a.started_at),
        ended_at: call.ended_at,
        progress: match call.phase {
            CallPhase::Completed => 1.0,
            _ => reported.as_ref().map_or(0.0, |p| p.share),
        },
        progress_text: reported.map(|p| p.text),
        output: call.output.clone(),
        error: call.error.as_ref().map(|e| format!("{}: {}", e.0.as_str(), e.1)),
        reason: call
            .waiting
            .clone()
            .or_else(|| call.prompt.as_ref().map(|p| String::from_utf8_lossy(p.bytes()).into()))
            .or_else(|| attempt.map(|a| a.to.reason.clone())),
        ..TaskView::default()
    }
}

fn agent_views(state: &State, progress: Progress<'_>) -> Vec<AgentView> {
    let mut agents: BTreeMap<Arc<str>, AgentView> = BTreeMap::new();
    for name in state.agents() {
        let done = AgentView {
            agent: name.clone(),
            status: "completed",
            current_task: String::new(),
            progress: 1.0,
        };
        agents.insert(name.clone(), done);
    }
    for (key, attempt) in state.open_calls() {
        if let Some(agent) = agents.get_mut(attempt.to.agent.as_str()) {
            agent.status = "running";
            agent.current_task = state.task_path(key.task);
            agent.progress = progress(key).map_or(0.0, |p| p.share);
        }
    }
    if agents.is_empty() {
        // Nothing was bound yet: the candidates of the pre-check.
        let assigned = |a: &Arc<str>| AgentView {
            agent: a.clone(),
            status: "assigned",
            current_task: String::new(),
            progress: 0.0,
        };
        return state.created().candidates.iter().map(assigned).collect();
    }
    agents.into_values().collect()
}

/// Why it waits, one sentence for each thing it waits for.
fn waiting(state: &State) -> Vec<String> {
    if state.status() == Status::Paused {
        return vec!["paused: resume it".into()];
    }
    let mut out: Vec<String> = wait_views(state).iter().map(WaitView::words).collect();
    for (i, task) in state.tasks().iter().enumerate().filter(|(_, t)| t.phase == TaskPhase::Scheduled) {
        for call in &task.calls {
            let id = state.task_path(i as u32);
            match (&call.phase, &call.waiting) {
                (CallPhase::Decision, why) => {
                    let why = why.as_deref().unwrap_or_default();
                    out.push(format!(
                        "task {id} needs a decision: {why}; resolve it with --completed, --failed or --retry"
                    ));
                }
                (CallPhase::Input, _) => out.push(format!("task {id} waits for input")),
                (CallPhase::Ready(_), Some(why)) => out.push(format!("task {id} waits for an agent: {why}")),
                (CallPhase::Ready(at), None) if call.attempt > 0 => {
                    out.push(format!("task {id} is tried again at {}", at.rfc3339()));
                }
                (CallPhase::Ready(_), None) => out.push(format!("task {id} waits for a free instance")),
                _ => {}
            }
        }
    }
    out.truncate(20);
    out
}
