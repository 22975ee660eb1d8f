//! An open approval as its row holds it, for those who list them: nobody has to look into the execution.

use serde::{Deserialize, Serialize};
use workflow::{
    State,
    plan::{NodeKind, Wait},
};

/// What is asked, and of whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// Path of the task.
    pub(crate) task: String,
    /// Id of the workflow.
    pub(crate) workflow_id: String,
    /// Its name.
    pub(crate) workflow_name: String,
    /// Its version.
    pub(crate) workflow_version: String,
    /// The question.
    pub(crate) title: String,
    /// Who may answer; empty = anybody with the right to operate executions.
    pub(crate) who: Vec<String>,
    /// JSON Schema of the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) form: Option<serde_json::Value>,
}

impl Asked {
    /// What the task asks.
    pub(crate) fn of(state: &State, task: u32) -> Self {
        let created = state.created();
        let form = match &state.task_plan(task).kind {
            NodeKind::Wait(Wait::Approval(plan)) => plan.form.clone(),
            _ => None,
        };
        Self {
            task: state.task_path(task),
            workflow_id: created.workflow_id.to_string(),
            workflow_name: created.workflow_name.to_string(),
            workflow_version: created.workflow_version.to_string(),
            title: state.approval(task).map_or_else(String::new, |asked| asked.title.to_string()),
            who: state.may_answer(task),
            form,
        }
    }

    /// As a row holds it.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".into())
    }

    /// Keys of a newer release are passed over.
    pub(crate) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}
