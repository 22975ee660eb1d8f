//! What a call reported, as it travels from the member that made it to the owner of its execution.

use std::{sync::Arc, time::Duration};

use base::{FailureClass, Payload};
use bytes::Bytes;
use prost::Message as _;
use proto::log::v1::{self as pb, call_result::Kind};
use workflow::Usage;

use super::{LogError, class_number, class_of, decode_payload, encode_payload};

/// What a call reported. Payloads travel whole.
#[derive(Clone, Debug, PartialEq)]
pub enum CallResult {
    /// The agent has named it; its end is still to come.
    Bound {
        /// Its task at the agent.
        agent_task_id: Arc<str>,
        /// Its context at the agent.
        context_id: Arc<str>,
    },
    /// It was cut; only what it cost is told.
    Used,
    /// The output.
    Done(Payload),
    /// It failed.
    Failed {
        /// Class.
        class: FailureClass,
        /// Words.
        message: String,
        /// Whether it is known that the agent did not and will not do the work.
        outcome_known: bool,
        /// The agent asks to wait this long.
        retry_after: Option<Duration>,
    },
    /// The agent asks for input.
    Input {
        /// What it asks.
        prompt: Payload,
        /// Its task at the agent.
        agent_task_id: Arc<str>,
        /// Its context at the agent.
        context_id: Arc<str>,
    },
}

/// How long a call took and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCost {
    /// Microseconds.
    pub call_us: u64,
    /// As the agent says.
    pub usage: Usage,
}

/// Encodes a report.
pub fn encode_result(result: &CallResult, cost: CallCost) -> Bytes {
    let kind = match result {
        CallResult::Bound { agent_task_id, context_id } => Kind::Bound(pb::CallBound {
            agent_task_id: agent_task_id.to_string(),
            context_id: context_id.to_string(),
        }),
        CallResult::Used => Kind::Used(pb::CallUsed {}),
        CallResult::Done(output) => Kind::Done(pb::CallDone { output: Some(encode_payload(output)) }),
        CallResult::Failed { class, message, outcome_known, retry_after } => Kind::Failed(pb::CallFailed {
            class: class_number(*class),
            message: message.clone(),
            outcome_known: *outcome_known,
            retry_after_us: retry_after.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
        }),
        CallResult::Input { prompt, agent_task_id, context_id } => Kind::Input(pb::CallInput {
            prompt: Some(encode_payload(prompt)),
            agent_task_id: agent_task_id.to_string(),
            context_id: context_id.to_string(),
        }),
    };
    let CallCost { call_us, usage: Usage { tokens, money_micros } } = cost;
    Bytes::from(pb::CallResult { kind: Some(kind), call_us, tokens, money_micros }.encode_to_vec())
}

/// Decodes a report and what the call cost.
///
/// # Errors
/// Bytes that are no report, or a report of a newer build.
pub fn decode_result(bytes: Bytes) -> Result<(CallResult, CallCost), LogError> {
    let found = pb::CallResult::decode(bytes).map_err(|e| LogError::new(e.to_string()))?;
    let kind = found.kind.ok_or_else(|| LogError::unknown("the kind of a report"))?;
    let result = match kind {
        Kind::Bound(b) => {
            CallResult::Bound { agent_task_id: b.agent_task_id.into(), context_id: b.context_id.into() }
        }
        Kind::Used(pb::CallUsed {}) => CallResult::Used,
        Kind::Done(d) => CallResult::Done(decode_payload(d.output, &|_| None)?),
        Kind::Failed(f) => CallResult::Failed {
            class: class_of(f.class)
                .ok_or_else(|| LogError::unknown(format_args!("failure class {}", f.class)))?,
            message: f.message,
            outcome_known: f.outcome_known,
            retry_after: (f.retry_after_us > 0).then(|| Duration::from_micros(f.retry_after_us)),
        },
        Kind::Input(i) => CallResult::Input {
            prompt: decode_payload(i.prompt, &|_| None)?,
            agent_task_id: i.agent_task_id.into(),
            context_id: i.context_id.into(),
        },
    };
    let usage = Usage { tokens: found.tokens, money_micros: found.money_micros };
    Ok((result, CallCost { call_us: found.call_us, usage }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_back_as_written() {
        let names = (Arc::<str>::from("task-1"), Arc::<str>::from("context-1"));
        for result in [
            CallResult::Bound { agent_task_id: names.0.clone(), context_id: names.1.clone() },
            CallResult::Used,
            CallResult::Done(Payload::json_text(Bytes::from_static(b"{\"a\":1}"))),
            CallResult::Failed {
                class: FailureClass::RateLimited,
                message: "slow down".into(),
                outcome_known: true,
                retry_after: Some(Duration::from_millis(1500)),
            },
            CallResult::Input {
                prompt: Payload::json_text(Bytes::from_static(b"\"which?\"")),
                agent_task_id: names.0.clone(),
                context_id: names.1.clone(),
            },
        ] {
            let cost = CallCost { call_us: 17, usage: Usage { tokens: 5, money_micros: 9 } };
            assert_eq!(decode_result(encode_result(&result, cost)).unwrap(), (result, cost));
        }
    }

    #[test]
    fn a_report_of_another_build_is_refused() {
        assert!(decode_result(Bytes::from_static(b"\xff\xff")).is_err());
        assert!(decode_result(Bytes::new()).is_err(), "no kind");
    }
}
