//! Why an execution makes no progress by itself: what each open task waits for, since when, and the command that frees it.

use std::sync::Arc;

use base::{ExecutionId, Timestamp};

use crate::{
    plan::{NodeKind, Wait},
    state::{State, Status},
    task::{CallPhase, CallState, TaskPhase},
    wait::Waiting,
};

/// One reason why an execution waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The task's index and path; `None` = the execution as a whole.
    pub task: Option<(u32, String)>,
    /// The item, of a task that scatters.
    pub item: u32,
    /// What it waits for.
    pub why: Why,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// Room to start.
    Queued,
    /// Somebody who resumes it.
    Paused,
    /// An agent that offers what the call needs.
    NoAgent {
        /// Why there is none.
        reason: Arc<str>,
        /// When it is given up; `None` = never.
        until: Option<Timestamp>,
    },
    /// An agent that takes calls again: some could do it, none is well enough at the moment.
    NoHealthyInstance {
        /// How they are.
        reason: Arc<str>,
        /// When the call is given up; `None` = never.
        until: Option<Timestamp>,
    },
    /// A breaker that lets calls through: every instance that could take it failed one call after another.
    BreakerOpen {
        /// Whose instances they are.
        agents: Vec<String>,
        /// When the first of them is tried again.
        until: Timestamp,
    },
    /// Another engine that answers again.
    ProviderAway {
        /// The engine, as definitions name it.
        provider: String,
        /// Since when.
        since: Timestamp,
        /// What came instead of an answer.
        error: Arc<str>,
        /// When a start is tried again; `None` = a run that goes on there is asked for all the time.
        until: Option<Timestamp>,
    },
    /// A free instance, or room under the limits of the workflow, what sub-workflows hold of its budget included.
    NoRoom,
    /// The time of a retry.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// The answer of an agent.
    Agent {
        /// Who works on it.
        agent: String,
        /// Since when.
        since: Timestamp,
    },
    /// An answer to the agent's question.
    Input,
    /// Somebody who decides about a call of unknown outcome.
    Decision {
        /// Why.
        reason: Arc<str>,
    },
    /// An event.
    Event {
        /// Its topic.
        topic: String,
        /// Its correlation key; `None` = any.
        key: Option<Arc<str>>,
        /// Since when.
        since: Timestamp,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: String,
        /// Since when.
        since: Timestamp,
    },
    /// An approval.
    Approval {
        /// Who may answer; empty = anybody with the right to operate executions.
        who: Vec<String>,
        /// Since when.
        since: Timestamp,
        /// When more people may; `None` = no further step.
        escalates: Option<Timestamp>,
    },
    /// An operator who lets a step go on.
    Step {
        /// Since when.
        since: Timestamp,
    },
    /// A point in time.
    Time {
        /// When.
        until: Timestamp,
    },
    /// The end of a sub-workflow.
    Child {
        /// Its execution.
        execution: ExecutionId,
        /// Since when.
        since: Timestamp,
    },
    /// The bus, which takes an event.
    Publish,
}

impl Why {
    /// Every machine-readable form.
    pub const ALL: [&'static str; 18] = [
        "queued",
        "paused",
        "no_agent",
        "no_healthy_instance",
        "breaker_open",
        "provider_away",
        "no_room",
        "retry",
        "agent",
        "input",
        "decision",
        "event",
        "signal",
        "approval",
        "step",
        "time",
        "child",
        "publish",
    ];

    /// The machine-readable form.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Paused => "paused",
            Self::NoAgent { .. } => "no_agent",
            Self::NoHealthyInstance { .. } => "no_healthy_instance",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::ProviderAway { .. } => "provider_away",
            Self::NoRoom => "no_room",
            Self::Retry { .. } => "retry",
            Self::Agent { .. } => "agent",
            Self::Input => "input",
            Self::Decision { .. } => "decision",
            Self::Event { .. } => "event",
            Self::Signal { .. } => "signal",
            Self::Approval { .. } => "approval",
            Self::Step { .. } => "step",
            Self::Time { .. } => "time",
            Self::Child { .. } => "child",
            Self::Publish => "publish",
        }
    }

    /// The command that frees it; `None` = nothing but the thing itself.
    pub const fn command(&self) -> Option<&'static str> {
        match self {
            Self::Paused => Some("resume"),
            Self::NoAgent { .. } => Some("register an agent"),
            Self::NoHealthyInstance { .. } | Self::BreakerOpen { .. } => Some("repair an instance"),
            Self::ProviderAway { .. } => Some("restore the provider"),
            Self::Input => Some("answer"),
            Self::Decision { .. } => Some("resolve"),
            Self::Event { .. } => Some("publish"),
            Self::Signal { .. } => Some("signal"),
            Self::Approval { .. } => Some("approve"),
            Self::Step { .. } => Some("step"),
            Self::Queued
            | Self::NoRoom
            | Self::Retry { .. }
            | Self::Agent { .. }
            | Self::Time { .. }
            | Self::Child { .. }
            | Self::Publish => None,
        }
    }

    /// Among several reasons the smallest is told first: what somebody has to do stands before what passes by itself.
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Paused => 0,
            Self::Decision { .. } => 1,
            Self::Input => 2,
            Self::Approval { .. } => 3,
            Self::Step { .. } => 4,
            Self::Signal { .. } => 5,
            Self::Event { .. } => 6,
            Self::NoAgent { .. } => 7,
            Self::NoHealthyInstance { .. } => 8,
            Self::ProviderAway { .. } => 9,
            Self::BreakerOpen { .. } => 10,
            Self::Queued => 11,
            Self::NoRoom => 12,
            Self::Child { .. } => 13,
            Self::Publish => 14,
            Self::Retry { .. } => 15,
            Self::Time { .. } => 16,
            Self::Agent { .. } => 17,
        }
    }

    /// Since when it is waited for, where that is known.
    pub const fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Agent { since, .. }
            | Self::Event { since, .. }
            | Self::Signal { since, .. }
            | Self::Approval { since, .. }
            | Self::Step { since }
            | Self::Child { since, .. }
            | Self::ProviderAway { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// When it goes on by itself, or is tried again, where that is known.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Retry { at } => Some(*at),
            Self::Time { until } | Self::BreakerOpen { until, .. } => Some(*until),
            Self::ProviderAway { until, .. } => *until,
            _ => None,
        }
    }
}

