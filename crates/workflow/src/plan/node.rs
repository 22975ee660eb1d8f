//! What a node of the plan does beside calling an agent, when it may start, and what happens when it fails.
//!
//! Every pattern and every type of workflow is built from these few nodes. A [`Scope`] holds a body of tasks; each turn
//! of it adds one copy of the body to the running execution, as a recorded fact. That is how loops, streams of items,
//! agent-directed routing and compensation grow a graph whose every step is still one task in one log.

use std::{collections::BTreeMap, time::Duration};

use base::FailureClass;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Need, OutputSpec, RetryPolicy, TaskPlan};

/// Most turns one scope can make.
pub const TURNS_MAX: u32 = 100_000;

/// Deepest nesting of scopes.
pub const SCOPE_DEPTH_MAX: u32 = 16;

/// What a node does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Calls an agent.
    #[default]
    Call,
    /// Gives a template's value as its output.
    Transform {
        /// A JSON value whose texts may hold `${ expression }`.
        value: Value,
    },
    /// Chooses which of its labelled edges are taken ([`Edge::Case`]). Its output is `{"cases": [names]}`.
    Switch {
        /// In order; without `many` the first true one is chosen.
        cases: Vec<Case>,
        /// Chosen when no case is true; `None` = no labelled edge is taken.
        #[serde(default)]
        otherwise: Option<String>,
        /// Every true case is chosen.
        #[serde(default)]
        many: bool,
    },
    /// Waits for something from outside. The time limit is [`super::Timeouts::total`].
    Wait(Wait),
    /// Publishes a user event. Its output is `{"event_id": …}`.
    Emit(Emit),
    /// Starts another workflow and waits for its end.
    Child(Child),
    /// A body of tasks, once or in turns.
    Scope(Box<Scope>),
    /// Sets variables of the execution (`vars` in expressions). Its output is the object that was set.
    Set {
        /// An object; its texts may hold `${ expression }`.
        vars: Value,
    },
    /// Fails, with a text that may hold `${ expression }`.
    Fail {
        /// Words.
        message: String,
        /// Class of the failure.
        #[serde(default = "failed_by_definition")]
        class: FailureClass,
    },
    /// Ends the whole execution as completed, whatever else runs.
    End {
        /// Its output; `None` = what the task before gave.
        #[serde(default)]
        output: Option<Value>,
    },
}

fn failed_by_definition() -> FailureClass {
    FailureClass::Error
}

/// A branch of a switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Label of the edges it takes.
    pub name: String,
    /// CEL that gives true or false.
    pub when: String,
}

/// When an edge from a task that ended is taken. An edge that is not taken counts like one from a skipped task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// When it completed. A failure that is not caught skips what follows.
    #[default]
    Done,
    /// When the switch before it chose this case.
    Case(String),
    /// When it failed with one of these classes (empty = any): the failure is caught.
    Failed(Vec<FailureClass>),
    /// When it ended, whichever way: a failure is caught by it. A task that its own condition, or no way to it being
    /// taken, kept from running did not end.
    Ended,
}

/// When a task with several edges before it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// All have ended; skipped when none of the edges was taken or a task before it failed uncaught.
    #[default]
    All,
    /// The first edge is taken. Failures before it are tolerated while another edge may still be taken.
    /// [`super::InputSpec::Previous`] gives the one output that was there.
    Any,
    /// So many edges are taken; fails as soon as that cannot be reached any more.
    Quorum(u32),
    /// All have ended, whichever way: runs with what there is.
    BestEffort,
}

