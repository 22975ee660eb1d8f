//! Triggers, compiled: which of them an event starts, and what.

use std::{collections::HashMap, sync::Arc};

use api::Fault;
use base::{ErrorCode, ExecutionId, Payload, Tenant};
use expr::{Expr, Scope, Template};
use proto::executor::v1 as pb;
use serde_json::Value;
use store::topics::{EventRow, TriggerRow};
use uuid::Uuid;

use super::event;

/// What happens while the only execution that a workflow allows runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBusy {
    Wait,
    Skip,
}

/// A trigger that can be asked.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) row: TriggerRow,
    pub(crate) on_busy: OnBusy,
    filter: Option<Expr>,
    key: Option<Expr>,
    input: Option<Template>,
}

impl Trigger {
    /// Compiles its expressions; errors name the field.
    pub(crate) fn compile(row: TriggerRow) -> Result<Self, Fault> {
        let expr = |field: &str, text: &str| match text {
            "" => Ok(None),
            text => Expr::compile(text).map(Some).map_err(|e| Fault::bad(field, e)),
        };
        let input = match &row.input {
            None => None,
            Some(text) => {
                let value: Value = serde_json::from_str(text)
                    .map_err(|e| Fault::bad("input", format!("is not JSON: {e}")))?;
                Some(Template::compile(&value).map_err(|e| Fault::bad("input", e))?)
            }
        };
        let on_busy = match row.on_busy.as_str() {
            "wait" => OnBusy::Wait,
            "skip" => OnBusy::Skip,
            other => return Err(Fault::bad("on_busy", format!("{other:?} is neither wait nor skip"))),
        };
        let (filter, key) = (expr("filter", &row.filter)?, expr("key", &row.key)?);
        for (field, read) in [("filter", &filter), ("key", &key)] {
            only_event(field, read.as_ref().map_or(&[], Expr::references))?;
        }
        only_event("input", &input.as_ref().map(Template::references).unwrap_or_default())?;
        Ok(Self { row, on_busy, filter, key, input })
    }

    /// Whether it takes the event. An expression that cannot be evaluated over this event does not match it.
    pub(crate) fn matches(&self, row: &EventRow, scope: &Scope) -> bool {
        if row.event.at < self.row.since {
            return false;
        }
        let Some(filter) = &self.filter else { return true };
        filter.eval_bool(scope).unwrap_or_else(|error| {
            tracing::debug!(trigger = %self.row.name, event = %row.event.id, %error, "a filter does not apply");
            false
        })
    }

    /// The execution that an event starts: the same for every delivery of it.
    pub(crate) fn execution(&self, row: &EventRow, scope: &Scope) -> Result<ExecutionId, Fault> {
        let own = match &self.key {
            None => format!("event/{}", row.event.id),
            Some(key) => match key.eval(scope).map_err(|e| Fault::bad("key", e))? {
                Value::String(text) => format!("key/{text}"),
                other => format!("key/{other}"),
            },
        };
        let name = format!("trigger/{}/{}/{own}", row.event.tenant, self.row.id);
        Ok(ExecutionId::new(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())))
    }

    /// The start of that execution.
    pub(crate) fn request(
        &self,
        row: &EventRow,
        scope: &Scope,
        id: ExecutionId,
    ) -> Result<pb::StartExecutionRequest, Fault> {
        let input = match &self.input {
            None => api::payload::to_wire(&Payload::new(
                row.event.media_type.as_str().into(),
                row.event.payload.clone(),
            )),
            Some(template) => {
                let value = template.render(scope).map_err(|e| Fault::bad("input", e))?;
                api::payload::to_wire(&Payload::from_value(&value))
            }
        };
        let metadata = serde_json::json!({
            "trigger": self.row.name, "trigger_id": self.row.id.to_string(), "event_id": row.event.id,
            "topic": row.event.topic, "correlation_key": row.event.key,
        });
        Ok(pb::StartExecutionRequest {
            workflow: self.row.workflow.clone(),
            input: Some(input),
            execution_id: id.to_string(),
            priority: self.row.priority.unwrap_or(row.event.priority),
            metadata_json: metadata.to_string(),
            ..pb::StartExecutionRequest::default()
        })
    }
}

fn only_event(field: &str, read: &[expr::Path]) -> Result<(), Fault> {
    match read.iter().filter_map(|path| path.first()).find(|root| *root != "event") {
        None => Ok(()),
        Some(other) => Err(Fault::bad(
            field,
            format!(
                "reads {other:?}; a trigger knows `event` only (id, topic, type, source, key, priority, payload, at)"
            ),
        )),
    }
}

/// What expressions of triggers see.
pub(crate) fn scope(row: &EventRow) -> Scope {
    Scope::new().with("event", event::value(&row.event))
}

/// All running triggers at one revision.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    pub(crate) revision: i64,
    by_topic: HashMap<(Tenant, String), Vec<Arc<Trigger>>>,
    by_id: HashMap<Uuid, Arc<Trigger>>,
}

