//! Calls to engines: what the caller makes of what an engine says. The engine is scripted; real ones pass the suite of
//! `provider::conformance` elsewhere.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use base::{ExecutionId, FailureClass, Payload};
use executor::{
    call::{AgentCaller, CallKind, CallOutcome, CallRequest, CallSink, CancelRequest, Told},
    providers::{Callers, entries, join},
};
use provider::{Capabilities, End, Engine, EngineError, Lost, Providers, Run, Start, Work};
use serde_json::json;
use workflow::plan::{Remote, provider_id};

/// Answers as it is told, and remembers what it was asked.
#[derive(Default)]
struct Scripted {
    starts: Mutex<VecDeque<Result<Run, EngineError>>>,
    results: Mutex<VecDeque<Result<Option<End>, EngineError>>>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    fn asked(&self) -> MutexGuard<'_, Vec<String>> {
        self.asked.lock().unwrap()
    }
    fn note(&self, what: &str, run: &str) {
        self.asked().push(format!("{what} {run}"));
    }
}

#[async_trait]
impl Engine for Scripted {
    fn capabilities(&self) -> Capabilities {
        Capabilities { workflows: true, cancel: true, terminate: true, ..Capabilities::default() }
    }
    async fn start(&self, start: &Start) -> Result<Run, EngineError> {
        self.note("start", &start.id);
        let next = self.starts.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Ok(Run { id: start.id.clone(), run_id: "r1".into() }))
    }
    async fn result(&self, run: &Run, wait: Duration) -> Result<Option<End>, EngineError> {
        self.note("result", &run.run_id);
        let next = self.results.lock().unwrap().pop_front();
        match next {
            Some(answer) => answer,
            None => {
                tokio::time::sleep(wait).await;
                Ok(None)
            }
        }
    }
    async fn cancel(&self, run: &Run, _: &str) -> Result<(), EngineError> {
        self.note("cancel", &run.id);
        Ok(())
    }
    async fn terminate(&self, run: &Run, _: &str) -> Result<(), EngineError> {
        self.note("terminate", &run.id);
        Ok(())
    }
}

/// Never asked: every call here goes to the engine.
struct Nobody;

#[async_trait]
impl AgentCaller for Nobody {
    async fn call(&self, _: CallRequest, _: Arc<dyn CallSink>) -> CallOutcome {
        panic!("no agent is called here")
    }
    async fn cancel(&self, _: CancelRequest) -> Told {
        panic!("no agent is called here")
    }
}

#[derive(Default)]
struct Bound(Mutex<Vec<(String, String)>>);

#[async_trait]
impl CallSink for Bound {
    async fn bound(&self, agent_task_id: Arc<str>, context_id: Arc<str>) {
        self.0.lock().unwrap().push((agent_task_id.to_string(), context_id.to_string()));
    }
    fn progress(&self, _: f64, _: &str) {}
}

struct World {
    engine: Arc<Scripted>,
    callers: Callers,
    agent: Arc<catalog::AgentEntry>,
}

fn world() -> World {
    let engine = Arc::new(Scripted::default());
    let providers = Providers::default().with("scripted", engine.clone());
    let agent = entries(&providers, 7).remove(0);
    let callers =
        Callers::new(Arc::new(Nobody), providers, Duration::from_secs(20), Arc::new(runtime::SystemClock));
    World { engine, callers, agent }
}

impl World {
    fn request(&self, kind: CallKind) -> CallRequest {
        let work = Work::Workflow("w".into());
        CallRequest {
            kind,
            agent: self.agent.clone(),
            instance: 0,
            execution_id: ExecutionId::new(uuid::Uuid::nil()),
            task_id: "a".into(),
            task_name: "a".into(),
            instructions: String::new(),
            item: None,
            message_id: "m1".into(),
            context_id: String::new(),
            effect_key: String::new(),
            remote: Some(Box::new(Remote { provider: "scripted".into(), work, task_queue: None })),
            capability: "".into(),
            session: None,
            bound: None,
            trace: "".into(),
            idle: Duration::from_secs(600),
            total: Some(Duration::from_secs(600)),
            followed: false,
            bind_early: false,
            short: false,
        }
    }

    async fn call(&self, request: CallRequest) -> (CallOutcome, Vec<(String, String)>) {
        let sink = Arc::new(Bound::default());
        let outcome = self.callers.call(request, sink.clone()).await;
        let bound = sink.0.lock().unwrap().clone();
        (outcome, bound)
    }
}

fn send() -> CallKind {
    CallKind::Send(Payload::null())
}

fn done() -> Result<Option<End>, EngineError> {
    Ok(Some(End::Completed(Payload::from_value(&json!(1)))))
}

fn away(lost: Lost) -> EngineError {
    EngineError::Away { message: "gone".into(), lost }
}