/// What becomes of the tasks before a join that started without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// They go on; their results are recorded.
    #[default]
    Keep,
    /// They are cancelled, and their agents are told.
    Cancel,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Time to pass.
    Timer {
        /// CEL that gives a duration, a number of seconds, or a timestamp to wait until.
        until: String,
    },
    /// Events of a topic. Its output is the event, or the list of events when it waits for several.
    Event {
        /// The topic.
        topic: String,
        /// CEL over `event` (`id`, `topic`, `type`, `source`, `key`, `payload`, `at`) beside the usual variables.
        #[serde(default)]
        filter: Option<String>,
        /// CEL that gives the correlation key; only events with this key count.
        #[serde(default)]
        key: Option<String>,
        /// How many.
        #[serde(default = "one")]
        count: u32,
    },
    /// A named signal to this execution. Its output is the signal's payload.
    Signal {
        /// Its name.
        name: String,
        /// JSON Schema of its payload.
        #[serde(default)]
        schema: Option<Value>,
    },
    /// A person. Its output is `{"decision": "approved" | "answered", "by": …, "form": …, "comment": …}`; a rejection is
    /// a failure of class `rejected`.
    Approval(Approval),
    /// An operator who lets this step go on (`manual`).
    Step,
}

fn one() -> u32 {
    1
}

/// A question to people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// What is asked; may hold `${ expression }`.
    #[serde(default)]
    pub title: String,
    /// Principals who may answer; empty = anybody with the right to operate executions.
    #[serde(default)]
    pub who: Vec<String>,
    /// JSON Schema of the form that an answer fills in.
    #[serde(default)]
    pub form: Option<Value>,
    /// After these times others may answer too, and are told.
    #[serde(default)]
    pub escalate: Vec<Escalation>,
}

/// A step of escalation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Escalation {
    /// After the question was asked.
    pub after: Duration,
    /// Who may answer too.
    pub who: Vec<String>,
}

/// A user event that a task publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Emit {
    /// The topic; may hold `${ expression }`.
    pub topic: String,
    /// Type of the event; empty = the topic.
    #[serde(default)]
    pub event_type: String,
    /// The payload; its texts may hold `${ expression }`.
    #[serde(default)]
    pub payload: Value,
    /// CEL that gives the correlation key.
    #[serde(default)]
    pub key: Option<String>,
    /// Higher is delivered first.
    #[serde(default)]
    pub priority: i32,
}

/// Another workflow, run as an execution of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Name of the workflow; may hold `${ expression }`.
    pub workflow: String,
    /// A version, or a range of them (`^1.2`, `>=2, <3`); empty = the newest.
    #[serde(default)]
    pub version: String,
    /// Does not wait for its end: the output is `{"execution_id": …}`.
    #[serde(default)]
    pub detached: bool,
}

/// A body of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// In topological order; `after` counts within the body.
    pub tasks: Vec<TaskPlan>,
    /// What one turn gives.
    #[serde(default)]
    pub output: OutputSpec,
    /// How often it runs.
    #[serde(default)]
    pub mode: ScopeMode,
}

/// How often a scope runs. In its body, beside the usual variables, `tasks` finds the body's own tasks first and then
/// those around it; `scope.input` is the input of the scope's task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeMode {
    /// Once. Its output is that of the turn.
    #[default]
    Once,
    /// Turn after turn. The body sees `loop.index` (from 0), `loop.last` (output of the turn before, null at first),
    /// `loop.carry` and, when it is kept, `loop.history` (outputs of all turns before). Its output is that of the last
    /// turn, or the list of all when the history is kept and `gather` is set.
    Loop {
        /// CEL, asked before each turn.
        #[serde(default)]
        while_: Option<String>,
        /// CEL, asked after each turn.
        #[serde(default)]
        until: Option<String>,
        /// Most turns.
        max: u32,
        /// What happens when they are used up.
        #[serde(default)]
        exhausted: Exhausted,
        /// Pause between turns.
        #[serde(default)]
        delay: Option<Duration>,
        /// Value of `loop.carry` in the first turn: a template.
        #[serde(default)]
        start: Option<Value>,
        /// Value of `loop.carry` in the next turn: a template that sees the turn's tasks. `None` = unchanged.
        #[serde(default)]
        carry: Option<Value>,
        /// Whether `loop.history` is kept.
        #[serde(default)]
        history: bool,
        /// The output is the list of all turns' outputs.
        #[serde(default)]
        gather: bool,
    },
    /// One turn per element of a list; the body sees `item`, `index` and `count`. With several tasks in a row this is a
    /// pipeline: each item moves on by itself, and a task's [`TaskPlan::width`] bounds how many items are in it.
    ForEach {
        /// CEL that gives a list.
        list: String,
        /// Turns at once, which bounds what is between the first and the last task (back-pressure); `None` = all.
        #[serde(default)]
        width: Option<u32>,
        /// Each task takes the items in their order.
        #[serde(default)]
        ordered: bool,
        /// How many turns have to complete. The output of a turn that failed is left out of the list unless `partial`.
        #[serde(default)]
        join: Join,
        /// What becomes of the turns a join did not need.
        #[serde(default)]
        rest: Rest,
        /// The output is `[{"index", "status", "output" | "error": {"class", "message"}}]`, one element per turn.
        #[serde(default)]
        partial: bool,
    },
}

