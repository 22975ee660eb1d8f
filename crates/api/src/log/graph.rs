//! The facts that came with schema 2: turns, waits, events, sub-workflows, compensation, changes of the graph.

use std::{sync::Arc, time::Duration};

use base::{ExecutionId, Payload, Timestamp};
use bytes::Bytes;
use proto::log::v1::{self as pb, event::Kind as PbKind};
use workflow::{
    Because, ChildOutcome, ChildStart, Kind, Parent, PlanChange, Seed, Settings, Spending, TurnResult, Usage,
    UserEvent, Verdict, plan::Budget,
};

use super::{
    class_number,
    decode::{LogError, Resolver, Result, decode_payload, failure, key},
    encode::{Encoder, us},
};

impl Encoder {
    pub(super) fn settings(&mut self, s: &Settings) -> Option<pb::Settings> {
        (*s != Settings::default()).then(|| pb::Settings {
            event_ttl_us: us(s.event_ttl),
            events_max: s.events_max,
            parent: s.parent.as_ref().map(|p| pb::Parent {
                execution_id: bytes_of(p.execution),
                task: p.task.to_string(),
                depth: p.depth,
            }),
            budget: Some(budget(&s.budget)),
            saga_timeout_us: us(s.saga_timeout),
            session: s.session.to_string(),
            vars: s.vars.as_ref().map(|p| self.payload(p)),
            history: s.history.as_ref().map(|p| self.payload(p)),
        })
    }

    fn user_event(&mut self, e: &UserEvent) -> pb::UserEvent {
        pb::UserEvent {
            id: e.id.to_string(),
            topic: e.topic.to_string(),
            r#type: e.event_type.to_string(),
            source: e.source.to_string(),
            key: e.key.to_string(),
            payload: Some(self.payload(&e.payload)),
            at_us: e.at.micros(),
            priority: e.priority,
        }
    }

