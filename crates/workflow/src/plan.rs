//! The plan: what the language compiles to and the state machine runs.
//!
//! A plan never holds agents; those are chosen at run time and recorded. It is immutable, stored with its workflow
//! version as JSON, and its meaning never changes: fields are only ever added, with defaults.

use std::{collections::BTreeMap, time::Duration};

use base::{AgentId, Effect, FailureClass, units::Resources};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod node;
pub(crate) mod remote;
mod trigger;

pub use node::{
    Approval, Budget, CacheSpec, Case, Catch, Child, Edge, Emit, Escalation, Exhausted, Join, NodeKind, Pick,
    Rest, SCOPE_DEPTH_MAX, Saga, Scope, ScopeMode, SessionSpec, Spend, TURNS_MAX, Wait,
};
pub use remote::{BUILT_IN, Capabilities, Remote, SHIPPED, Work, provider_id};
pub use trigger::{Overlap, Trigger, TriggerOn};

/// The newest schema of plans that this build reads: some tasks are runs at an engine of its own.
pub const PLAN_SCHEMA: u32 = 3;

/// The schema of a plan whose tasks do more than to call agents.
pub const PLAN_SCHEMA_NODES: u32 = 2;

/// The schema of a plan that only calls agents along plain edges. A plan says the lowest schema that covers it, so that
/// an older build refuses what it would misread.
pub const PLAN_SCHEMA_CALLS: u32 = 1;

/// Most calls one task can make. Every call is at least two events, and a history has a limit too.
pub const ITEMS_MAX: u32 = 100_000;

/// What a plan does not use is not written: plans of many thousand tasks are stored and sent.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A compiled workflow version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The lowest schema that covers it: from [`PLAN_SCHEMA_CALLS`] to [`PLAN_SCHEMA`].
    pub schema: u32,
    /// Name of the workflow.
    pub name: String,
    /// Version of the workflow.
    pub version: String,
    /// `orchestration_pattern`, empty when none is named.
    #[serde(default)]
    pub pattern: String,
    /// Tasks in topological order: a task stands after everything it depends on.
    pub tasks: Vec<TaskPlan>,
    /// Roles by name.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
    /// Limits of a whole execution.
    #[serde(default)]
    pub limits: Limits,
    /// JSON Schema of the execution's input.
    #[serde(default)]
    pub input_schema: Option<Value>,
    /// Where the execution's output comes from.
    #[serde(default)]
    pub output: OutputSpec,
    /// First values of the execution's variables (`vars` in expressions): a template over `input` and `metadata`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vars: Option<Value>,
    /// What undoes completed work.
    #[serde(default, skip_serializing_if = "is_default")]
    pub saga: Saga,
    /// The session that executions belong to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub session: Option<SessionSpec>,
    /// Parts that are driven by events rather than by their edges, by task id: such a task starts when an event of the
    /// topic arrives and its edges have been resolved.
    #[serde(default, skip_serializing_if = "is_default")]
    pub event_driven: BTreeMap<String, String>,
    /// What starts executions beside a request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub triggers: Vec<Trigger>,
    /// Free metadata (description, tags, owner, task queue, …) shown to people.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
}

/// A group of interchangeable agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Agent type; empty = any.
    #[serde(default)]
    pub agent_type: String,
    /// An agent of the role offers all of these.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How many agents the role stands for.
    #[serde(default)]
    pub count: Option<u32>,
    /// What one agent of the role needs.
    #[serde(default)]
    pub resources: Resources,
}

/// Limits of a whole execution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time; `None` = the installation's default.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Retries over all tasks together; `None` = only the tasks' own limits.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// Tasks that may fail without failing the execution.
    #[serde(default)]
    pub allowed_failures: u32,
    /// Calls in flight at once over all tasks; `None` = no limit of its own.
    #[serde(default)]
    pub max_calls: Option<u32>,
    /// Ready tasks waiting for a call beyond which nothing more is made ready; `None` = no limit.
    #[serde(default)]
    pub queue_size: Option<u32>,
    /// Active executions of the workflow at once; 1 refuses a second start, more queue it.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// What the workflow as a whole may take.
    #[serde(default)]
    pub resources: Option<Resources>,
    /// What one execution may spend.
    #[serde(default, skip_serializing_if = "is_default")]
    pub budget: Budget,
}

/// Where the execution's output comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpec {
    /// Outputs of the tasks nothing depends on: one task's as it is, several as an object by task id.
    #[default]
    Sinks,
    /// Outputs of these tasks (finish points): one as it is, several as an object by task id.
    Tasks(Vec<String>),
    /// A JSON value whose texts may hold `${ expression }`.
    Template(Value),
}

