//! Executions, tasks and calls that have ended, told once that is on disk: as spans under the caller's trace, and as log
//! records of the target [`TARGET`]. Both are made from the facts, so that nothing is held while an execution runs, and
//! ids follow from what a span is about, so that whichever replica sees the end names the same parents.

use std::sync::Arc;

use base::Timestamp;
use runtime::{PastSpan, Spans, trace::TraceParent};
use tracing::Level;
use workflow::{CallKey, Event, Kind, State, Status};

use super::{Engine, EngineShared, hot::After, kinds::WrittenAs, present::attempt_of};

/// Target of the log records: `debug` there shows every operation that ended.
pub(super) const TARGET: &str = "orchestra::operation";

impl Engine {
    /// Where spans of what ended go; only the first time counts. Before the first [`Engine::acquire`].
    pub fn use_spans(&self, spans: Spans) {
        let _ = self.shared.spans.set(spans);
    }
}

impl EngineShared {
    fn traced(&self, state: &State) -> Option<(Spans, TraceParent)> {
        let spans = self.spans.get()?;
        Some((spans.clone(), spans.sampled(&state.created().trace)?))
    }

    /// Tells what these events ended; `None` when nobody wants to know. `ended`: the execution's end is among them.
    pub(super) fn ended_operations(&self, state: &State, events: &[Event], ended: bool) -> Option<After> {
        let traced = self.traced(state);
        let logged = tracing::enabled!(target: TARGET, Level::DEBUG);
        if traced.is_none() && !logged {
            return None;
        }
        let mut found: Vec<Operation> = events.iter().flat_map(|event| of_event(state, event)).collect();
        found.extend(ended.then(|| of_execution(state)));
        let about = Arc::new(About::of(state));
        (!found.is_empty()).then(|| -> After {
            Box::new(move || {
                for operation in found {
                    if logged {
                        operation.log(&about);
                    }
                    if let Some((spans, trace)) = &traced {
                        spans.record(operation.span(&about, *trace));
                    }
                }
            })
        })
    }

    /// The `traceparent` that a call carries: its own span's when that is exported, else the start's.
    pub(super) fn trace_of_call(&self, state: &State, call: CallKey) -> Arc<str> {
        match (self.traced(state), state.call(call)) {
            (Some((_, trace)), Some(open)) => {
                let id = Part::Call(call, open.attempt).id(state.id().as_bytes());
                TraceParent { span_id: id, ..trace }.to_string().into()
            }
            _ => state.created().trace.clone(),
        }
    }
}

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Execution,
    Task(u32),
    Call(CallKey, u32),
}

impl Part {
    /// Of its span, never 0.
    fn id(self, execution: &[u8]) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(execution);
        match self {
            Self::Execution => {}
            Self::Task(task) => drop(hasher.update(&task.to_le_bytes())),
            Self::Call(call, attempt) => {
                for number in [call.task, call.item, attempt] {
                    hasher.update(&number.to_le_bytes());
                }
            }
        }
        let mut id = [0; 8];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_be_bytes(id).max(1)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Execution => "execution",
            Self::Task(_) => "task",
            Self::Call(..) => "call",
        }
    }
}

/// Something that ended.
#[derive(Clone, Debug, PartialEq)]
struct Operation {
    part: Part,
    start: Timestamp,
    end: Timestamp,
    task: Option<String>,
    agent: Option<String>,
    status: &'static str,
    error: Option<String>,
}

/// What all operations of an execution have in common.
struct About {
    execution: base::ExecutionId,
    workflow: String,
    written_as: WrittenAs,
    name: Arc<str>,
    trace: Option<TraceParent>,
}

impl About {
    fn of(state: &State) -> Self {
        let created = state.created();
        Self {
            execution: state.id(),
            workflow: format!("{}@{}", created.workflow_name, created.workflow_version),
            written_as: WrittenAs::of(state),
            name: created.workflow_name.clone(),
            trace: created.trace.parse().ok(),
        }
    }

    fn name_as(&self, kind: WrittenAs) -> Option<&str> {
        (self.written_as == kind).then_some(&*self.name)
    }
}

fn of_execution(state: &State) -> Operation {
    let status = state.status();
    let cause = || state.causes().last().map(|c| format!("{}: {}", c.class.as_str(), c.message));
    Operation {
        part: Part::Execution,
        start: state.created_at(),
        end: state.ended_at().unwrap_or_else(|| state.time()),
        task: None,
        agent: None,
        status: status.as_str(),
        error: (status != Status::Completed).then(|| cause().unwrap_or_else(|| status.as_str().to_owned())),
    }
}