    /// # Panics
    /// Never: facts of schema 1 are encoded before; one that came here is written as an event without a meaning.
    pub(super) fn graph(&mut self, kind: &Kind) -> PbKind {
        match kind {
            Kind::TurnStarted { scope, turn, item, carry } => PbKind::TurnStarted(pb::TurnStarted {
                node: *scope,
                turn: *turn,
                item: item.as_ref().map(|p| self.payload(p)),
                carry: carry.as_ref().map(|p| self.payload(p)),
            }),
            Kind::TurnEnded { scope, turn, result } => PbKind::TurnEnded(pb::TurnEnded {
                node: *scope,
                turn: *turn,
                result: Some(match result {
                    TurnResult::Output(p) => pb::turn_ended::Result::Output(self.payload(p)),
                    TurnResult::Failed { class, message } => {
                        pb::turn_ended::Result::Failed(failed(*class, message))
                    }
                }),
            }),
            Kind::Routed { task, cases } => PbKind::Routed(pb::Routed {
                node: *task,
                cases: cases.iter().map(ToString::to_string).collect(),
            }),
            Kind::TaskCancelled { task, reason } => {
                PbKind::TaskCancelled(pb::TaskCancelled { node: *task, reason: reason.to_string() })
            }
            Kind::TaskRecovered { call, class, message, output } => {
                PbKind::TaskRecovered(pb::TaskRecovered {
                    node: call.task,
                    item: call.item,
                    class: class_number(*class),
                    message: message.to_string(),
                    output: Some(self.payload(output)),
                })
            }
            Kind::Picked { task, name } => PbKind::Picked(pb::Picked { node: *task, name: name.to_string() }),
            Kind::WaitOpened { task, until, key } => PbKind::WaitOpened(pb::WaitOpened {
                node: *task,
                until_us: until.map(Timestamp::micros),
                key: key.as_ref().map(ToString::to_string),
            }),
            Kind::EventReceived { event, expires } => PbKind::EventReceived(pb::EventReceived {
                event: Some(self.user_event(event)),
                expires_us: expires.micros(),
            }),
            Kind::EventTaken { tasks, event_id } => {
                PbKind::EventTaken(pb::EventTaken { nodes: tasks.clone(), event_id: event_id.to_string() })
            }
            Kind::SignalReceived { name, payload, id, by } => PbKind::SignalReceived(pb::SignalReceived {
                name: name.to_string(),
                payload: Some(self.payload(payload)),
                id: id.to_string(),
                by: by.to_string(),
            }),
            Kind::ApprovalAsked { task, title } => {
                PbKind::ApprovalAsked(pb::ApprovalAsked { node: *task, title: title.to_string() })
            }
            Kind::ApprovalEscalated { task, step } => {
                PbKind::ApprovalEscalated(pb::ApprovalEscalated { node: *task, step: *step })
            }
            Kind::ApprovalDecided { task, verdict, by, comment, form } => {
                PbKind::ApprovalDecided(pb::ApprovalDecided {
                    node: *task,
                    verdict: match verdict {
                        Verdict::Approved => 1,
                        Verdict::Rejected => 2,
                        Verdict::Answered => 3,
                    },
                    by: by.to_string(),
                    comment: comment.to_string(),
                    form: form.as_ref().map(|p| self.payload(p)),
                })
            }
            Kind::StepGranted { task, by } => {
                PbKind::StepGranted(pb::StepGranted { node: *task, by: by.to_string() })
            }
            Kind::VariablesSet { task, vars, by } => PbKind::VariablesSet(pb::VariablesSet {
                node: *task,
                vars: Some(self.payload(vars)),
                by: by.to_string(),
            }),
            Kind::EventEmitted { task, event } => {
                PbKind::EventEmitted(pb::EventEmitted { node: *task, event: Some(self.user_event(event)) })
            }
            Kind::EventPublished { task } => PbKind::EventPublished(pb::EventPublished { node: *task }),
            Kind::ChildStarted { task, child } => PbKind::ChildStarted(pb::ChildStarted {
                node: *task,
                execution_id: bytes_of(child.execution),
                workflow: child.workflow.to_string(),
                version: child.version.to_string(),
                input: Some(self.payload(&child.input)),
                detached: child.detached,
                budget: Some(budget(&child.budget)),
                depth: child.depth,
                lent: child.lent,
            }),
            Kind::ChildSettled { execution, spent } => PbKind::ChildSettled(pb::ChildSettled {
                execution_id: bytes_of(*execution),
                calls: spent.calls,
                tokens: spent.tokens,
                money_micros: spent.money_micros,
            }),
            Kind::ChildAccepted { task, version } => {
                PbKind::ChildAccepted(pb::ChildAccepted { node: *task, version: version.to_string() })
            }
            Kind::ChildEnded { task, outcome, spent } => PbKind::ChildEnded(pb::ChildEnded {
                node: *task,
                outcome: Some(match outcome {
                    ChildOutcome::Completed(p) => pb::child_ended::Outcome::Output(self.payload(p)),
                    ChildOutcome::Failed { class, message } => {
                        pb::child_ended::Outcome::Failed(failed(*class, message))
                    }
                }),
                calls: spent.calls,
                tokens: spent.tokens,
                money_micros: spent.money_micros,
            }),
            Kind::Spent { call, attempt, usage } => PbKind::Spent(pb::Spent {
                node: call.task,
                item: call.item,
                attempt: *attempt,
                tokens: usage.tokens,
                money_micros: usage.money_micros,
            }),
            other => self.end_of_graph(other),
        }
    }

    fn end_of_graph(&mut self, kind: &Kind) -> PbKind {
        match kind {
            Kind::CompensationStarted { because } => PbKind::CompensationStarted(pb::CompensationStarted {
                because: Some(match because {
                    Because::Failed { class, message } => {
                        pb::compensation_started::Because::Failed(failed(*class, message))
                    }
                    Because::Cancelled { by, reason } => {
                        pb::compensation_started::Because::Cancelled(pb::Cancelled {
                            by: by.to_string(),
                            reason: reason.to_string(),
                        })
                    }
                }),
            }),
            Kind::TaskCompensating { task } => PbKind::TaskCompensating(pb::TaskCompensating { node: *task }),
            Kind::TaskCompensated { task } => PbKind::TaskCompensated(pb::TaskCompensated { node: *task }),
            Kind::CompensationFailed { task, class, message } => {
                PbKind::CompensationFailed(pb::CompensationFailed {
                    node: *task,
                    class: class_number(*class),
                    message: message.to_string(),
                })
            }
            Kind::PlanChanged(change) => PbKind::PlanChanged(pb::PlanChanged {
                plan: Some(self.payload(&change.plan)),
                revision: change.revision,
                by: change.by.to_string(),
                reason: change.reason.to_string(),
            }),
            Kind::Reset { tasks, input, by, reason } => PbKind::Reset(pb::Reset {
                nodes: tasks.clone(),
                input: input.as_ref().map(|p| self.payload(p)),
                by: by.to_string(),
                reason: reason.to_string(),
            }),
            Kind::Seeded { from, tasks, vars } => PbKind::Seeded(pb::Seeded {
                execution_id: bytes_of(*from),
                tasks: tasks
                    .iter()
                    .map(|s| pb::Seed { node: s.task, output: s.output.as_ref().map(|p| self.payload(p)) })
                    .collect(),
                vars: vars.as_ref().map(|p| self.payload(p)),
            }),
            Kind::ModeSwitched { task, topic, by } => PbKind::ModeSwitched(pb::ModeSwitched {
                node: *task,
                topic: topic.as_ref().map(ToString::to_string),
                by: by.to_string(),
            }),
            // `Compensated`; all others were taken before.
            _ => PbKind::Compensated(pb::Compensated {}),
        }
    }
}

