//! The hooks of one request, one after the other. Each end is on disk before the next hook begins, so that a hook that
//! has ended does not run again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hooks::{Answer, Chain, Decision, Hook, Next, Occasion, Outcome, Setting, Verdict};
use serde_json::{Value, json};
use store::{
    StoreError,
    hooks::{NO_PARTITION, RequestRow, RunRow},
};
use uuid::Uuid;

use super::{Inner, act::Task};

/// How much longer than its hook a claim lasts.
const CLAIM_SLACK: Duration = Duration::from_secs(30);
/// Longest message that is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 1000;

/// How long a request is claimed at first.
pub(crate) const FIRST_CLAIM: Duration = Duration::from_secs(60);

impl Inner {
    /// Runs what is left of a claimed request; `Ok(None)`: somebody else has it by now.
    ///
    /// # Errors
    /// The store is away: the request is run again later.
    pub(crate) async fn run_request(
        &self,
        request: &RequestRow,
        ended: &[RunRow],
    ) -> Result<Option<Verdict>, StoreError> {
        let ended: HashMap<Uuid, &RunRow> = ended.iter().map(|run| (run.run_id, run)).collect();
        let matcher = self.book.matcher();
        // One that was deleted or disabled meanwhile does not run.
        let hooks = request.hooks.iter().filter_map(|id| matcher.hook(&request.tenant, *id).cloned());
        let mut chain = Chain::new(hooks.collect());
        let mut document: Value = serde_json::from_str(&request.document).unwrap_or_default();
        loop {
            let (index, hook, skipped) = match chain.advance() {
                Next::End => break,
                Next::Run(index, hook) => (index, hook, false),
                Next::Skip(index, hook) => (index, hook, true),
            };
            let run_id = Occasion::run_id(request.request_id, hook.id);
            if let Some(run) = ended.get(&run_id) {
                if run.state != "skipped" {
                    chain.ended(index, outcome_of(run));
                }
                continue;
            }
            if skipped {
                let why = chain.verdict().abort.as_ref().map_or("", |(name, _)| name.as_str());
                self.record_skip(request, &hook, run_id, why).await?;
                continue;
            }
            let lane = usize::from(request.partition != NO_PARTITION);
            let _permit = self.permits[lane].acquire().await;
            let timeout = Duration::from_millis(hook.spec.timeout_ms.into());
            let lease = timeout + CLAIM_SLACK;
            if !self.store.extend(&request.tenant, request.request_id, &self.me, lease).await? {
                return Ok(None);
            }
            document["hook"] = json!({"id": hook.id, "name": hook.spec.name, "run_id": run_id});
            let started_at = self.clock.now();
            let (outcome, output) = self.run_hook(request, &hook, run_id, &document, timeout).await;
            let mut run = self.run_row(request, &hook, run_id);
            run.started_at = started_at;
            run.finished_at = self.clock.now();
            run.output = output;
            describe(&mut run, &outcome);
            let failed = matches!(outcome, Outcome::Failed(_));
            let decision = chain.ended(index, outcome);
            run.decision = decision.as_str().into();
            if decision != Decision::Allow {
                tracing::info!(hook = %hook.spec.name, trigger = %request.trigger, failed, decision = run.decision,
                    why = %run.message, "a hook did not agree");
            }
            self.store.put_run(&run).await?;
        }
        Ok(Some(chain.verdict().clone()))
    }

    /// Whatever happens in there, it ends in time and with an outcome. The text is what it wrote.
    async fn run_hook(
        &self,
        request: &RequestRow,
        hook: &Arc<Hook>,
        run_id: Uuid,
        document: &Value,
        timeout: Duration,
    ) -> (Outcome, String) {
        if let Err(why) = self.book.rules().allow(&hook.action) {
            return (Outcome::Failed(why), String::new());
        }
        if let Err(why) = hook.applies(document) {
            return (Outcome::Failed(why), String::new());
        }
        let task = Task {
            tenant: request.tenant.clone(),
            execution: request.execution_id,
            run_id,
            trigger: hook.spec.trigger,
            hook: hook.clone(),
            document: document.clone(),
            timeout,
        };
        match tokio::time::timeout(timeout, self.actions.take(&task)).await {
            Ok(Ok(done)) => (Outcome::Answered(done.answer), done.output),
            Ok(Err(failed)) => (Outcome::Failed(failed.why), failed.output),
            Err(_) => (Outcome::Failed(format!("it did not end within {timeout:?}")), String::new()),
        }
    }

    async fn record_skip(
        &self,
        request: &RequestRow,
        hook: &Hook,
        run_id: Uuid,
        after: &str,
    ) -> Result<(), StoreError> {
        let mut run = self.run_row(request, hook, run_id);
        run.state = "skipped".into();
        run.message = cut(&format!("{after} failed critically before it"));
        self.store.put_run(&run).await
    }

    fn run_row(&self, request: &RequestRow, hook: &Hook, run_id: Uuid) -> RunRow {
        let now = self.clock.now();
        RunRow {
            tenant: request.tenant.clone(),
            run_id,
            request_id: request.request_id,
            hook_id: hook.id,
            hook_name: hook.spec.name.clone(),
            trigger: request.trigger.clone(),
            action: hook.action.kind().into(),
            execution_id: request.execution_id,
            task_id: request.task_id.clone(),
            item: request.item,
            state: "completed".into(),
            decision: Decision::Allow.as_str().into(),
            message: String::new(),
            settings: "{}".into(),
            output: String::new(),
            started_at: now,
            finished_at: now,
        }
    }
}

fn describe(run: &mut RunRow, outcome: &Outcome) {
    match outcome {
        Outcome::Answered(answer) => {
            run.message = cut(&answer.message);
            run.settings = serde_json::to_string(&answer.set).unwrap_or_else(|_| "{}".into());
        }
        Outcome::Failed(why) => {
            run.state = "failed".into();
            run.message = cut(why);
        }
    }
}

/// What a run that ended before came to.
fn outcome_of(run: &RunRow) -> Outcome {
    if run.state == "failed" {
        return Outcome::Failed(run.message.clone());
    }
    let set: Setting = serde_json::from_str(&run.settings).unwrap_or_default();
    let decision = Decision::parse(&run.decision).unwrap_or(Decision::Allow);
    Outcome::Answered(Answer { decision, message: run.message.clone(), set })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