fn of_event(state: &State, event: &Event) -> Vec<Operation> {
    let failed = |class: &base::FailureClass, text: &str| Some(format!("{}: {text}", class.as_str()));
    match &event.kind {
        Kind::AttemptFailed { call, class, message, call_us, .. } => {
            let attempt = attempt_of(state, *call, event.at).unwrap_or_default();
            of_call(state, *call, attempt, event.at, *call_us, failed(class, message)).into_iter().collect()
        }
        Kind::ItemCompleted { call, call_us, .. } => {
            of_call(state, *call, newest(state, *call), event.at, *call_us, None).into_iter().collect()
        }
        Kind::TaskCompleted { task, call_us, .. } => {
            let (call, own) = (CallKey::new(*task, 0), state.tasks().get(*task as usize));
            // The calls of a scattered task ended with their items.
            let alone = own.is_some_and(|t| !t.scattered);
            let call = alone.then(|| of_call(state, call, newest(state, call), event.at, *call_us, None));
            call.flatten().into_iter().chain([of_task(state, *task, event.at, None)]).collect()
        }
        Kind::TaskFailed { call, class, message, .. } => {
            vec![of_task(state, call.task, event.at, failed(class, message))]
        }
        _ => Vec::new(),
    }
}

fn newest(state: &State, call: CallKey) -> u32 {
    state.call(call).map_or(0, |c| c.attempt)
}

fn of_task(state: &State, task: u32, end: Timestamp, error: Option<String>) -> Operation {
    Operation {
        part: Part::Task(task),
        start: state.tasks().get(task as usize).and_then(|t| t.scheduled_at).unwrap_or(end),
        end,
        task: Some(state.task_path(task)),
        agent: None,
        status: if error.is_some() { "failed" } else { "completed" },
        error,
    }
}

/// `None` when nobody was called: the task is worked on by the engine itself.
fn of_call(
    state: &State,
    call: CallKey,
    attempt: u32,
    end: Timestamp,
    call_us: u64,
    error: Option<String>,
) -> Option<Operation> {
    if attempt == 0 {
        return None;
    }
    let blamed = || state.causes().iter().rev().find(|c| c.call == Some(call) && c.at == end);
    let of_cause = error.as_ref().and_then(|_| blamed()?.agent.as_deref().map(str::to_owned));
    let current = || Some(state.call(call)?.current.as_ref()?.to.agent.to_string());
    Some(Operation {
        part: Part::Call(call, attempt),
        start: Timestamp::from_micros(end.micros() - i64::try_from(call_us).unwrap_or_default()),
        end,
        task: Some(state.task_path(call.task)),
        agent: of_cause.or_else(current),
        status: if error.is_some() { "failed" } else { "completed" },
        error,
    })
}

impl Operation {
    fn span(&self, about: &About, trace: TraceParent) -> PastSpan {
        let id = |part: Part| part.id(about.execution.as_bytes());
        let parent = match self.part {
            Part::Execution => trace,
            Part::Task(_) => TraceParent { span_id: id(Part::Execution), ..trace },
            Part::Call(call, _) => TraceParent { span_id: id(Part::Task(call.task)), ..trace },
        };
        let mut attributes = vec![
            ("operation", self.part.name().to_owned()),
            ("workflow", about.workflow.clone()),
            ("execution.id", about.execution.to_string()),
            ("duration_ms", self.duration_ms().to_string()),
            ("status", self.status.to_owned()),
        ];
        let more = [
            ("chain.name", about.name_as(WrittenAs::Chain)),
            ("graph.name", about.name_as(WrittenAs::Graph)),
            ("task.id", self.task.as_deref()),
            ("agent.id", self.agent.as_deref()),
        ];
        attributes.extend(more.into_iter().filter_map(|(key, value)| Some((key, value?.to_owned()))));
        if let Part::Call(call, attempt) = self.part {
            attributes.extend([("attempt", attempt.to_string()), ("item", call.item.to_string())]);
        }
        PastSpan {
            name: self.part.name(),
            id: id(self.part),
            parent,
            start: self.start,
            end: self.end,
            attributes,
            error: self.error.clone(),
        }
    }

    fn duration_ms(&self) -> u64 {
        self.end.since(self.start).as_millis() as u64
    }

