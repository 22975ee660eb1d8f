//! Hooks of one occasion, one after the other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Answer, Decision, Hook, OnFailure, Setting};

/// How one hook ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It ran and answered.
    Answered(Answer),
    /// It failed: exit code, timeout, connection, refused.
    Failed(String),
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Run this one, then tell [`Chain::ended`].
    Run(usize, Arc<Hook>),
    /// This one does not run: an earlier hook failed critically. Call [`Chain::advance`] again.
    Skip(usize, Arc<Hook>),
    /// There is no further hook.
    End,
}

/// What a whole chain comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The first critical failure: the hook's name and why.
    pub abort: Option<(String, String)>,
    /// What was noted: the hook's name and why.
    pub warnings: Vec<(String, String)>,
    /// What the hooks want set.
    pub set: Setting,
}

/// Runs hooks in order: after a critical failure only those that `always_run` do.
#[derive(Clone, Debug)]
pub struct Chain {
    hooks: Vec<Arc<Hook>>,
    at: usize,
    verdict: Verdict,
}

impl Chain {
    /// `hooks` in the order in which they run.
    pub fn new(hooks: Vec<Arc<Hook>>) -> Self {
        Self { hooks, at: 0, verdict: Verdict::default() }
    }

    /// The next hook. Indexes count from 0.
    pub fn advance(&mut self) -> Next {
        let Some(hook) = self.hooks.get(self.at).cloned() else { return Next::End };
        let index = self.at;
        self.at += 1;
        match self.verdict.abort.is_some() && !hook.spec.always_run {
            true => Next::Skip(index, hook),
            false => Next::Run(index, hook),
        }
    }

    /// The hook at `index` has ended; gives what its end comes to.
    pub fn ended(&mut self, index: usize, outcome: Outcome) -> Decision {
        let Some(hook) = self.hooks.get(index) else { return Decision::Allow };
        let name = hook.spec.name.clone();
        let (decision, message) = match outcome {
            Outcome::Answered(answer) => {
                self.verdict.set.merge(answer.set);
                (answer.decision, answer.message)
            }
            Outcome::Failed(why) => match hook.on_failure() {
                OnFailure::Abort => (Decision::Abort, why),
                OnFailure::Warn => (Decision::Warn, why),
            },
        };
        match decision {
            Decision::Allow => {}
            Decision::Warn => self.verdict.warnings.push((name, message)),
            // The first one is the reason; what an always-run hook adds is noted.
            Decision::Abort if self.verdict.abort.is_some() => self.verdict.warnings.push((name, message)),
            Decision::Abort => self.verdict.abort = Some((name, message)),
        }
        decision
    }

    /// What it comes to so far.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

#[cfg(test)]
mod tests {
    use base::{Tenant, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::{HookSpec, Trigger};

    fn hook(name: &str, trigger: Trigger, always_run: bool, on_failure: Option<OnFailure>) -> Arc<Hook> {
        let spec = HookSpec { always_run, on_failure, ..HookSpec::new(name, trigger, "/bin/cat") };
        let at = Timestamp::default();
        Hook::restore(Uuid::nil(), Tenant::default(), spec, 1, at, at).unwrap()
    }

    fn failed() -> Outcome {
        Outcome::Failed("exit 1".into())
    }

    fn said(decision: Decision) -> Outcome {
        Outcome::Answered(Answer { decision, message: "said".into(), set: Setting::default() })
    }

    /// Names of the hooks that ran, and the verdict.
    fn run(hooks: Vec<Arc<Hook>>, outcome: impl Fn(&str) -> Outcome) -> (Vec<String>, Verdict) {
        let mut chain = Chain::new(hooks);
        let mut ran = Vec::new();
        loop {
            match chain.advance() {
                Next::Run(index, hook) => {
                    ran.push(hook.spec.name.clone());
                    chain.ended(index, outcome(&hook.spec.name));
                }
                Next::Skip(..) => {}
                Next::End => return (ran, chain.verdict().clone()),
            }
        }
    }

    #[test]
    fn after_a_critical_failure_only_always_run_hooks_run() {
        let hooks = || {
            vec![
                hook("a", Trigger::PreTask, false, None),
                hook("b", Trigger::PreTask, false, None),
                hook("c", Trigger::PreTask, true, None),
            ]
        };
        let (ran, verdict) = run(hooks(), |name| if name == "a" { failed() } else { said(Decision::Allow) });
        assert_eq!(ran, ["a", "c"]);
        assert_eq!(verdict.abort, Some(("a".into(), "exit 1".into())));
        let (ran, verdict) = run(hooks(), |_| said(Decision::Allow));
        assert_eq!((ran.len(), verdict), (3, Verdict::default()));
        // A second critical failure is noted, the first stays the reason.
        let (_, verdict) = run(hooks(), |_| failed());
        assert_eq!(verdict.abort.map(|(hook, _)| hook).as_deref(), Some("a"));
        assert_eq!(verdict.warnings, [("c".into(), "exit 1".into())]);
    }

    #[test]
    fn what_a_failure_means_depends_on_trigger_and_setting() {
        for (trigger, on_failure, aborts) in [
            (Trigger::PreTask, None, true),
            (Trigger::PreTask, Some(OnFailure::Warn), false),
            (Trigger::PostTask, None, false),
            (Trigger::PostTask, Some(OnFailure::Abort), true),
            (Trigger::Notification, None, false),
        ] {
            let (_, verdict) = run(vec![hook("a", trigger, false, on_failure)], |_| failed());
            assert_eq!(verdict.abort.is_some(), aborts, "{trigger:?} {on_failure:?}");
            assert_eq!(verdict.warnings.len(), usize::from(!aborts));
        }
    }

    #[test]
    fn a_warning_lets_the_next_hook_run_and_a_decision_outranks_on_failure() {
        let hooks = vec![
            hook("a", Trigger::PreTask, false, Some(OnFailure::Abort)),
            hook("b", Trigger::PreTask, false, Some(OnFailure::Warn)),
            hook("c", Trigger::PreTask, false, None),
        ];
        let (ran, verdict) = run(hooks, |name| match name {
            "a" => said(Decision::Warn),
            "b" => said(Decision::Abort),
            _ => said(Decision::Allow),
        });
        assert_eq!(ran, ["a", "b"]);
        assert_eq!(verdict.warnings, [("a".into(), "said".into())]);
        assert_eq!(verdict.abort, Some(("b".into(), "said".into())));
    }
}
