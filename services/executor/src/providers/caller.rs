//! Calls to engines as calls to agents: started once, bound to the engine's name for the run, asked for until it ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base::{Clock, FailureClass};
use provider::{End, Engine, EngineError, Providers, Run, Start};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    call::{AgentCaller, Away, CallKind, CallOutcome, CallRequest, CallSink, CancelRequest, Told},
    engine::crash,
};

use super::provider_of;

/// A run this old is bound: from here on recovery asks for it instead of starting it once more.
const BIND_AFTER: Duration = Duration::from_secs(1);
/// Pauses while an engine is away that a run goes on at.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long an engine may take to end a run that took too long. Of the attempt's limit this, or a tenth if that is less,
/// is kept for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// So much longer than the attempt a run may take for the engine itself: ours is the one that ends it, unless we are gone.
const LONGER_THERE: Duration = Duration::from_secs(10);

/// Calls agents, and engines where a task names one.
pub struct Callers {
    agents: Arc<dyn AgentCaller>,
    providers: Providers,
    poll: Duration,
    clock: Arc<dyn Clock>,
    away: Mutex<BTreeMap<String, Away>>,
}

impl Callers {
    /// `poll`: the longest wait of one question for a result.
    pub fn new(
        agents: Arc<dyn AgentCaller>,
        providers: Providers,
        poll: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { agents, providers, poll, clock, away: Mutex::default() }
    }

    /// Remembers whether an engine answered.
    fn note<T>(&self, provider: &str, answer: &Result<T, EngineError>) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Err(EngineError::Away { message, .. }) => {
                let since = away.get(provider).map_or_else(|| self.clock.now(), |known| known.since);
                away.insert(provider.to_owned(), Away { since, error: message.as_str().into() });
            }
            _ => drop(away.remove(provider)),
        }
    }
}

#[async_trait]
impl AgentCaller for Callers {
    async fn call(&self, request: CallRequest, sink: Arc<dyn CallSink>) -> CallOutcome {
        let Some(name) = provider_of(request.agent.id()) else {
            return self.agents.call(request, sink).await;
        };
        let Some(engine) = self.providers.get(name) else {
            return lost(&format!("the provider {name} is not set up here"));
        };
        let seen = Seen { callers: self, name, engine: engine.as_ref() };
        Attempt { engine: seen, request: &request, poll: self.poll }.run(sink.as_ref()).await
    }

    fn away(&self) -> Vec<(String, Away)> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let own = away.iter().map(|(name, away)| (name.clone(), away.clone()));
        own.chain(self.agents.away()).collect()
    }

    async fn cancel(&self, request: CancelRequest) -> Told {
        let Some(name) = provider_of(request.agent.id()) else {
            return self.agents.cancel(request).await;
        };
        let Some(engine) = self.providers.get(name) else {
            return Told::Away(format!("the provider {name} is not set up here"));
        };
        let run = Run::named(&request.message_id);
        let told = match request.at_once {
            true => engine.terminate(&run, "the execution was terminated").await,
            false => engine.cancel(&run, "the execution no longer wants it").await,
        };
        match told {
            Ok(()) => Told::Yes,
            // Its start may still be on the way.
            Err(EngineError::NoRun(_)) => Told::Unnamed(format!("{name} has no run of it")),
            Err(error @ EngineError::Cannot(_)) => Told::Unnamed(format!("{name}: {error}")),
            Err(error) => Told::Away(format!("{name}: {error}")),
        }
    }
}

fn lost(why: &str) -> CallOutcome {
    failed(FailureClass::Broken, why.to_owned(), false)
}

fn failed(class: FailureClass, message: String, outcome_known: bool) -> CallOutcome {
    CallOutcome::Failed { class, message, outcome_known, retry_after: None }
}

/// An engine of which is remembered whether it answers.
struct Seen<'a> {
    callers: &'a Callers,
    name: &'a str,
    engine: &'a dyn Engine,
}

impl Seen<'_> {
    async fn start(&self, start: &Start) -> Result<Run, EngineError> {
        let answer = self.engine.start(start).await;
        self.callers.note(self.name, &answer);
        answer
    }

    async fn result(&self, run: &Run, wait: Duration) -> Result<Option<End>, EngineError> {
        let answer = self.engine.result(run, wait).await;
        self.callers.note(self.name, &answer);
        answer
    }
}

struct Attempt<'a> {
    engine: Seen<'a>,
    request: &'a CallRequest,
    poll: Duration,
}