/// One task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// Key, unique within the plan.
    pub id: String,
    /// For people; empty = the id.
    #[serde(default)]
    pub name: String,
    /// What the agent is asked to do, in words.
    #[serde(default)]
    pub instructions: String,
    /// Indices of tasks this one waits for, all smaller than its own.
    #[serde(default)]
    pub after: Vec<u32>,
    /// What the node does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: NodeKind,
    /// When the edges from `after` are taken, one for each; empty = [`Edge::Done`] for all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub edges: Vec<Edge>,
    /// When it starts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub join: Join,
    /// What becomes of the tasks before it that its join did not need.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rest: Rest,
    /// Which agents may do it.
    #[serde(default)]
    pub need: Need,
    /// Which agents may do it, decided at run time; goes before `need`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pick: Option<Pick>,
    /// CEL; false = the task is skipped.
    #[serde(default)]
    pub when: Option<String>,
    /// What the agent is given.
    #[serde(default)]
    pub input: InputSpec,
    /// Whether the task is one call or many.
    #[serde(default)]
    pub spread: Spread,
    /// Retry policy; `None` = the installation's default.
    #[serde(default)]
    pub retry: Option<RetryPolicy>,
    /// Time limits.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Overrides what the capability declares.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// Higher runs first; added to the execution's priority.
    #[serde(default)]
    pub priority: i32,
    /// JSON Schema of the output (of one item, when it scatters).
    #[serde(default)]
    pub output_schema: Option<Value>,
    /// JSON Schema of the input.
    #[serde(default)]
    pub input_schema: Option<Value>,
    /// How long one call is expected to take.
    #[serde(default)]
    pub expected: Option<Duration>,
    /// What one call takes of its agent's resources.
    #[serde(default)]
    pub resources: Resources,
    /// Failure of this task does not fail the execution, whatever `allowed_failures` says.
    #[serde(default)]
    pub optional: bool,
    /// Failures that are answered with a value; the first that fits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catch: Vec<Catch>,
    /// What undoes it once it completed. Its `after` is empty; its expressions see `output`, the output of the task it
    /// undoes, beside what that task saw.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compensate: Option<Box<TaskPlan>>,
    /// What one call is expected to spend.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spend: Spend,
    /// Answers are remembered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cache: Option<CacheSpec>,
    /// In a scope that runs several turns at once: turns that are in this task at once; `None` = no limit of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub width: Option<u32>,
    /// The call is a run at an engine of its own, not a message to an agent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remote: Option<Box<Remote>>,
}

/// Which agents may do a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// The role it belongs to, when it names one.
    #[serde(default)]
    pub role: Option<String>,
    /// Agent type; empty = any.
    #[serde(default)]
    pub agent_type: String,
    /// The agent offers all of these.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The one skill that is asked for; `None` = the agent decides by the task.
    #[serde(default)]
    pub capability: Option<String>,
    /// Pinned to this agent: a retry does not leave it.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// Tags the agent carries.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Free requirements (`requirements` of S1): each is matched as a capability, else as a tag.
    #[serde(default)]
    pub requirements: Vec<String>,
}

/// What an agent is given as input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSpec {
    /// The execution's input for a task without dependencies; otherwise
    /// `{"input": …, "dependencies": {"<task id>": <output>, …}}`.
    #[default]
    Context,
    /// The execution's input as it is.
    Execution,
    /// The output of the dependency as it is (several: an object by task id; none: the execution's input).
    Previous,
    /// A JSON value whose texts may hold `${ expression }`.
    Template(Value),
}

/// One call or many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// One call.
    #[default]
    One,
    /// One call per element of the list that the CEL expression gives, gathered in order.
    ForEach {
        /// CEL that gives a list.
        list: String,
        /// Calls at once; `None` = as many as there are elements.
        width: Option<u32>,
    },
    /// `parallel: true`: the list in the task's input, or in the output of its only dependency, is scattered over at
    /// most `count` calls at once; without a list, `count` calls get the same input with `index` and `count`.
    Parallel {
        /// The role's count; `None` = as wide as the list.
        count: Option<u32>,
    },
}

/// How the delay grows from retry to retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// `base` every time.
    Fixed,
    /// `base`, 2 `base`, 3 `base`, …
    Linear,
    /// `base`, 2 `base`, 4 `base`, …, with jitter: half of it is fixed, half is spread by a hash.
    #[default]
    Exponential,
}

/// When and how often a failed attempt is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. 1 = no retry.
    pub max_attempts: u32,
    /// How the delay grows.
    #[serde(default)]
    pub backoff: Backoff,
    /// First delay.
    pub base_delay: Duration,
    /// Longest delay.
    pub max_delay: Duration,
    /// Classes that are retried; empty = [`FailureClass::retried_by_default`].
    #[serde(default)]
    pub on: Vec<FailureClass>,
    /// Texts of which one must occur in the failure's message (`retryableErrors`); empty = any message.
    #[serde(default)]
    pub patterns: Vec<String>,
}

