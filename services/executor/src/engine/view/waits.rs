//! What tasks wait for from outside, for those who ask.

use base::Timestamp;
use workflow::{
    State, TaskPhase, Waiting,
    plan::{NodeKind, Wait},
};

/// Waits that a view names.
const SHOWN_MAX: usize = 100;

/// What a task waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitView {
    /// Path of the task.
    pub task: String,
    /// `timer`, `event`, `signal`, `step`, `approval`, `publish`, `child`.
    pub kind: &'static str,
    /// Topic, name of the signal, title of the approval, execution of the sub-workflow.
    pub what: String,
    /// Correlation key.
    pub key: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it goes on by itself.
    pub until: Option<Timestamp>,
    /// Who may answer; empty = anybody with the right to operate executions.
    pub who: Vec<String>,
    /// JSON Schema of the form, or of the payload.
    pub schema: Option<serde_json::Value>,
}

impl WaitView {
    /// In words, with what ends it.
    pub(super) fn words(&self) -> String {
        let Self { task, kind, what, .. } = self;
        let since = self.since.map(|at| format!(" since {}", at.rfc3339())).unwrap_or_default();
        match *kind {
            "timer" => {
                format!("task {task} waits until {}", self.until.map(Timestamp::rfc3339).unwrap_or_default())
            }
            "event" => match &self.key {
                Some(key) => format!("task {task} waits for an event of {what} with key {key}{since}"),
                None => format!("task {task} waits for an event of {what}{since}"),
            },
            "signal" => format!("task {task} waits for the signal {what}{since}"),
            "step" => format!("task {task} waits for an operator to let it go on{since}"),
            "approval" => {
                let who = if self.who.is_empty() { "anybody".to_owned() } else { self.who.join(", ") };
                format!("task {task} waits for the approval of {who}{since}: {what}")
            }
            "publish" => format!("task {task} publishes an event to {what}"),
            _ => format!("task {task} waits for execution {what}{since}"),
        }
    }
}

/// The waits that are open, at most [`SHOWN_MAX`].
pub(super) fn wait_views(state: &State) -> Vec<WaitView> {
    let open = (0..state.tasks().len() as u32).filter_map(|task| one(state, task));
    open.take(SHOWN_MAX).collect()
}

fn one(state: &State, task: u32) -> Option<WaitView> {
    let own = &state.tasks()[task as usize];
    let wait = own.waiting()?;
    let pending = own.phase == TaskPhase::Pending && matches!(wait, Waiting::Event { .. });
    if !pending && own.phase != TaskPhase::Scheduled {
        return None;
    }
    let at = |kind| WaitView { task: state.task_path(task), kind, ..WaitView::default() };
    let kind = &state.task_plan(task).kind;
    Some(match wait {
        Waiting::Timer { until } | Waiting::Pause { until } => {
            WaitView { until: Some(*until), ..at("timer") }
        }
        Waiting::Event { key, since, .. } => {
            let topic = match kind {
                NodeKind::Wait(Wait::Event { topic, .. }) if !pending => topic.as_str(),
                _ => state.driven_by(task).unwrap_or_default(),
            };
            let key = key.as_ref().map(ToString::to_string);
            WaitView { what: topic.into(), key, since: Some(*since), ..at("event") }
        }
        Waiting::Signal { since, .. } => {
            let (name, schema) = match kind {
                NodeKind::Wait(Wait::Signal { name, schema }) => (name.clone(), schema.clone()),
                _ => (String::new(), None),
            };
            WaitView { what: name, since: Some(*since), schema, ..at("signal") }
        }
        Waiting::Step { since, .. } => WaitView { since: Some(*since), ..at("step") },
        Waiting::Approval(asked) => WaitView {
            what: asked.title.to_string(),
            since: Some(asked.at),
            who: state.may_answer(task),
            schema: match kind {
                NodeKind::Wait(Wait::Approval(approval)) => approval.form.clone(),
                _ => None,
            },
            ..at("approval")
        },
        Waiting::Publish { event, .. } => WaitView { what: event.topic.to_string(), ..at("publish") },
        Waiting::Child { child, since, .. } => {
            WaitView { what: child.execution.to_string(), since: Some(*since), ..at("child") }
        }
    })
}