    fn log(&self, about: &About) {
        let attempt = match self.part {
            Part::Call(_, attempt) => Some(attempt),
            Part::Execution | Part::Task(_) => None,
        };
        tracing::debug!(
            target: TARGET,
            operation = self.part.name(),
            workflow = about.workflow,
            chain.name = about.name_as(WrittenAs::Chain),
            graph.name = about.name_as(WrittenAs::Graph),
            execution.id = %about.execution,
            task.id = self.task.as_deref(),
            agent.id = self.agent.as_deref(),
            attempt,
            duration = self.duration_ms(),
            status = self.status,
            error = self.error.as_deref(),
            trace.id = about.trace.map(|t| format!("{:032x}", t.trace_id)),
            "an operation has ended"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn about(written_as: WrittenAs) -> About {
        let execution = base::ExecutionId::new(uuid::Uuid::from_u128(7));
        let trace = TRACE.parse().ok();
        About { execution, workflow: "w@1".into(), written_as, name: "w".into(), trace }
    }

    fn operation(part: Part, error: Option<&str>) -> Operation {
        Operation {
            part,
            start: Timestamp::from_millis(1_000),
            end: Timestamp::from_millis(3_500),
            task: Some("one".into()),
            agent: None,
            status: if error.is_some() { "failed" } else { "completed" },
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn calls_stand_under_their_task_tasks_under_the_execution_and_that_under_the_caller() {
        let (about, trace) = (about(WrittenAs::Workflow), TRACE.parse::<TraceParent>().unwrap());
        let span = |part| operation(part, None).span(&about, trace);
        let (whole, task) = (span(Part::Execution), span(Part::Task(3)));
        let calls = [1, 2].map(|attempt| span(Part::Call(CallKey::new(3, 0), attempt)));
        assert_eq!(whole.parent, trace);
        assert_eq!((task.parent.span_id, task.parent.trace_id), (whole.id, trace.trace_id));
        assert_eq!(calls.each_ref().map(|call| call.parent.span_id), [task.id; 2]);
        assert_ne!(calls[0].id, calls[1].id, "each attempt is a call of its own");
        assert_ne!(span(Part::Task(4)).id, task.id);
        assert_eq!([whole.name, task.name, calls[0].name], ["execution", "task", "call"]);
    }

    #[test]
    fn a_span_says_what_it_was_how_long_it_took_and_why_it_failed() {
        let trace = TRACE.parse::<TraceParent>().unwrap();
        for (written_as, key) in [(WrittenAs::Chain, "chain.name"), (WrittenAs::Graph, "graph.name")] {
            let failed = operation(Part::Call(CallKey::new(0, 2), 5), Some("timeout: no answer"));
            let span = failed.span(&about(written_as), trace);
            assert_eq!(span.error.as_deref(), Some("timeout: no answer"));
            for (name, value) in [
                ("operation", "call"),
                ("workflow", "w@1"),
                ("duration_ms", "2500"),
                ("status", "failed"),
                ("task.id", "one"),
                ("attempt", "5"),
                ("item", "2"),
                (key, "w"),
            ] {
                assert!(span.attributes.iter().any(|(k, v)| *k == name && v == value), "{name}={value}");
            }
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_record_names_the_operation_its_chain_how_long_it_took_and_the_trace() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt().json().with_max_level(Level::DEBUG);
        let subscriber = lines.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            operation(Part::Execution, None).log(&about(WrittenAs::Chain));
            operation(Part::Call(CallKey::new(0, 0), 2), Some("timeout: no answer"))
                .log(&about(WrittenAs::Graph));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let records: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let [whole, call] = &records[..] else { panic!("{text}") };
        assert_eq!((&whole["level"], &whole["target"]), (&"DEBUG".into(), &TARGET.into()));
        for (record, key, value) in [
            (whole, "operation", "execution"),
            (whole, "chain.name", "w"),
            (whole, "status", "completed"),
            (whole, "trace.id", "0af7651916cd43dd8448eb211c80319c"),
            (call, "operation", "call"),
            (call, "graph.name", "w"),
            (call, "error", "timeout: no answer"),
        ] {
            assert_eq!(record["fields"][key], value, "{key}: {text}");
        }
        assert_eq!(whole["fields"]["duration"], 2500, "milliseconds");
        assert_eq!(call["fields"]["attempt"], 2);
    }

    #[test]
    fn without_a_collector_no_trace_is_sampled() {
        assert_eq!(Spans::default().sampled(TRACE), None);
    }
}
