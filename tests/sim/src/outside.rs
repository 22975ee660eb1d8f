//! What comes from outside for the whole graph: events, signals, people, sub-workflows, commands that change the graph.

use std::sync::Arc;

use base::{ExecutionId, Payload};
use uuid::Uuid;
use workflow::{
    Compiled, Effect, Input, ResetFrom, Seed, Status, TaskPhase, Usage, UserEvent, Verdict, Waiting, Why,
};

use crate::{World, plans, whole};

impl World {
    /// One thing from outside that a plan of plain calls never sees.
    pub(crate) fn outside(&mut self) {
        let by: Arc<str> = "ann".into();
        match self.rng.below(24) {
            0..6 => self.any_event(),
            6..8 => self.any_signal(),
            8..12 => self.bring_what_is_waited_for(),
            12 | 13 => {
                let vars = if self.rng.one_in(4) { "[1]" } else { "{\"n\": 2}" };
                self.step(Input::UpdateVars { vars: Payload::json_text(vars), by });
            }
            14 | 15 => self.used(),
            16 => self.change_plan(),
            17 => self.reset(),
            18 => {
                let topic = self.rng.sometimes(2, |_| Arc::from("news"));
                let task = self.any_task();
                self.step(Input::SwitchMode { task, topic, by });
            }
            19 if self.state.started_at().is_none() => {
                let (from, vars) = (ExecutionId::new(Uuid::from_u128(4)), None);
                let output = self.rng.sometimes(2, |_| Payload::json_text("{\"cases\": [\"yes\"]}"));
                self.step(Input::Seed { from, tasks: vec![Seed { task: 0, output }], vars });
            }
            20 => {
                let task = self.rng.sometimes(2, |_| 1);
                self.step(Input::GrantStep { task, by });
            }
            _ => self.deliver(),
        }
    }

    fn any_task(&mut self) -> u32 {
        let len = self.state.tasks().len() as u64;
        self.rng.below(len + 1) as u32
    }

    /// Some event, which may fit what is waited for.
    fn any_event(&mut self) {
        let topic = if self.rng.one_in(8) { "other" } else { "news" };
        let key = if self.rng.one_in(2) { "k0" } else { "k1" };
        let payload = Payload::from_value(&whole::payload(&mut self.rng));
        self.event(topic.into(), key.into(), payload);
    }

    fn event(&mut self, topic: Arc<str>, key: Arc<str>, payload: Payload) {
        self.events += u64::from(!self.rng.one_in(8));
        let event = UserEvent {
            id: format!("e{}", self.events).into(),
            topic,
            event_type: "".into(),
            source: "sim".into(),
            key,
            payload,
            at: self.now,
            priority: self.rng.below(3) as i32,
        };
        self.step(Input::Event { event: Arc::new(event) });
    }

    fn any_signal(&mut self) {
        let name = if self.rng.one_in(6) { "stop" } else { "go" };
        self.signal(name.into());
    }

    fn signal(&mut self, name: Arc<str>) {
        let id: Arc<str> = if self.rng.one_in(3) { "7".into() } else { "".into() };
        let payload = plans::value(&mut self.rng);
        self.step(Input::Signal { name, payload, id, by: "ann".into() });
    }

    fn used(&mut self) {
        let Some((call, attempt)) = self.rng.pick(self.open.iter().map(|(c, a)| (*c, *a))) else { return };
        let usage = Usage { tokens: self.rng.below(9), money_micros: self.rng.below(3) };
        self.step(Input::Used { call, attempt, usage });
    }

    fn change_plan(&mut self) {
        let other = self.rng.sometimes(2, |_| ()).and(self.rng.pick(self.others.iter()).cloned());
        let plan = other.unwrap_or_else(|| whole::changed(&mut self.rng, self.state.plan().plan()));
        let text = Payload::json_text(serde_json::to_string(&plan).unwrap());
        // A removed task may be one that an input or another task names.
        let Ok(plan) = Compiled::new(plan) else { return };
        let (by, reason) = ("ann".into(), "better".into());
        self.step(Input::ChangePlan { plan: Arc::new(plan), text, by, reason });
    }

