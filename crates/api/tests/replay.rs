//! Logs written by earlier builds replay to the state they had then. A fixture is never recorded again: a new form of
//! the log gets a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fmt::Write as _, fs, path::PathBuf, sync::Arc};

use base::ExecutionId;
use bytes::Bytes;
use workflow::{Compiled, Event, State, fold, plan::Plan};

fn fixtures(form: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(form)
}

/// Everything that a reader of the state can see.
fn summary(state: &State) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name}: {value}").unwrap();
    line("status", state.status().as_str().into());
    line("seq", state.seq().to_string());
    line("time", state.time().to_string());
    line("started, ended", format!("{:?} {:?}", state.started_at(), state.ended_at()));
    line("output", format!("{:?}", state.output()));
    line("in flight, waiting", format!("{} {}", state.in_flight(), state.waiting_calls()));
    line("completed, retries", format!("{} {}", state.completed_tasks(), state.retries()));
    line("agent us, busy", format!("{} {:?}", state.agent_us(), state.busy(state.time())));
    line("checkpoint", format!("{:?}", state.last_checkpoint()));
    line("next timer", format!("{:?}", state.next_timer(state.created_at())));
    line("agents", format!("{:?}", state.agents().collect::<Vec<_>>()));
    for (task, plan) in state.tasks().iter().zip(&state.plan().plan().tasks) {
        let times = (task.scheduled_at, task.ended_at);
        line(&plan.id, format!("{:?} {} {times:?} {:?}", task.phase, task.state_text(), task.output));
        for call in &task.calls {
            let to = call.current.as_ref().map(|a| (&a.to, &a.bound, &a.answer));
            let more = (&call.error, &call.waiting, &call.prompt, &call.output, call.ended_at);
            let numbers = (call.attempt, call.retry, &call.tried);
            line("  call", format!("{:?} {numbers:?} {to:?} {more:?}", call.phase));
        }
    }
    for cause in state.causes() {
        line("cause", format!("{cause:?}"));
    }
    for effect in state.outstanding() {
        line("outstanding", format!("{effect:?}"));
    }
    text
}

/// The state after each third of the log.
fn told(id: ExecutionId, plan: &Arc<Compiled>, log: &[Event]) -> String {
    let mut text = String::new();
    for until in [log.len() / 3, log.len() * 2 / 3, log.len()] {
        let state = fold(id, plan.clone(), &log[..until.max(1)]).unwrap();
        writeln!(text, "== after {}\n{}", state.seq(), summary(&state)).unwrap();
    }
    text
}

fn replays(form: &str) {
    let mut seen = 0;
    for entry in fs::read_dir(fixtures(form)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "log") {
            continue;
        }
        seen += 1;
        let plan: Plan =
            serde_json::from_slice(&fs::read(path.with_extension("plan.json")).unwrap()).unwrap();
        let plan = Arc::new(Compiled::new(plan).unwrap());
        let bytes = Bytes::from(fs::read(&path).unwrap());
        // The first 16 bytes name the execution.
        let id = ExecutionId::from_slice(&bytes[..16]).unwrap();
        let log = api::log::decode_row(bytes.slice(16..), &|_| None).unwrap();
        let want = fs::read_to_string(path.with_extension("txt")).unwrap();
        assert_eq!(told(id, &plan, &log), want, "{}", path.display());
        let (again, large) = api::log::encode_row(&log, usize::MAX);
        assert!(large.is_empty());
        assert_eq!(again, bytes.slice(16..), "{}: written again it has the same bytes", path.display());
    }
    assert!(seen >= 5, "{form} has only {seen} logs");
}

#[test]
fn logs_of_the_first_form_replay_as_they_did() {
    replays("log-v1");
}