fn bytes_of(id: ExecutionId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn failed(class: base::FailureClass, message: &str) -> pb::Failure {
    pb::Failure { class: class_number(class), message: message.to_owned() }
}

fn budget(b: &Budget) -> pb::Budget {
    pb::Budget { calls: b.calls, tokens: b.tokens, money_micros: b.money_micros, depth: b.depth }
}

fn missing(what: &str) -> LogError {
    LogError::new(format!("{what} is missing"))
}

fn execution(bytes: &[u8]) -> Result<ExecutionId> {
    ExecutionId::from_slice(bytes).map_err(|e| LogError::new(e.to_string()))
}

fn some(p: Option<pb::Payload>, large: Resolver<'_>) -> Result<Option<Payload>> {
    p.map(|p| decode_payload(Some(p), large)).transpose()
}

fn budget_of(b: pb::Budget) -> Budget {
    Budget { calls: b.calls, tokens: b.tokens, money_micros: b.money_micros, depth: b.depth }
}

pub(super) fn settings(s: Option<pb::Settings>, large: Resolver<'_>) -> Result<Settings> {
    let Some(s) = s else { return Ok(Settings::default()) };
    let parent = s.parent.map(|p| {
        let execution = execution(&p.execution_id)?;
        Ok(Arc::new(Parent { execution, task: p.task.into(), depth: p.depth }))
    });
    Ok(Settings {
        event_ttl: Duration::from_micros(s.event_ttl_us),
        events_max: s.events_max,
        parent: parent.transpose()?,
        budget: budget_of(s.budget.unwrap_or_default()),
        saga_timeout: Duration::from_micros(s.saga_timeout_us),
        session: s.session.into(),
        vars: some(s.vars, large)?,
        history: some(s.history, large)?,
    })
}

fn user_event(e: Option<pb::UserEvent>, large: Resolver<'_>) -> Result<Arc<UserEvent>> {
    let e = e.ok_or_else(|| missing("the event"))?;
    Ok(Arc::new(UserEvent {
        id: e.id.into(),
        topic: e.topic.into(),
        event_type: e.r#type.into(),
        source: e.source.into(),
        key: e.key.into(),
        payload: decode_payload(e.payload, large)?,
        at: Timestamp::from_micros(e.at_us),
        priority: e.priority,
    }))
}

fn child_started(c: pb::ChildStarted, large: Resolver<'_>) -> Result<Kind> {
    let child = ChildStart {
        execution: execution(&c.execution_id)?,
        workflow: c.workflow.into(),
        version: c.version.into(),
        input: decode_payload(c.input, large)?,
        detached: c.detached,
        budget: budget_of(c.budget.unwrap_or_default()),
        depth: c.depth,
        lent: c.lent,
    };
    Ok(Kind::ChildStarted { task: c.node, child: Arc::new(child) })
}

fn child_ended(c: pb::ChildEnded, large: Resolver<'_>) -> Result<Kind> {
    let outcome = match c.outcome.ok_or_else(|| missing("how the sub-workflow ended"))? {
        pb::child_ended::Outcome::Output(p) => ChildOutcome::Completed(decode_payload(Some(p), large)?),
        pb::child_ended::Outcome::Failed(f) => {
            ChildOutcome::Failed { class: failure(f.class)?, message: f.message.into() }
        }
    };
    let spent = Spending { calls: c.calls, tokens: c.tokens, money_micros: c.money_micros };
    Ok(Kind::ChildEnded { task: c.node, outcome, spent })
}

fn turn_ended(t: pb::TurnEnded, large: Resolver<'_>) -> Result<Kind> {
    let result = match t.result.ok_or_else(|| missing("what the turn gave"))? {
        pb::turn_ended::Result::Output(p) => TurnResult::Output(decode_payload(Some(p), large)?),
        pb::turn_ended::Result::Failed(f) => {
            TurnResult::Failed { class: failure(f.class)?, message: f.message.into() }
        }
    };
    Ok(Kind::TurnEnded { scope: t.node, turn: t.turn, result })
}

fn because(c: pb::CompensationStarted) -> Result<Because> {
    Ok(match c.because.ok_or_else(|| missing("why work is undone"))? {
        pb::compensation_started::Because::Failed(f) => {
            Because::Failed { class: failure(f.class)?, message: f.message.into() }
        }
        pb::compensation_started::Because::Cancelled(c) => {
            Because::Cancelled { by: c.by.into(), reason: c.reason.into() }
        }
    })
}

fn verdict(number: u32) -> Result<Verdict> {
    match number {
        1 => Ok(Verdict::Approved),
        2 => Ok(Verdict::Rejected),
        3 => Ok(Verdict::Answered),
        n => Err(LogError::unknown(format_args!("verdict {n}"))),
    }
}

/// Decodes a fact of schema 2.
pub(super) fn decode(kind: PbKind, large: Resolver<'_>) -> Result<Kind> {
    Ok(match kind {
        PbKind::TurnStarted(t) => Kind::TurnStarted {
            scope: t.node,
            turn: t.turn,
            item: some(t.item, large)?,
            carry: some(t.carry, large)?,
        },
        PbKind::TurnEnded(t) => turn_ended(t, large)?,
        PbKind::Routed(r) => {
            Kind::Routed { task: r.node, cases: r.cases.into_iter().map(Into::into).collect() }
        }
        PbKind::TaskCancelled(t) => Kind::TaskCancelled { task: t.node, reason: t.reason.into() },
        PbKind::TaskRecovered(t) => Kind::TaskRecovered {
            call: key(t.node, t.item),
            class: failure(t.class)?,
            message: t.message.into(),
            output: decode_payload(t.output, large)?,
        },
        PbKind::Picked(p) => Kind::Picked { task: p.node, name: p.name.into() },
        PbKind::WaitOpened(w) => Kind::WaitOpened {
            task: w.node,
            until: w.until_us.map(Timestamp::from_micros),
            key: w.key.map(Into::into),
        },
        PbKind::EventReceived(e) => Kind::EventReceived {
            event: user_event(e.event, large)?,
            expires: Timestamp::from_micros(e.expires_us),
        },
        PbKind::EventTaken(e) => Kind::EventTaken { tasks: e.nodes, event_id: e.event_id.into() },
        PbKind::SignalReceived(s) => Kind::SignalReceived {
            name: s.name.into(),
            payload: decode_payload(s.payload, large)?,
            id: s.id.into(),
            by: s.by.into(),
        },
        PbKind::ApprovalAsked(a) => Kind::ApprovalAsked { task: a.node, title: a.title.into() },
        PbKind::ApprovalEscalated(a) => Kind::ApprovalEscalated { task: a.node, step: a.step },
        PbKind::ApprovalDecided(a) => Kind::ApprovalDecided {
            task: a.node,
            verdict: verdict(a.verdict)?,
            by: a.by.into(),
            comment: a.comment.into(),
            form: some(a.form, large)?,
        },
        PbKind::StepGranted(s) => Kind::StepGranted { task: s.node, by: s.by.into() },
        PbKind::VariablesSet(v) => {
            Kind::VariablesSet { task: v.node, vars: decode_payload(v.vars, large)?, by: v.by.into() }
        }
        PbKind::EventEmitted(e) => Kind::EventEmitted { task: e.node, event: user_event(e.event, large)? },
        PbKind::EventPublished(e) => Kind::EventPublished { task: e.node },
        PbKind::ChildStarted(c) => child_started(c, large)?,
        PbKind::ChildAccepted(c) => Kind::ChildAccepted { task: c.node, version: c.version.into() },
        PbKind::ChildEnded(c) => child_ended(c, large)?,
        PbKind::ChildSettled(c) => Kind::ChildSettled {
            execution: execution(&c.execution_id)?,
            spent: Spending { calls: c.calls, tokens: c.tokens, money_micros: c.money_micros },
        },
        PbKind::Spent(s) => Kind::Spent {
            call: key(s.node, s.item),
            attempt: s.attempt,
            usage: Usage { tokens: s.tokens, money_micros: s.money_micros },
        },
        PbKind::CompensationStarted(c) => Kind::CompensationStarted { because: because(c)? },
        PbKind::TaskCompensating(t) => Kind::TaskCompensating { task: t.node },
        PbKind::TaskCompensated(t) => Kind::TaskCompensated { task: t.node },
        PbKind::CompensationFailed(c) => {
            Kind::CompensationFailed { task: c.node, class: failure(c.class)?, message: c.message.into() }
        }
        PbKind::Compensated(_) => Kind::Compensated,
        PbKind::PlanChanged(p) => Kind::PlanChanged(Arc::new(PlanChange::new(
            decode_payload(p.plan, large)?,
            p.revision,
            p.by.into(),
            p.reason.into(),
        ))),
        PbKind::Reset(r) => Kind::Reset {
            tasks: r.nodes,
            input: some(r.input, large)?,
            by: r.by.into(),
            reason: r.reason.into(),
        },
        PbKind::Seeded(s) => Kind::Seeded {
            from: execution(&s.execution_id)?,
            tasks: s
                .tasks
                .into_iter()
                .map(|seed| Ok(Seed { task: seed.node, output: some(seed.output, large)? }))
                .collect::<Result<_>>()?,
            vars: some(s.vars, large)?,
        },
        PbKind::ModeSwitched(m) => {
            Kind::ModeSwitched { task: m.node, topic: m.topic.map(Into::into), by: m.by.into() }
        }
        _ => return Err(LogError::new("a fact of schema 1 in the place of one of schema 2")),
    })
}

#[cfg(test)]
mod tests {
    use base::FailureClass;
    use uuid::Uuid;
    use workflow::{CallKey, Event};

    use super::*;
    use crate::log::{decode_row, encode_row, schema_of, since};

    fn id() -> ExecutionId {
        ExecutionId::new(Uuid::from_u128(7))
    }

    fn event() -> Arc<UserEvent> {
        Arc::new(UserEvent {
            id: "e1".into(),
            topic: "orders".into(),
            event_type: "created".into(),
            source: "shop".into(),
            key: "k".into(),
            payload: Payload::json_text("[1]"),
            at: Timestamp::from_millis(5),
            priority: -3,
        })
    }

    /// Every fact of schema 2, with and without its optional parts.
    fn facts() -> Vec<Kind> {
        let (by, words): (Arc<str>, Arc<str>) = ("ann".into(), "why not".into());
        let json = || Payload::json_text("{\"a\":1}");
        let (call, class) = (CallKey::new(3, 2), FailureClass::Budget);
        let failed = || TurnResult::Failed { class, message: words.clone() };
        let child = ChildStart {
            execution: id(),
            workflow: "w".into(),
            version: "^1".into(),
            input: json(),
            detached: true,
            budget: Budget { calls: 1, tokens: 2, money_micros: 3, depth: 4 },
            depth: 2,
            lent: true,
        };
        let spent = Spending { calls: 1, tokens: 2, money_micros: 3 };
        let refused = ChildOutcome::Failed { class, message: words.clone() };
        let (task, scope, turn) = (3, 3, 9);
        vec![
            Kind::TurnStarted { scope, turn, item: Some(json()), carry: None },
            Kind::TurnStarted { scope, turn, item: None, carry: Some(json()) },
            Kind::TurnEnded { scope, turn, result: TurnResult::Output(json()) },
            Kind::TurnEnded { scope, turn, result: failed() },
            Kind::Routed { task, cases: vec!["a".into(), "b".into()] },
            Kind::TaskCancelled { task, reason: words.clone() },
            Kind::TaskRecovered { call, class, message: words.clone(), output: json() },
            Kind::Picked { task, name: "bob".into() },
            Kind::WaitOpened { task, until: Some(Timestamp::from_micros(0)), key: None },
            Kind::WaitOpened { task, until: None, key: Some("".into()) },
            Kind::EventReceived { event: event(), expires: Timestamp::from_millis(9) },
            Kind::EventTaken { tasks: vec![0, 4], event_id: "e1".into() },
            Kind::SignalReceived { name: "go".into(), payload: json(), id: "1".into(), by: by.clone() },
            Kind::ApprovalAsked { task, title: "sure?".into() },
            Kind::ApprovalEscalated { task, step: 1 },
            Kind::StepGranted { task, by: by.clone() },
            Kind::VariablesSet { task: Some(0), vars: json(), by: by.clone() },
            Kind::VariablesSet { task: None, vars: json(), by: by.clone() },
            Kind::EventEmitted { task, event: event() },
            Kind::EventPublished { task },
            Kind::ChildStarted { task, child: Arc::new(child) },
            Kind::ChildAccepted { task, version: "1.2".into() },
            Kind::ChildEnded { task, outcome: ChildOutcome::Completed(json()), spent },
            Kind::ChildEnded { task, outcome: refused, spent: Spending::default() },
            Kind::ChildSettled { execution: id(), spent },
            Kind::Spent { call, attempt: 1, usage: Usage { tokens: 5, money_micros: 6 } },
            Kind::CompensationStarted { because: Because::Failed { class, message: words.clone() } },
            Kind::CompensationStarted {
                because: Because::Cancelled { by: by.clone(), reason: words.clone() },
            },
            Kind::TaskCompensating { task },
            Kind::TaskCompensated { task },
            Kind::CompensationFailed { task, class, message: words.clone() },
            Kind::Compensated,
            Kind::PlanChanged(Arc::new(PlanChange::new(json(), 2, by.clone(), words.clone()))),
            Kind::Reset { tasks: vec![1, 2], input: Some(json()), by: by.clone(), reason: words.clone() },
            Kind::Reset { tasks: vec![], input: None, by: by.clone(), reason: "".into() },
            Kind::Seeded {
                from: id(),
                tasks: vec![Seed { task: 0, output: None }, Seed { task: 1, output: Some(json()) }],
                vars: Some(json()),
            },
            Kind::ModeSwitched { task, topic: Some("orders".into()), by: by.clone() },
            Kind::ModeSwitched { task, topic: None, by: by.clone() },
            Kind::TaskFailed { call, class, message: words.clone(), tolerated: true, spared: true },
            Kind::ApprovalDecided {
                task,
                verdict: Verdict::Answered,
                by: by.clone(),
                comment: words.clone(),
                form: Some(json()),
            },
            Kind::ApprovalDecided { task, verdict: Verdict::Rejected, by, comment: words, form: None },
        ]
    }

    #[test]
    fn every_fact_reads_back_as_written_and_names_its_schema() {
        for kind in facts() {
            let first = if matches!(kind, Kind::ChildSettled { .. }) { 3 } else { 2 };
            assert_eq!(since(&kind), first, "{kind:?}");
            let events = vec![Event { at: Timestamp::from_millis(1), kind }];
            assert_eq!(schema_of(&events), first);
            let (row, large) = encode_row(&events, usize::MAX);
            assert!(large.is_empty());
            assert_eq!(decode_row(row, &|_| None).unwrap(), events);
        }
        assert_eq!(schema_of(&[Event { at: Timestamp::default(), kind: Kind::Admitted }]), 1);
    }

    #[test]
    fn a_fact_that_lacks_what_it_needs_is_refused() {
        let row = |kind| {
            Bytes::from(prost::Message::encode_to_vec(&pb::Row {
                events: vec![pb::Event { at_us: 1, kind: Some(kind) }],
            }))
        };
        for (kind, what) in [
            (PbKind::TurnEnded(pb::TurnEnded::default()), "what the turn gave"),
            (PbKind::ChildEnded(pb::ChildEnded::default()), "how the sub-workflow ended"),
            (PbKind::EventReceived(pb::EventReceived::default()), "the event"),
            (PbKind::CompensationStarted(pb::CompensationStarted::default()), "why work is undone"),
            (PbKind::ApprovalDecided(pb::ApprovalDecided::default()), "verdict 0"),
        ] {
            let error = decode_row(row(kind), &|_| None).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