impl Default for RetryPolicy {
    /// Three attempts, 1 s growing to 30 s.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::Exponential,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            on: Vec::new(),
            patterns: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub fn none() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Reads the named policies of the sources: `exponential_backoff`, `linear_backoff`, `fixed`, `none` and their
    /// short forms, with this policy's numbers.
    pub fn named(&self, name: &str) -> Option<Self> {
        let backoff = match name {
            "exponential_backoff" | "exponential" => Backoff::Exponential,
            "linear_backoff" | "linear" => Backoff::Linear,
            "fixed_delay" | "fixed" | "fixed_backoff" | "constant" => Backoff::Fixed,
            "none" | "no_retry" | "never" => return Some(Self::none()),
            _ => return None,
        };
        Some(Self { backoff, ..self.clone() })
    }

    /// Whether a failure of `class` with this message may be repeated at all.
    pub fn covers(&self, class: FailureClass, message: &str) -> bool {
        let class_ok = if self.on.is_empty() { class.retried_by_default() } else { self.on.contains(&class) };
        class_ok && (self.patterns.is_empty() || self.patterns.iter().any(|p| message.contains(p.as_str())))
    }

    /// Delay before retry `retry` (the first is 1). `salt` spreads the jitter of the exponential form; the same salt
    /// gives the same delay.
    pub fn delay(&self, retry: u32, salt: u64) -> Duration {
        let n = retry.max(1);
        let base = self.base_delay.as_micros() as u64;
        let max = self.max_delay.as_micros() as u64;
        let full = match self.backoff {
            Backoff::Fixed => base,
            Backoff::Linear => base.saturating_mul(u64::from(n)),
            Backoff::Exponential => base.saturating_mul(1u64 << (n - 1).min(40)),
        }
        .min(max);
        let us = match self.backoff {
            Backoff::Exponential if full > 1 => full / 2 + salt % (full - full / 2 + 1),
            _ => full,
        };
        Duration::from_micros(us)
    }
}

/// Time limits of a task. `None` = no limit of its own, except where a default is named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From ready to the first attempt.
    #[serde(default)]
    pub queue: Option<Duration>,
    /// One attempt.
    #[serde(default)]
    pub attempt: Option<Duration>,
    /// Between two signs of life of the agent within an attempt.
    #[serde(default)]
    pub heartbeat: Option<Duration>,
    /// From ready to the end, over all attempts.
    #[serde(default)]
    pub total: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_as_named_and_stay_within_the_limit() {
        let policy = |backoff| RetryPolicy {
            backoff,
            base_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(350),
            ..RetryPolicy::default()
        };
        let ms = |p: &RetryPolicy, n| p.delay(n, 0).as_millis();
        let fixed = policy(Backoff::Fixed);
        assert_eq!([ms(&fixed, 1), ms(&fixed, 9)], [100, 100]);
        let linear = policy(Backoff::Linear);
        assert_eq!([ms(&linear, 1), ms(&linear, 2), ms(&linear, 9)], [100, 200, 350]);
        let exponential = policy(Backoff::Exponential);
        for salt in [0, 1, 77_777, u64::MAX] {
            for (n, full) in [(1, 100), (2, 200), (3, 350), (200, 350)] {
                let got = exponential.delay(n, salt).as_millis();
                assert!((full / 2..=full).contains(&got), "retry {n}: {got} of {full}");
            }
        }
    }

    #[test]
    fn a_policy_covers_classes_and_messages() {
        let any = RetryPolicy::default();
        assert!(any.covers(FailureClass::Timeout, "") && !any.covers(FailureClass::Rejected, ""));
        let picky =
            RetryPolicy { on: vec![FailureClass::Rejected], patterns: vec!["busy".into()], ..any.clone() };
        assert!(
            picky.covers(FailureClass::Rejected, "I am busy") && !picky.covers(FailureClass::Rejected, "no")
        );
        assert!(!picky.covers(FailureClass::Timeout, "busy"));
        assert_eq!(any.named("none").unwrap().max_attempts, 1);
        assert_eq!(any.named("linear_backoff").unwrap().backoff, Backoff::Linear);
        assert_eq!(any.named("fixed").unwrap().backoff, Backoff::Fixed);
        assert_eq!(any.named("exponential_backoff"), Some(any.clone()));
        assert_eq!(any.named("whenever"), None);
    }

    #[test]
    fn a_plan_survives_json_and_old_plans_get_defaults() {
        let old = r#"{"schema":1,"name":"w","version":"1","tasks":[{"id":"a","need":{}}]}"#;
        let plan: Plan = serde_json::from_str(old).unwrap();
        assert_eq!(plan.output, OutputSpec::Sinks);
        assert_eq!(plan.tasks[0].input, InputSpec::Context);
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
    }
}
