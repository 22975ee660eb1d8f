//! The suite that every engine must pass: what the trait means, as calls and answers.
//!
//! It needs three pieces of work at the engine, see [`Subject`]. Each check has a name that is a sentence; the first
//! thing that is not as it should be ends the suite with that sentence and what was seen.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use base::Payload;
use serde_json::json;

use crate::{
    Work,
    engine::{End, Engine, EngineError, Run, Start},
};

/// What the suite runs at an engine.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Completes with its input.
    pub echo: Work,
    /// Fails, with the word `broken` in what it says.
    pub fail: Work,
    /// Waits for the signal `go`, then completes with its payload. The query `state` is answered with any JSON while it
    /// waits. When it is asked to stop it ends as cancelled.
    pub wait: Work,
    /// Where the engine queues it.
    pub task_queue: Option<String>,
    /// Starts ids, so that two suites at one engine do not meet.
    pub prefix: String,
    /// How long the engine may take for anything.
    pub patience: Duration,
}

/// Runs the suite.
///
/// # Errors
/// The check that did not hold, and what was seen instead.
pub async fn check(engine: &dyn Engine, subject: &Subject) -> Result<(), String> {
    let suite = Suite { engine, subject };
    suite.completes().await?;
    suite.fails().await?;
    suite.starts_once().await?;
    suite.knows_what_is_not_there().await?;
    suite.ends_when_asked().await?;
    suite.is_spoken_to().await?;
    suite.refuses_what_it_does_not_declare().await
}

struct Suite<'a> {
    engine: &'a dyn Engine,
    subject: &'a Subject,
}

/// Whether something is as the sentence says.
fn holds(what: &str, holds: bool, seen: &impl Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}; seen: {seen:?}")) }
}