    fn reset(&mut self) {
        let from = match self.rng.one_in(2) {
            true => ResetFrom::Tasks(vec![self.any_task()]),
            false => ResetFrom::Seq(self.rng.below(self.state.seq() + 1)),
        };
        let text = "{\"flag\": true, \"list\": [1, 2]}";
        let input = self.rng.sometimes(3, |_| Payload::json_text(text));
        self.step(Input::Reset { from, input, by: "ann".into(), reason: "again".into() });
    }

    /// Somebody brings what a task waits for.
    pub(crate) fn bring_what_is_waited_for(&mut self) {
        let open = |t: &workflow::TaskState| t.is_open() && t.waiting().is_some();
        let waiting: Vec<u32> =
            (0..).zip(self.state.tasks()).filter(|(_, t)| open(t)).map(|(task, _)| task).collect();
        let Some(task) = self.rng.pick(waiting.into_iter()) else { return };
        match self.state.tasks()[task as usize].waiting().cloned() {
            Some(Waiting::Event { .. } | Waiting::Signal { .. }) => self.bring_what_is_named(task),
            Some(Waiting::Step { .. }) => {
                self.step(Input::GrantStep { task: Some(task), by: "ann".into() });
            }
            Some(Waiting::Approval(_)) => self.decide(task),
            Some(Waiting::Publish { .. }) => self.step(Input::Published { task }),
            Some(Waiting::Child { .. }) => self.let_a_child_live(),
            Some(Waiting::Timer { .. } | Waiting::Pause { .. }) => self.pass_time(),
            None => {}
        }
    }

    /// The event or signal that the task names. A filter most often asks for what random definitions ask for, or for what
    /// stands in the input.
    fn bring_what_is_named(&mut self, task: u32) {
        let reasons = self.state.stuck(usize::MAX).into_iter();
        let mut of_it = reasons.filter(|r| r.task.as_ref().is_some_and(|(t, _)| *t == task)).map(|r| r.why);
        match of_it.next() {
            Some(Why::Event { topic, key, .. }) => {
                let payload = match self.rng.one_in(3) {
                    true => self.state.input().clone(),
                    false => Payload::json_text("{\"n\": 9}"),
                };
                self.event(topic.into(), key.unwrap_or_else(|| "k0".into()), payload);
            }
            Some(Why::Signal { name, .. }) => self.signal(name.into()),
            _ => {}
        }
    }

    fn decide(&mut self, task: u32) {
        let verdict = match self.rng.below(4) {
            0 => Verdict::Rejected,
            1 => Verdict::Answered,
            _ => Verdict::Approved,
        };
        let asked = self.state.may_answer(task);
        let by: Arc<str> = match self.rng.below(4) {
            0 => "zoe".into(),
            1 => "bob".into(),
            2 => "ann".into(),
            _ => self.rng.pick(asked.into_iter()).unwrap_or_else(|| "ann".into()).into(),
        };
        let comment = if self.rng.one_in(2) { "well" } else { "" };
        let form = self.rng.sometimes(2, |r| plans::answer(r, true));
        let comment = comment.into();
        self.step(Input::Decide { task, verdict, by, names: vec!["staff".into()], comment, form });
    }

    pub(crate) fn act_outside(&mut self, effect: Effect) {
        match effect {
            Effect::StartChild { task } => {
                let wait = self.state.tasks()[task as usize].waiting();
                assert!(matches!(wait, Some(Waiting::Child { .. })), "seed {}: {task}", self.seed);
                self.start_child(task);
            }
            Effect::CancelChild { task, execution } => self.cancel_child(task, execution),
            Effect::Publish { task } => {
                assert!(self.state.emitted(task).is_some(), "seed {}: {task}", self.seed);
                self.pending.push(Input::Published { task });
            }
            Effect::AskApproval { task } | Effect::Escalate { task, .. } => {
                assert!(self.state.approval(task).is_some(), "seed {}: {task}", self.seed);
            }
            Effect::DeadLetter { task } => {
                let undone = self.state.undone().and_then(|u| u.done.get(&task));
                assert!(matches!(undone, Some(Some(_))), "seed {}: {task}", self.seed);
            }
            Effect::PlanChanged => assert!(self.state.revision() > 0),
            other => panic!("seed {}: {other:?} is the other half's", self.seed),
        }
        let open = self.state.tasks().iter().filter(|t| t.phase == TaskPhase::Scheduled).count();
        assert!(open == 0 || self.state.status() != Status::Completed, "seed {}", self.seed);
    }
}