impl Matcher {
    /// Compiles what was stored. A row that this build cannot read is left out and said.
    pub(crate) fn new(revision: i64, rows: Vec<TriggerRow>) -> Self {
        let mut matcher = Self { revision, ..Self::default() };
        for row in rows {
            let (id, name, topic) = (row.id, row.name.clone(), (row.tenant.clone(), row.topic.clone()));
            match Trigger::compile(row) {
                Ok(trigger) => {
                    let trigger = Arc::new(trigger);
                    matcher.by_topic.entry(topic).or_default().push(trigger.clone());
                    matcher.by_id.insert(id, trigger);
                }
                Err(error) => tracing::error!(trigger = %name, %error, "a stored trigger cannot be used"),
            }
        }
        matcher
    }

    pub(crate) fn of(&self, tenant: &Tenant, topic: &str) -> &[Arc<Trigger>] {
        self.by_topic.get(&(tenant.clone(), topic.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn by_id(&self, id: Uuid) -> Option<&Arc<Trigger>> {
        self.by_id.get(&id)
    }
}

/// What was wrong with a start that no retry mends.
pub(crate) fn is_final(fault: &Fault) -> bool {
    !crate::starts::passes(fault) && fault.code != ErrorCode::AlreadyExecuting
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use store::topics::NewEvent;

    use super::*;

    fn row(filter: &str, key: &str, input: Option<&str>) -> TriggerRow {
        TriggerRow {
            tenant: Tenant::default(),
            id: Uuid::from_u128(7),
            name: "t".into(),
            workflow: "w".into(),
            workflow_version: String::new(),
            topic: "orders".into(),
            filter: filter.into(),
            key: key.into(),
            input: input.map(str::to_owned),
            priority: None,
            on_busy: "wait".into(),
            paused: false,
            since: Timestamp::from_millis(5),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }

    fn event(id: &str, at_ms: i64, payload: &str) -> EventRow {
        EventRow {
            pos: 1,
            event: NewEvent {
                tenant: Tenant::default(),
                id: id.into(),
                partition: 0,
                topic: "orders".into(),
                kind: "order.placed".into(),
                source: "shop".into(),
                key: "k".into(),
                priority: 3,
                media_type: base::payload::JSON.into(),
                payload: payload.to_owned().into(),
                trace: String::new(),
                at: Timestamp::from_millis(at_ms),
            },
        }
    }

    #[test]
    fn filters_decide_which_events_count() {
        for (name, filter, at, payload, want) in [
            ("no filter takes all", "", 5, "1", true),
            ("what came before does not count", "", 4, "1", false),
            ("a true filter", "event.payload.n > 1 && event.key == 'k'", 9, "{\"n\":2}", true),
            ("a false filter", "event.payload.n > 1", 9, "{\"n\":1}", false),
            ("what is not there does not match", "event.payload.n > 1", 9, "{}", false),
            ("a payload of another kind does not match", "event.payload.n > 1", 9, "[]", false),
        ] {
            let trigger = Trigger::compile(row(filter, "", None)).unwrap();
            let event = event("e", at, payload);
            assert_eq!(trigger.matches(&event, &scope(&event)), want, "{name}");
        }
    }

    #[test]
    fn an_event_names_its_execution_and_a_key_joins_events() {
        let of = |key: &str, id: &str| {
            let event = event(id, 9, "{\"order\": 5}");
            Trigger::compile(row("", key, None)).unwrap().execution(&event, &scope(&event)).unwrap()
        };
        assert_eq!(of("", "a"), of("", "a"));
        assert_ne!(of("", "a"), of("", "b"));
        assert_eq!(of("event.payload.order", "a"), of("event.payload.order", "b"));
        assert_ne!(of("event.payload.order", "a"), of("event.id", "a"));
    }

    #[test]
    fn an_input_is_made_from_the_event_or_is_its_payload() {
        let event = event("a", 9, "{\"order\": 5}");
        let request = |input: Option<&str>| {
            let trigger = Trigger::compile(row("", "", input)).unwrap();
            trigger.request(&event, &scope(&event), ExecutionId::new(Uuid::nil())).unwrap()
        };
        let text = |r: &pb::StartExecutionRequest| api::payload::from_wire(r.input.clone(), "").unwrap();
        assert_eq!(text(&request(None)), Payload::json_text("{\"order\": 5}"));
        let made = request(Some("{\"id\": \"${ event.payload.order }\", \"by\": \"${ event.source }\"}"));
        assert_eq!(*text(&made).json().unwrap(), serde_json::json!({"id": 5, "by": "shop"}));
        assert_eq!(made.priority, 3);
    }

    #[test]
    fn what_a_trigger_cannot_know_is_refused_by_field() {
        for (filter, key, input, field) in [
            ("tasks.a.output", "", None, "filter"),
            ("event.", "", None, "filter"),
            ("", "input.x", None, "key"),
            ("", "", Some("\"${ vars.x }\""), "input"),
            ("", "", Some("{"), "input"),
        ] {
            assert_eq!(Trigger::compile(row(filter, key, input)).unwrap_err().field, field);
        }
        let bad = TriggerRow { on_busy: "panic".into(), ..row("", "", None) };
        assert_eq!(Trigger::compile(bad).unwrap_err().field, "on_busy");
    }
}