/// What happens when a loop's turns are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// The loop fails.
    #[default]
    Fail,
    /// The loop completes with what the last turn gave.
    Stop,
}

/// Which agents do a task, decided by an earlier answer and checked against what the definition allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// CEL that gives a name; one that is not in `among` fails the task with class `definition`.
    pub by: String,
    /// What may be named.
    pub among: BTreeMap<String, Need>,
}

/// A failure that is answered with a value instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Catch {
    /// Classes; empty = any.
    #[serde(default)]
    pub on: Vec<FailureClass>,
    /// The task's output instead: a template that sees `error.class` and `error.message`.
    pub value: Value,
}

/// What undoes completed work when the execution fails or is cancelled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saga {
    /// Completed tasks with a `compensate` are undone, in reverse order of their completion, when the execution fails.
    #[serde(default)]
    pub on_failure: bool,
    /// Also when it is cancelled.
    #[serde(default)]
    pub on_cancel: bool,
    /// Classes of failures that compensate; empty = all.
    #[serde(default)]
    pub classes: Vec<FailureClass>,
    /// Classes that never do.
    #[serde(default)]
    pub not_classes: Vec<FailureClass>,
    /// Time for all compensation together; `None` = the installation's.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// For compensations that have no retry policy of their own.
    #[serde(default)]
    pub retry: Option<RetryPolicy>,
}

/// What an execution may spend; 0 = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Calls to agents, retries included.
    #[serde(default)]
    pub calls: u64,
    /// Tokens, as agents report them.
    #[serde(default)]
    pub tokens: u64,
    /// Money in millionths of the currency, as agents report it.
    #[serde(default)]
    pub money_micros: u64,
    /// Depth of sub-workflows below the execution.
    #[serde(default)]
    pub depth: u32,
}

/// What one call is expected to spend: reserved before it leaves, settled by what the agent reports. Of a sub-workflow: what
/// it is lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Calls, of a sub-workflow.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub calls: u64,
    /// Tokens.
    #[serde(default)]
    pub tokens: u64,
    /// Money in millionths of the currency.
    #[serde(default)]
    pub money_micros: u64,
}

/// Answers of a pure capability are remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheSpec {
    /// Namespace; empty = the capability.
    #[serde(default)]
    pub namespace: String,
    /// How long; `None` = the installation's.
    #[serde(default)]
    pub ttl: Option<Duration>,
}

/// The session that executions of the workflow belong to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// CEL over `input` and `metadata` that gives the session's id; `None` = the id that the start names.
    #[serde(default)]
    pub id: Option<String>,
    /// Variables that are loaded at the start; empty = all.
    #[serde(default)]
    pub load: Vec<String>,
    /// Variables that are saved at the end: an object of templates; `None` = `vars` as they stand.
    #[serde(default)]
    pub save: Option<Value>,
    /// Turns of the conversation that are loaded; 0 = none.
    #[serde(default)]
    pub history: u32,
}