#[test]
fn an_engine_stands_among_the_agents_and_is_found_by_its_name_alone() {
    let World { agent, .. } = world();
    assert_eq!(agent.id().as_str(), provider_id("scripted"));
    assert_eq!(agent.capacity(), 7);
    let fleet = join(&Arc::default(), std::slice::from_ref(&agent));
    let named = catalog::Need { agent: Some(agent.id().clone()), ..catalog::Need::default() };
    assert_eq!(fleet.matches(&named).candidates.len(), 1);
    assert_eq!(fleet.matches(&catalog::Need::default()).candidates.len(), 0, "it is no agent like any");
}

#[tokio::test(start_paused = true)]
async fn a_run_is_bound_after_a_second_and_one_that_must_not_be_repeated_at_once() {
    for (early, answers, want) in [(false, 0, 1), (false, 1, 0), (true, 1, 1)] {
        let world = world();
        // Without an answer the first question waits until it is time to bind.
        world.engine.results.lock().unwrap().extend((0..answers).map(|_| done()));
        let mut request = world.request(send());
        request.bind_early = early;
        let asked = world.engine.clone();
        let answering = async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            asked.results.lock().unwrap().push_back(done());
        };
        tokio::spawn(answering);
        let (outcome, bound) = world.call(request).await;
        assert!(matches!(outcome, CallOutcome::Completed(_)), "{outcome:?}");
        assert_eq!(bound, vec![("m1".to_owned(), "r1".to_owned()); want], "{early} {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_says_whether_it_left_and_a_bound_run_is_not_started_again() {
    for (lost, class, known) in
        [(Lost::Nothing, FailureClass::Unavailable, true), (Lost::Unknown, FailureClass::Broken, false)]
    {
        let world = world();
        world.engine.starts.lock().unwrap().push_back(Err(away(lost)));
        let (outcome, _) = world.call(world.request(send())).await;
        let CallOutcome::Failed { class: said, outcome_known, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((said, outcome_known), (class, known));
    }
    let world = world();
    world.engine.results.lock().unwrap().push_back(done());
    let mut again = world.request(CallKind::Reattach);
    again.bound = Some(("m1".into(), "r1".into()));
    let (outcome, bound) = world.call(again).await;
    assert!(matches!(outcome, CallOutcome::Completed(_)), "{outcome:?}");
    assert_eq!(*world.engine.asked(), ["result r1"]);
    assert!(bound.is_empty(), "it is in the log already");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_while_a_run_goes_on_does_not_end_the_attempt() {
    let world = world();
    let away = (0..30).map(|_| Err(away(Lost::Unknown)));
    world.engine.results.lock().unwrap().extend(away.chain([done()]));
    let (outcome, _) = world.call(world.request(send())).await;
    assert!(matches!(outcome, CallOutcome::Completed(_)), "{outcome:?}");
    assert_eq!(world.callers.away(), [], "it answers again");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_told_since_when_and_with_its_words() {
    let world = world();
    let lost = (0..2).map(|_| Err(away(Lost::Nothing)));
    world.engine.starts.lock().unwrap().extend(lost);
    world.call(world.request(send())).await;
    let [(name, first)] = &world.callers.away()[..] else { panic!("one is away") };
    assert_eq!((name.as_str(), &*first.error), ("scripted", "gone"));
    tokio::time::sleep(Duration::from_millis(2)).await;
    world.call(world.request(send())).await;
    assert_eq!(world.callers.away()[0].1.since, first.since, "since the first answer that did not come");
    world.engine.results.lock().unwrap().push_back(done());
    world.call(world.request(send())).await;
    assert_eq!(world.callers.away(), []);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_is_ended_there_unless_what_it_does_may_be_done() {
    for (early, ended) in [(false, true), (true, false)] {
        let world = world();
        let mut request = world.request(send());
        request.bind_early = early;
        let (outcome, _) = world.call(request).await;
        let CallOutcome::Failed { class, outcome_known, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((class, outcome_known), (FailureClass::Timeout, ended));
        assert_eq!(world.engine.asked().contains(&"terminate m1".to_owned()), ended);
    }
}

#[tokio::test]
async fn a_cancel_is_passed_on_as_what_it_is() {
    for (at_once, want) in [(false, "cancel m1"), (true, "terminate m1")] {
        let world = world();
        let request = CancelRequest {
            agent: world.agent.clone(),
            instance: 0,
            execution_id: ExecutionId::new(uuid::Uuid::nil()),
            message_id: "m1".into(),
            agent_task_id: None,
            at_once,
            trace: "".into(),
        };
        assert_eq!(world.callers.cancel(request).await, Told::Yes);
        assert_eq!(*world.engine.asked(), [want]);
    }
}
