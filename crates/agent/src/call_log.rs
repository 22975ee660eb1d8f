//! One line for each call that was worked on: tests count effects with it.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::{Mutex, PoisonError},
};

use base::Timestamp;
use serde_json::json;

use crate::Call;

/// A file that grows by one JSON object a call: `at`, `agent`, `pid`, `skill`, `message_id`, `effect_key`,
/// `execution_id`, `task`, `index`, `agent_task_id`. A repeated message is one call and one line.
pub(crate) struct CallLog {
    file: Mutex<File>,
    agent: String,
}

impl CallLog {
    /// Opens the file for appending, and makes it when it is not there.
    pub(crate) fn open(path: &Path, agent: &str) -> std::io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file: Mutex::new(file), agent: agent.to_owned() })
    }

    /// Writes the line in one piece, so that several agents may share a file.
    pub(crate) fn write(&self, call: &Call) {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let at = Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or_default());
        let line = json!({
            "at": at.rfc3339(), "agent": self.agent, "pid": std::process::id(), "skill": call.skill(),
            "message_id": call.message.message_id, "effect_key": call.effect_key(),
            "execution_id": call.execution_id(), "task": call.task_id(), "index": call.origin.task.index,
            "task_name": call.origin.task.name, "agent_task_id": call.task.id(),
        });
        let line = format!("{line}\n");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(err) = file.write_all(line.as_bytes()) {
            tracing::error!(error = %err, "call log not written");
        }
    }
}