impl Suite<'_> {
    fn work(&self, id: &str, work: &Work, input: serde_json::Value) -> Start {
        Start {
            id: format!("{}-{id}", self.subject.prefix),
            work: work.clone(),
            task_queue: self.subject.task_queue.clone(),
            input: Payload::from_value(&input),
            timeout: Some(self.subject.patience * 4),
        }
    }

    async fn start(&self, start: &Start) -> Result<Run, String> {
        self.engine.start(start).await.map_err(|error| format!("work can be started; seen: {error:?}"))
    }

    /// Waits for the end of a run.
    async fn end(&self, run: &Run) -> Result<End, String> {
        let begun = Instant::now();
        while begun.elapsed() < self.subject.patience {
            match self.engine.result(run, Duration::from_secs(2)).await {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => {}
                Err(error) => return Err(format!("a run can be asked for its end; seen: {error:?}")),
            }
        }
        Err(format!("{} ends within {:?}", run.id, self.subject.patience))
    }

    async fn completes(&self) -> Result<(), String> {
        for (n, input) in [json!({"a": [1, "ü", null]}), json!("text"), json!(null)].into_iter().enumerate()
        {
            let run = self.start(&self.work(&format!("echo-{n}"), &self.subject.echo, input.clone())).await?;
            let end = self.end(&run).await?;
            let same = matches!(&end, End::Completed(p) if p.json().as_deref() == Some(&input));
            holds("a run completes with what its work gives", same, &end)?;
            let again = self.end(&run).await?;
            holds("the end of a run can be asked for again", again == end, &again)?;
        }
        Ok(())
    }

    async fn fails(&self) -> Result<(), String> {
        let run = self.start(&self.work("fail", &self.subject.fail, json!({}))).await?;
        let end = self.end(&run).await?;
        let said = matches!(&end, End::Failed { message, .. } if message.contains("broken"));
        holds("a run that fails says why", said, &end)
    }

    async fn starts_once(&self) -> Result<(), String> {
        let echo = self.work("once", &self.subject.echo, json!({"n": 1}));
        let first = self.start(&echo).await?;
        let end = self.end(&first).await?;
        let again = self.start(&echo).await?;
        holds("a start that is repeated after the end finds the same run", again == first, &again)?;
        let seen = self.end(&again).await?;
        holds("and its end is the same", seen == end, &seen)?;
        let seen = self.end(&Run::named(&echo.id)).await?;
        holds("a run is found by the id of its start alone", seen == end, &seen)?;

        let wait = self.work("running", &self.subject.wait, json!({}));
        let first = self.start(&wait).await?;
        let again = self.start(&wait).await?;
        holds("a start that is repeated while it runs finds the same run", again == first, &again)?;
        let begun = Instant::now();
        let seen = self.engine.result(&first, Duration::from_millis(300)).await;
        holds("a run that goes on has no end yet", matches!(seen, Ok(None)), &seen)?;
        let took = begun.elapsed();
        holds("and nobody waits much longer than asked", took < self.subject.patience / 2, &took)?;
        if self.engine.capabilities().terminate {
            self.stop("running", true).await?;
        }
        Ok(())
    }

    async fn knows_what_is_not_there(&self) -> Result<(), String> {
        let nobody = Run::named(format!("{}-nobody", self.subject.prefix));
        let gone = |seen: &Result<(), EngineError>| matches!(seen, Err(EngineError::NoRun(_)));
        let seen = self.engine.result(&nobody, Duration::from_millis(100)).await.map(|_| ());
        holds("a run that is not there has no end", gone(&seen), &seen)?;
        let can = self.engine.capabilities();
        if can.cancel {
            let seen = self.engine.cancel(&nobody, "").await;
            holds("a run that is not there cannot be cancelled", gone(&seen), &seen)?;
        }
        if can.terminate {
            let seen = self.engine.terminate(&nobody, "").await;
            holds("a run that is not there cannot be terminated", gone(&seen), &seen)?;
        }
        if can.signals {
            let seen = self.engine.signal(&nobody, "go", &Payload::null(), "").await;
            holds("a run that is not there takes no signal", gone(&seen), &seen)?;
        }
        if can.queries {
            let seen = self.engine.query(&nobody, "state", &Payload::null()).await.map(|_| ());
            holds("a run that is not there answers no query", gone(&seen), &seen)?;
        }
        Ok(())
    }

    async fn ends_when_asked(&self) -> Result<(), String> {
        let can = self.engine.capabilities();
        for (asked, at_once) in [(can.cancel, false), (can.terminate, true)] {
            if !asked {
                continue;
            }
            let id = if at_once { "terminated" } else { "cancelled" };
            let run = self.start(&self.work(id, &self.subject.wait, json!({}))).await?;
            self.stop(id, at_once).await?;
            let end = self.end(&run).await?;
            match at_once {
                false => holds("a run that is cancelled says so", end == End::Cancelled, &end)?,
                true => {
                    holds("a run that is terminated says so", matches!(end, End::Terminated(_)), &end)?;
                }
            }
            self.stop(id, at_once).await?;
            let seen = self.end(&run).await?;
            holds("asking once more changes nothing", seen == end, &seen)?;
        }
        Ok(())
    }

    async fn stop(&self, id: &str, at_once: bool) -> Result<(), String> {
        let run = Run::named(format!("{}-{id}", self.subject.prefix));
        let seen = match at_once {
            true => self.engine.terminate(&run, "the suite said so").await,
            false => self.engine.cancel(&run, "the suite said so").await,
        };
        holds("a run can be asked to end, before and after its end", seen.is_ok(), &seen)
    }

    async fn is_spoken_to(&self) -> Result<(), String> {
        let can = self.engine.capabilities();
        if !can.signals {
            return Ok(());
        }
        let run = self.start(&self.work("spoken-to", &self.subject.wait, json!({}))).await?;
        if can.queries {
            let seen = self.engine.query(&run, "state", &Payload::null()).await;
            let json = matches!(&seen, Ok(answer) if answer.json().is_some());
            holds("a run answers a query while it waits", json, &seen)?;
            let seen = self.engine.query(&run, "no-such-query", &Payload::null()).await;
            let refused = matches!(seen, Err(EngineError::Refused { .. }));
            holds("a query that the work does not know is refused", refused, &seen)?;
        }
        let told = Payload::from_value(&json!({"told": "ü"}));
        for _ in 0..2 {
            let seen = self.engine.signal(&run, "go", &told, "go-1").await;
            holds("a run takes a signal, and the same signal again", seen.is_ok(), &seen).or_else(
                |seen| {
                    // The second may come after the end that the first one brought.
                    if seen.contains("NoRun") { Ok(()) } else { Err(seen) }
                },
            )?;
        }
        let end = self.end(&run).await?;
        let same = matches!(&end, End::Completed(p) if p.json() == told.json());
        holds("a run goes on with what it was told", same, &end)
    }

    async fn refuses_what_it_does_not_declare(&self) -> Result<(), String> {
        let can = self.engine.capabilities();
        let document = json!({"steps": []});
        let works = [Work::Workflow("anything".into()), Work::Chain(document.clone()), Work::Graph(document)];
        for work in works.iter().filter(|work| !can.runs(work)) {
            let seen = self.engine.start(&self.work(work.kind(), work, json!({}))).await;
            let refused = matches!(seen, Err(EngineError::Cannot(_)));
            holds("a kind of work that is not declared is refused", refused, &seen)?;
        }
        let run = Run::named(format!("{}-running", self.subject.prefix));
        let calls = [
            ("cancels", can.cancel, self.engine.cancel(&run, "").await),
            ("terminates", can.terminate, self.engine.terminate(&run, "").await),
        ];
        for (what, declared, seen) in calls {
            let cannot = matches!(seen, Err(EngineError::Cannot(_)));
            holds(&format!("{what} exactly when it declares it"), declared != cannot, &seen)?;
        }
        if !can.signals {
            let seen = self.engine.signal(&run, "go", &Payload::null(), "").await;
            holds(
                "signals that are not declared are refused",
                matches!(seen, Err(EngineError::Cannot(_))),
                &seen,
            )?;
        }
        if !can.queries {
            let seen = self.engine.query(&run, "state", &Payload::null()).await;
            holds(
                "queries that are not declared are refused",
                matches!(seen, Err(EngineError::Cannot(_))),
                &seen,
            )?;
        }
        Ok(())
    }
}
