//! Brings what calls of this process reported to whoever owns their executions now.
//!
//! The process that made a call owns it, not the shard: when a shard moves, its calls go on and their results follow.
//! A report is repeated until the owner has it on disk. When this process dies first, the owner finds the caller dead
//! and asks the agent itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use api::log::{CallCost, CallResult, decode_result, encode_result};
use base::{ErrorCode, ExecutionId};
use bytes::Bytes;
use proto::executor::internal::v1 as pb;
use tokio::sync::mpsc;
use workflow::CallKey;

use super::{Inner, map::Place};
use crate::{
    call::CallOutcome,
    engine::{CallReport, Elsewhere, ForeignReport},
};

/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Tries of what may get lost: the agent's name for a call, and aborts.
const SMALL_TRIES: u32 = 20;

pub(crate) enum Errand {
    Bring(ForeignReport),
    Look(Vec<u16>),
    Abort { member: Arc<str>, id: ExecutionId, call: CallKey, attempt: u32 },
}

/// The lanes' side. Bounded by the calls in flight.
pub(crate) struct Courier {
    errands: mpsc::UnboundedSender<Errand>,
    open: Arc<AtomicUsize>,
}

impl Courier {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Errand>) {
        let (errands, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { errands, open: Arc::default() }), receiver)
    }

    /// Reports that are not where they belong yet.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn send(&self, errand: Errand) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if self.errands.send(errand).is_err() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Elsewhere for Courier {
    fn bring(&self, report: ForeignReport) {
        self.send(Errand::Bring(report));
    }
    fn look(&self, shards: Vec<u16>) {
        self.send(Errand::Look(shards));
    }
    fn abort(&self, member: &str, id: ExecutionId, call: CallKey, attempt: u32) {
        self.send(Errand::Abort { member: member.into(), id, call, attempt });
    }
}

/// Runs errands until the cluster stops.
pub(crate) async fn run(inner: Arc<Inner>, mut errands: mpsc::UnboundedReceiver<Errand>) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            () = inner.stopped() => return,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            errand = errands.recv() => {
                let Some(errand) = errand else { return };
                let inner = inner.clone();
                open.spawn(async move {
                    match errand {
                        Errand::Bring(report) => inner.bring(report).await,
                        Errand::Look(shards) => inner.look_into(&shards).await,
                        Errand::Abort { member, id, call, attempt } => inner.tell_abort(&member, id, call, attempt).await,
                    }
                    inner.courier.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
    }
}

impl Inner {
    async fn bring(&self, report: ForeignReport) {
        let may_get_lost = !matches!(report.report, CallReport::Done { .. } | CallReport::Used { .. });
        let Some(encoded) = encode(&report.report) else { return };
        let (mut pause, mut tries) = (PAUSE.0, 0);
        loop {
            let again = match self.place_of(report.id) {
                Place::Here => self.engine.deliver(report.clone()).await.err(),
                Place::At(owner) => {
                    let request = pb::DeliverResultRequest {
                        execution_id: report.id.to_string(),
                        node: report.call.task,
                        item: report.call.item,
                        attempt: report.attempt,
                        result: encoded.clone(),
                    };
                    self.others.deliver(&owner.address, request).await.err()
                }
                Place::Nobody => Some(api::Fault::new(ErrorCode::NotOwner, "the shard is on its way")),
            };
            let Some(error) = again else { return };
            tries += 1;
            if !error.code.is_retryable() && error.code != ErrorCode::NotOwner {
                tracing::error!(execution = %report.id, %error, "the owner refuses a call's result");
                return;
            }
            if may_get_lost && tries >= SMALL_TRIES {
                return;
            }
            if error.code == ErrorCode::NotOwner {
                self.look_again();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn tell_abort(&self, member: &str, id: ExecutionId, call: CallKey, attempt: u32) {
        for _ in 0..SMALL_TRIES {
            // A member that is gone has no calls.
            let Some(member) = self.map.load().member(member).cloned() else { return };
            let (node, item) = (call.task, call.item);
            let request = pb::AbortCallRequest { execution_id: id.to_string(), node, item, attempt };
            match self.others.abort(&member.address, request).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "a member could not be told to end a call"),
            }
            tokio::time::sleep(PAUSE.1).await;
        }
    }
}

fn encode(report: &CallReport) -> Option<Bytes> {
    let (result, cost) = match report.clone() {
        CallReport::Progress { .. } => return None,
        CallReport::Bound { agent_task_id, context_id } => {
            (CallResult::Bound { agent_task_id, context_id }, CallCost::default())
        }
        CallReport::Used { usage } => (CallResult::Used, CallCost { usage, ..CallCost::default() }),
        CallReport::Done { outcome, cost } => match outcome {
            CallOutcome::Completed(output) => (CallResult::Done(output), cost),
            CallOutcome::Failed { class, message, outcome_known, retry_after } => {
                (CallResult::Failed { class, message, outcome_known, retry_after }, cost)
            }
            CallOutcome::InputRequired { prompt, agent_task_id, context_id } => {
                (CallResult::Input { prompt, agent_task_id, context_id }, cost)
            }
        },
    };
    Some(encode_result(&result, cost))
}

/// Reads what another member brought.
pub(crate) fn decode(bytes: Bytes) -> Result<CallReport, api::Fault> {
    let (result, cost) = decode_result(bytes).map_err(|e| api::Fault::bad("result", e))?;
    let outcome = match result {
        CallResult::Bound { agent_task_id, context_id } => {
            return Ok(CallReport::Bound { agent_task_id, context_id });
        }
        CallResult::Used => return Ok(CallReport::Used { usage: cost.usage }),
        CallResult::Done(output) => CallOutcome::Completed(output),
        CallResult::Failed { class, message, outcome_known, retry_after } => {
            CallOutcome::Failed { class, message, outcome_known, retry_after }
        }
        CallResult::Input { prompt, agent_task_id, context_id } => {
            CallOutcome::InputRequired { prompt, agent_task_id, context_id }
        }
    };
    Ok(CallReport::Done { outcome, cost })
}