impl Attempt<'_> {
    async fn run(&self, sink: &dyn CallSink) -> CallOutcome {
        let begun = Instant::now();
        let total = self.request.total.map(|limit| limit - STOP_TIMEOUT.min(limit / 10));
        let deadline = total.map(|limit| begun + limit);
        let run = match self.started().await {
            Ok(run) => run,
            Err(outcome) => return outcome,
        };
        crash::point("sent-not-answered");
        self.end(&run, begun, deadline, sink).await
    }

    /// The run, which an earlier send of the same message may have started.
    async fn started(&self) -> Result<Run, CallOutcome> {
        let input = match (&self.request.kind, &self.request.bound) {
            (CallKind::Reattach, Some((id, run_id))) => {
                return Ok(Run { id: id.to_string(), run_id: run_id.to_string() });
            }
            (CallKind::Reattach, None) => return Ok(Run::named(&self.request.message_id)),
            (CallKind::Answer(_), _) => {
                return Err(failed(FailureClass::Definition, "an engine asks nothing".into(), true));
            }
            (CallKind::Send(input), _) => input.clone(),
        };
        let Some(remote) = &self.request.remote else {
            let why = "a provider is named with `provider` and `workflow_type`, not as an agent";
            return Err(failed(FailureClass::Definition, why.into(), true));
        };
        let start = Start {
            id: self.request.message_id.clone(),
            work: remote.work.clone(),
            task_queue: remote.task_queue.clone(),
            input,
            timeout: self.request.total.map(|limit| limit.saturating_add(LONGER_THERE)),
        };
        self.engine.start(&start).await.map_err(|error| CallOutcome::Failed {
            class: error.class(),
            outcome_known: error.is_known(),
            retry_after: match &error {
                EngineError::Refused { retry_after, .. } => *retry_after,
                _ => None,
            },
            message: error.to_string(),
        })
    }

    async fn end(
        &self,
        run: &Run,
        begun: Instant,
        deadline: Option<Instant>,
        sink: &dyn CallSink,
    ) -> CallOutcome {
        let bind_at = begun + if self.request.bind_early { Duration::ZERO } else { BIND_AFTER };
        let mut bound = self.request.bound.is_some();
        let mut pause = PAUSE.0;
        loop {
            let now = Instant::now();
            if !bound && now >= bind_at {
                sink.bound(run.id.as_str().into(), run.run_id.as_str().into()).await;
                bound = true;
            }
            let left = deadline.map_or(self.poll, |at| at.saturating_duration_since(now));
            if left.is_zero() {
                return self.too_long(run).await;
            }
            let until_bound = if bound { self.poll } else { bind_at.saturating_duration_since(now) };
            let wait = left.min(self.poll).min(until_bound.max(Duration::from_millis(1)));
            // An engine may answer later than it is asked to; the attempt's limit holds all the same.
            let answer = timeout(left, self.engine.result(run, wait)).await.unwrap_or(Ok(None));
            match answer {
                Ok(Some(end)) => return ended(end),
                Ok(None) => pause = PAUSE.0,
                // It goes on there, whoever cannot see it: the attempt waits for as long as it may.
                Err(EngineError::Away { message, .. }) => {
                    tracing::debug!(run = run.id, message, "a provider is away; its run is asked for again");
                    sleep(pause.min(left)).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
                Err(EngineError::Refused { class: FailureClass::RateLimited, retry_after, .. }) => {
                    sleep(retry_after.unwrap_or(PAUSE.1).min(left)).await;
                }
                Err(error) => return failed(error.class(), error.to_string(), false),
            }
        }
    }

    /// Ends a run that took too long, so that the next attempt may be another one. Never one that must not be repeated:
    /// what it does may be done.
    async fn too_long(&self, run: &Run) -> CallOutcome {
        let message = format!("{} ran longer than the attempt may", run.id);
        if self.request.bind_early {
            return failed(FailureClass::Timeout, message, false);
        }
        let stopped = timeout(STOP_TIMEOUT, self.engine.engine.terminate(run, "it took too long")).await;
        let stopped = matches!(stopped, Ok(Ok(())));
        let and = if stopped { "; it was ended there" } else { "" };
        failed(FailureClass::Timeout, format!("{message}{and}"), stopped)
    }
}

fn ended(end: End) -> CallOutcome {
    match end {
        End::Completed(output) => CallOutcome::Completed(output),
        End::Failed { class, message } => failed(class, message, true),
        End::Cancelled => failed(FailureClass::AgentCancelled, "it was cancelled there".into(), true),
        End::Terminated(reason) => {
            failed(FailureClass::AgentCancelled, format!("it was terminated there: {reason}"), true)
        }
        End::TimedOut => failed(FailureClass::Timeout, "it took longer there than it may".into(), true),
    }
}