/// Reasons that are looked through for the foremost one.
const LOOKED_AT: usize = 200;

impl State {
    /// The foremost reason why nothing goes on; `None` when it is over, or an agent works for it.
    pub fn stalled(&self) -> Option<Reason> {
        // What an agent does is progress, unless nobody wants it any more.
        if self.in_flight > 0 && self.status != Status::Paused {
            return None;
        }
        self.stuck(LOOKED_AT).into_iter().min_by_key(|reason| reason.why.rank())
    }

    /// Everything the execution waits for, at most `max` reasons; empty when it is over.
    pub fn stuck(&self, max: usize) -> Vec<Reason> {
        let whole = |why| Reason { task: None, item: 0, why };
        let mut out = Vec::new();
        match self.status {
            status if status.is_final() => return out,
            Status::Planning => return vec![whole(Why::Queued)],
            Status::Paused => out.push(whole(Why::Paused)),
            _ => {}
        }
        for task in 0..self.tasks.len() as u32 {
            if out.len() >= max {
                break;
            }
            if self.tasks[task as usize].is_open() {
                self.waits_of(task, &mut out);
            }
        }
        out.truncate(max);
        out
    }

    fn waits_of(&self, task: u32, out: &mut Vec<Reason>) {
        let own = &self.tasks[task as usize];
        let mut say = |item, why| out.push(Reason { task: Some((task, self.task_path(task))), item, why });
        if own.phase == TaskPhase::Pending && own.queued && self.starts_later(task) {
            say(0, Why::NoRoom);
        }
        if let Some(why) = own.waiting().and_then(|wait| self.wait_reason(task, wait)) {
            say(0, why);
        }
        if own.phase == TaskPhase::Scheduled {
            for (item, call) in (0..).zip(&own.calls) {
                if let Some(why) = call_reason(call) {
                    say(item, why);
                }
            }
        }
    }

    fn wait_reason(&self, task: u32, wait: &Waiting) -> Option<Why> {
        Some(match wait {
            Waiting::Timer { until } | Waiting::Pause { until } => Why::Time { until: *until },
            Waiting::Event { key, since, .. } => {
                let topic = match (self.untriggered(task), &self.task_plan(task).kind) {
                    (Some(topic), _) => topic.to_owned(),
                    (None, NodeKind::Wait(Wait::Event { topic, .. })) => topic.clone(),
                    _ => return None,
                };
                Why::Event { topic, key: key.clone(), since: *since }
            }
            Waiting::Signal { since, payload: None } => match &self.task_plan(task).kind {
                NodeKind::Wait(Wait::Signal { name, .. }) => {
                    Why::Signal { name: name.clone(), since: *since }
                }
                _ => return None,
            },
            Waiting::Step { since, granted: false } => Why::Step { since: *since },
            Waiting::Approval(asked) if asked.decided.is_none() => Why::Approval {
                who: self.may_answer(task),
                since: asked.at,
                escalates: self.escalation_due(task),
            },
            Waiting::Child { child, since, outcome: None, .. } => {
                Why::Child { execution: child.execution, since: *since }
            }
            Waiting::Publish { done: false, .. } => Why::Publish,
            _ => return None,
        })
    }
}

fn call_reason(call: &CallState) -> Option<Why> {
    Some(match (call.phase, &call.current) {
        (CallPhase::Ready(_), _) if call.waiting.is_some() => {
            Why::NoAgent { reason: call.waiting.clone().unwrap_or_else(|| "".into()), until: call.timer }
        }
        (CallPhase::Ready(at), _) if call.attempt > 0 => Why::Retry { at },
        (CallPhase::Ready(_), _) => Why::NoRoom,
        (CallPhase::Running, Some(open)) => {
            Why::Agent { agent: open.to.agent.to_string(), since: open.started_at }
        }
        (CallPhase::Input, _) => Why::Input,
        (CallPhase::Decision, _) => {
            Why::Decision { reason: call.waiting.clone().unwrap_or_else(|| "".into()) }
        }
        _ => return None,
    })
}
