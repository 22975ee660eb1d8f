//! The event that ends a workflow execution of Temporal.

use base::FailureClass;
use temporalio_common::protos::temporal::api::{
    failure::v1::{Failure, failure::FailureInfo},
    history::v1::{HistoryEvent, history_event::Attributes},
};

use crate::engine::End;

use super::convert;

/// What the newest event says.
pub(super) enum Seen {
    /// It has not ended.
    Nothing,
    /// It goes on as another run of the same workflow id.
    GoesOnAs(String),
    /// It ended.
    Ended(End),
}

pub(super) fn of(event: &HistoryEvent) -> Seen {
    let next = |id: &str, end: End| match id {
        "" => Seen::Ended(end),
        id => Seen::GoesOnAs(id.to_owned()),
    };
    match &event.attributes {
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(a)) => {
            let end = match convert::result(a.result.clone()) {
                Ok(output) => End::Completed(output),
                Err(message) => End::Failed { class: FailureClass::InvalidOutput, message },
            };
            next(&a.new_execution_run_id, end)
        }
        Some(Attributes::WorkflowExecutionFailedEventAttributes(a)) => {
            let failure = a.failure.clone().unwrap_or_default();
            next(&a.new_execution_run_id, End::Failed { class: class(&failure), message: words(&failure) })
        }
        Some(Attributes::WorkflowExecutionTimedOutEventAttributes(a)) => {
            next(&a.new_execution_run_id, End::TimedOut)
        }
        Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(a)) => {
            Seen::GoesOnAs(a.new_execution_run_id.clone())
        }
        Some(Attributes::WorkflowExecutionCanceledEventAttributes(_)) => Seen::Ended(End::Cancelled),
        Some(Attributes::WorkflowExecutionTerminatedEventAttributes(a)) => {
            Seen::Ended(End::Terminated(a.reason.clone()))
        }
        _ => Seen::Nothing,
    }
}

/// What is marked as not worth repeating is a refusal, everything else an error that may be retried.
fn class(failure: &Failure) -> FailureClass {
    let mut at = Some(failure);
    while let Some(failure) = at {
        match &failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) if info.non_retryable => {
                return FailureClass::Rejected;
            }
            Some(FailureInfo::TimeoutFailureInfo(_)) => return FailureClass::Timeout,
            _ => at = failure.cause.as_deref(),
        }
    }
    FailureClass::Error
}

/// The message with those of its causes.
fn words(failure: &Failure) -> String {
    let mut all = vec![failure.message.clone()];
    let mut at = failure.cause.as_deref();
    while let Some(cause) = at {
        all.push(cause.message.clone());
        at = cause.cause.as_deref();
    }
    all.retain(|message| !message.is_empty());
    all.join(": ")
}

#[cfg(test)]
mod tests {
    use temporalio_common::protos::temporal::api::{
        failure::v1::ApplicationFailureInfo,
        history::v1::{
            WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionFailedEventAttributes,
        },
    };

    use super::*;

    fn application(message: &str, non_retryable: bool) -> Failure {
        let info = ApplicationFailureInfo { non_retryable, ..ApplicationFailureInfo::default() };
        let failure_info = Some(FailureInfo::ApplicationFailureInfo(info));
        Failure { message: message.into(), failure_info, ..Failure::default() }
    }

    #[test]
    fn a_failure_tells_its_causes_and_whether_it_may_be_retried() {
        let cause = application("the card was refused", true);
        let whole =
            Failure { message: "activity error".into(), cause: Some(Box::new(cause)), ..Failure::default() };
        let attributes =
            WorkflowExecutionFailedEventAttributes { failure: Some(whole), ..Default::default() };
        let attributes = Some(Attributes::WorkflowExecutionFailedEventAttributes(attributes));
        let Seen::Ended(end) = of(&HistoryEvent { attributes, ..HistoryEvent::default() }) else {
            panic!("it ended");
        };
        let message = "activity error: the card was refused".to_owned();
        assert_eq!(end, End::Failed { class: FailureClass::Rejected, message });
        assert_eq!(class(&application("busy", false)), FailureClass::Error);
    }

    #[test]
    fn a_run_that_continues_as_new_has_not_ended() {
        let attributes = WorkflowExecutionContinuedAsNewEventAttributes {
            new_execution_run_id: "next".into(),
            ..Default::default()
        };
        let attributes = Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(attributes));
        let seen = of(&HistoryEvent { attributes, ..HistoryEvent::default() });
        assert!(matches!(seen, Seen::GoesOnAs(id) if id == "next"));
    }
}
