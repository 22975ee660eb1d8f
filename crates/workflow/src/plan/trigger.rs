//! What starts executions of a workflow beside a request: events and schedules.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_default;

/// What starts executions of the workflow. Its expressions see `event` (for events) and nothing of any execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Name, unique within the workflow.
    pub name: String,
    /// When.
    pub on: TriggerOn,
    /// The execution's input: a template. `None` = the event's payload, or an empty object for a schedule.
    #[serde(default, skip_serializing_if = "is_default")]
    pub input: Option<Value>,
    /// CEL that gives the start key: the same key starts one execution. `None` = the event's id, or the time of the
    /// schedule.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key: Option<String>,
    /// Priority of the execution.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
}

/// When a trigger fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerOn {
    /// An event of a topic arrives.
    Event {
        /// The topic.
        topic: String,
        /// CEL over `event`; only events for which it is true count.
        #[serde(default)]
        filter: Option<String>,
    },
    /// A time of a cron expression comes.
    Cron {
        /// Five or six fields.
        cron: String,
        /// IANA name of the time zone; empty = UTC.
        #[serde(default)]
        zone: String,
        /// What happens when the execution before still runs.
        #[serde(default)]
        overlap: Overlap,
        /// Times that were missed are made up for when they are no older; zero = none.
        #[serde(default)]
        catch_up: Duration,
    },
    /// Time passes.
    Every {
        /// From start to start.
        every: Duration,
        /// Before the first one; `None` = as long as between two.
        #[serde(default)]
        delay: Option<Duration>,
        /// What happens when the execution before still runs.
        #[serde(default)]
        overlap: Overlap,
        /// As with cron.
        #[serde(default)]
        catch_up: Duration,
    },
}

/// What a schedule does while the execution before still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// This time is left out.
    #[default]
    Skip,
    /// It starts when the one before ends; one waits at most.
    Queue,
    /// Both run.
    Allow,
    /// The one before is cancelled.
    Cancel,
}
