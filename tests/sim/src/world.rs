//! The world around one execution: a shell that does what the effects say, agents that answer, fail, ask, are slow
//! or die, people with commands, crashes, lost commits, repeated and late messages. Everything follows from a seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base::{AgentId, CheckpointId, Effect as Class, ExecutionId, FailureClass, Payload, Timestamp};
use uuid::Uuid;
use workflow::{
    Assignment, CallKey, CallPhase, Caller, Compiled, Effect, Event, Input, Kind, Resolution, State, Status,
    Step, create, fold, plan::Plan,
};

use crate::{Rng, check, family::Member, plans, whole};

/// What an agent does with a message.
#[derive(Clone)]
pub(crate) enum Fate {
    Answer(Payload),
    Fail(FailureClass, bool),
    Ask,
    Silent,
}

/// Rounds after which people in a calm world give up.
const PATIENCE: usize = 1500;

/// One execution, and everything around it.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    id: ExecutionId,
    plan: Arc<Compiled>,
    /// The execution as it is.
    pub state: State,
    /// Folds every event one by one, beside the live state.
    replica: State,
    /// Everything that happened.
    pub log: Vec<Event>,
    pub(crate) now: Timestamp,
    /// What agents decided by message id: a repeated message has the same fate.
    fates: BTreeMap<(CallKey, u32, u32), Fate>,
    /// Messages on their way, delivered in any order.
    pub(crate) pending: Vec<Input>,
    /// What the shell dispatches and waits for, by effects alone.
    queue: BTreeMap<CallKey, Timestamp>,
    pub(crate) open: BTreeMap<CallKey, u32>,
    /// Input of each call when it left first.
    inputs: BTreeMap<(CallKey, u32), Payload>,
    checks: check::Checks,
    /// Whether commands and events of the whole graph come too.
    pub(crate) wild: bool,
    /// Whether agents answer by the protocols of the patterns.
    pub(crate) polite: bool,
    /// What the plan may be changed to.
    pub(crate) others: Vec<Plan>,
    /// Events so far, for their ids.
    pub(crate) events: u64,
    /// Whether agents only ever answer, nobody gives commands, and people give up what nobody brings to an end.
    pub(crate) calm: bool,
    /// Whom answers may name, in a calm world.
    pub(crate) names: Vec<String>,
    /// Plans that sub-workflows run.
    pub(crate) subs: Vec<Plan>,
    /// Its sub-workflows.
    pub(crate) family: BTreeMap<ExecutionId, Member>,
    /// Sub-workflows that could not start.
    pub(crate) refused: BTreeSet<ExecutionId>,
}

impl World {
    /// An execution of a random plan of calls.
    pub fn new(seed: u64, tasks: usize) -> Self {
        Self::with(seed, |rng| plans::plan(rng, tasks))
    }

    /// An execution of a plan from the whole set of nodes.
    pub fn whole(seed: u64, tasks: usize) -> Self {
        let mut world = Self::with(seed, |rng| whole::plan(rng, tasks));
        world.wild = true;
        world.subs = vec![whole::plan(&mut Rng::new(!seed), tasks / 2)];
        world
    }

    /// An execution of this plan, whose agents mostly keep to the protocols of the patterns. It may be changed to one of
    /// `others` while it runs. Its sub-workflows run `subs`; without any they are refused.
    pub fn of(seed: u64, plan: Plan, others: Vec<Plan>, subs: Vec<Plan>) -> Self {
        let mut world = Self::with(seed, |_| plan);
        world.subs = subs;
        world.wild = true;
        world.polite = true;
        world.others = others;
        world
    }

    fn with(seed: u64, plan: impl FnOnce(&mut Rng) -> Plan) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Arc::new(Compiled::new(plan(&mut rng)).unwrap());
        let created = plans::created(&mut rng);
        let id = ExecutionId::new(Uuid::from_u128(u128::from(seed)));
        let now = Timestamp::from_millis(1_000_000);
        let begun = create(id, plan.clone(), created, now);
        Self::around(seed, rng, (id, plan), begun, now)
    }

    /// The world around an execution that was created.
    pub(crate) fn around(
        seed: u64,
        rng: Rng,
        (id, plan): (ExecutionId, Arc<Compiled>),
        (state, step): (State, Step),
        now: Timestamp,
    ) -> Self {
        Self {
            seed,
            rng,
            id,
            plan,
            replica: state.clone(),
            state,
            log: step.events,
            now,
            fates: BTreeMap::new(),
            pending: vec![],
            queue: BTreeMap::new(),
            open: BTreeMap::new(),
            inputs: BTreeMap::new(),
            checks: check::Checks::default(),
            wild: false,
            polite: false,
            others: vec![],
            events: 0,
            calm: false,
            names: vec![],
            subs: vec![],
            family: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// The same execution with this input and no time limit of its own, in a world without trouble: agents answer, people
    /// bring what is waited for. What waits for something that nobody brings is cancelled in the end.
    #[must_use]
    pub fn calm(mut self, input: &serde_json::Value) -> Self {
        let mut created = (**self.state.created()).clone();
        created.input = Payload::from_value(input);
        (created.timeout, created.max_agents) = (Duration::ZERO, 0);
        let (state, step) = create(self.id, self.plan.clone(), created, self.now);
        (self.replica, self.state, self.log) = (state.clone(), state, step.events);
        self.calm = true;
        let plan = serde_json::to_value(self.plan.plan()).unwrap();
        plans::names(&plan, &mut self.names);
        self
    }

    /// So many things happen, then there is no more trouble: it has to end, and the whole log is looked at.
    pub fn live(mut self, steps: usize) -> Self {
        for _ in 0..steps {
            self.anything();
        }
        self.drain();
        self.judge();
        self
    }

    /// One thing that may happen.
    pub(crate) fn anything(&mut self) {
        if self.rng.one_in(3) {
            self.let_a_child_live();
        }
        if self.wild && self.rng.one_in(4) {
            return self.outside();
        }
        match self.rng.below(100) {
            0..30 => self.deliver(),
            30..55 => self.dispatch(),
            55..65 => self.pass_time(),
            65..70 => self.nonsense(),
            70..75 => self.help_the_waiting(),
            75..79 => self.crash(),
            79..83 => self.lose_a_caller(),
            83..87 => self.no_agent(),
            87..90 => self.bind(),
            90..93 => self.pause_or_resume(),
            93..98 => self.step(Input::Admit),
            98 => self.measure(),
            _ => self.end_it(),
        }
    }

    /// No more trouble: everybody does what is asked of them, and the execution has to end.
    fn drain(&mut self) {
        for round in 0..20_000 {
            if self.over() {
                return;
            }
            self.round(round);
        }
        panic!("seed {}: it never ends: {:#?}", self.seed, self.log);
    }

    /// One round without trouble.
    pub(crate) fn round(&mut self, round: usize) {
        if self.calm && round >= PATIENCE {
            self.step(Input::Cancel { by: "ann".into(), reason: "nobody brings it".into() });
        }
        self.step(Input::Admit);
        if self.state.status() == Status::Paused {
            self.step(Input::Resume { by: "ann".into() });
        }
        self.dispatch();
        self.deliver();
        self.help_the_waiting();
        if self.wild {
            self.bring_what_is_waited_for();
        }
        self.drain_children(round);
        if self.rng.one_in(4) {
            self.pass_time();
        }
        if self.pending.is_empty() {
            self.break_the_silence();
        }
    }

    /// Looks at the whole log.
    pub(crate) fn judge(&self) {
        self.judge_children();
        check::log(self.seed, &self.state, &self.log);
        let last = &self.state;
        assert!(last.status().is_final() && last.in_flight() == 0 && last.waiting_calls() == 0);
        assert_eq!(last.output().is_some(), last.status() == Status::Completed);
        assert!(last.status() != Status::Failed || !last.causes().is_empty());
    }

    /// An input arrives.
    pub(crate) fn step(&mut self, input: Input) {
        self.commits(input);
    }

    /// An input arrives; `false` when what came of it was not committed, so that it has to come again.
    pub(crate) fn commits(&mut self, input: Input) -> bool {
        let ticking = matches!(input, Input::Tick { .. });
        let was_final = self.state.status().is_final();
        self.forget_what_ends(&input);
        let Ok(step) = self.state.step(&input, self.now) else {
            assert_eq!(
                self.state, self.replica,
                "seed {}: a refusal changed the state: {input:?}",
                self.seed
            );
            return true;
        };
        if self.rng.one_in(60) {
            // The group was not committed: memory goes, nothing was done.
            self.recover();
            return false;
        }
        for event in &step.events {
            self.replica.apply(event);
        }
        self.replica.take_fresh();
        self.log.extend(step.events.iter().cloned());
        assert_eq!(
            self.replica, self.state,
            "seed {}: the log gives another state after {input:?}",
            self.seed
        );
        let late = |e: &Event| {
            matches!(
                e.kind,
                Kind::LateResult { .. }
                    | Kind::ChildEnded { .. }
                    | Kind::ChildSettled { .. }
                    | Kind::Spent { .. }
            )
        };
        let only_late = step.events.iter().all(late);
        assert!(
            !was_final || only_late && step.effects.is_empty(),
            "seed {}: {input:?} after the end",
            self.seed
        );
        for event in &step.events {
            if let Kind::Reset { tasks, .. } = &event.kind {
                self.queue.retain(|call, _| !tasks.contains(&call.task));
            }
        }
        for effect in step.effects {
            self.act(effect);
        }
        self.settle();
        self.checks.state(self.seed, &self.state, &self.log);
        if ticking {
            self.checks.ticked(self.seed, &self.state, self.now);
        }
        self.check_children();
        true
    }

    /// The shell's own books: what it waits for ends with the result it brings, or with its caller.
    fn forget_what_ends(&mut self, input: &Input) {
        let ended = match input {
            Input::Answered { call, attempt, .. }
            | Input::AttemptFailed { call, attempt, .. }
            | Input::InputRequired { call, attempt, .. } => {
                (self.open.get(call) == Some(attempt)).then_some(*call)
            }
            Input::CallerLost { call, lost, .. } => {
                let current = self.state.call(*call).and_then(|c| c.current.as_ref());
                current.filter(|a| a.to.caller == *lost).map(|_| *call)
            }
            _ => None,
        };
        if let Some(call) = ended {
            self.open.remove(&call);
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Dispatch { call, at } => {
                let before = self.queue.insert(call, at);
                assert_eq!(before, None, "seed {}: {call:?} is dispatched twice", self.seed);
            }
            Effect::Send(call) | Effect::Recover(call) => self.send(call),
            Effect::SendAnswer(call) => {
                let fate = plans::fate_after_answer(&mut self.rng, self.polite);
                let retry = self.state.call(call).unwrap().retry;
                let generation = self.state.tasks()[call.task as usize].generation();
                self.fates.insert((call, retry, generation), fate);
                self.send(call);
            }
            Effect::Abort { call, number, .. } => {
                let asked = self.open.remove(&call).is_none();
                let known = self.log.iter().any(
                    |e| matches!(&e.kind, Kind::AttemptStarted { call: c, attempt, .. } if (*c, *attempt) == (call, number)),
                );
                assert!(known, "seed {}: abort of an attempt that never left (asked: {asked})", self.seed);
            }
            Effect::Ended => {}
            other => self.act_outside(other),
        }
    }

    /// The agent gets a message (again) and decides what becomes of it.
    fn send(&mut self, call: CallKey) {
        let Some(state) = self.state.call(call).filter(|c| c.phase == CallPhase::Running) else { return };
        let (attempt, retry) = (state.attempt, state.retry);
        self.open.insert(call, attempt);
        let (rng, polite, calm) = (&mut self.rng, self.polite, self.calm);
        let generation = self.state.tasks()[call.task as usize].generation();
        let made = || match calm {
            true => Fate::Answer(plans::helpful(rng, &self.names)),
            false => plans::fate(rng, polite),
        };
        let fate = self.fates.entry((call, retry, generation)).or_insert_with(made).clone();
        self.pending.extend(outcome(call, attempt, fate));
    }

    /// The shell's books against what a recovery would do.
    fn settle(&mut self) {
        if !self.state.is_active() {
            self.queue.clear();
        }
        let ready =
            |call: &CallKey| matches!(self.state.call(*call).map(|c| c.phase), Some(CallPhase::Ready(_)));
        self.queue.retain(|call, _| ready(call));
        let (mut queue, mut open) = (BTreeMap::new(), BTreeSet::new());
        for effect in self.state.outstanding() {
            match effect {
                Effect::Dispatch { call, at } => drop(queue.insert(call, at)),
                Effect::Recover(call) => drop(open.insert(call)),
                Effect::Send(_) | Effect::SendAnswer(_) | Effect::Abort { .. } | Effect::PlanChanged => {
                    panic!("seed {}: recovery cannot {effect:?}", self.seed)
                }
                _ => {}
            }
        }
        assert_eq!(self.queue, queue, "seed {}: what is dispatched", self.seed);
        let mine: BTreeSet<CallKey> = self.open.keys().copied().collect();
        assert_eq!(mine, open, "seed {}: what is waited for", self.seed);
    }

    pub(crate) fn crash(&mut self) {
        self.recover();
        self.crash_children();
        if self.rng.one_in(2) {
            for call in self.open.keys().copied().collect::<Vec<_>>() {
                let Some(attempt) = self.state.call(call).and_then(|c| c.current.clone()) else { continue };
                let heir = self.member();
                self.step(Input::CallerLost { call, lost: attempt.to.caller.clone(), heir });
            }
        }
    }

    fn recover(&mut self) {
        self.state = fold(self.id, self.plan.clone(), &self.log).unwrap();
        assert_eq!(self.state, self.replica, "seed {}: a fold gives another state", self.seed);
        self.queue.clear();
        self.open.clear();
        for effect in self.state.outstanding() {
            self.act(effect);
        }
        self.settle();
    }

    pub(crate) fn deliver(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let at = self.rng.below(self.pending.len() as u64) as usize;
        let message =
            if self.rng.one_in(5) { self.pending[at].clone() } else { self.pending.swap_remove(at) };
        // What executions tell each other is kept until what came of it is committed.
        let kept = matches!(
            message,
            Input::ChildAccepted { .. } | Input::ChildRefused { .. } | Input::ChildEnded { .. }
        );
        let again = kept.then(|| message.clone());
        if !self.commits(message) {
            self.pending.extend(again);
        }
    }

    fn dispatch(&mut self) {
        let Some((call, _)) = self.rng.pick(self.queue.iter().map(|(c, at)| (*c, *at))) else { return };
        let payload = match self.state.call_input(call) {
            Ok(payload) => payload,
            Err(e) => {
                let message = e.to_string().into();
                return self.step(Input::CannotCall { call, class: FailureClass::Definition, message });
            }
        };
        let generation = self.state.tasks()[call.task as usize].generation();
        let first = self.inputs.entry((call, generation)).or_insert_with(|| payload.clone());
        assert_eq!(*first, payload, "seed {}: the input of {call:?} changed: {:#?}", self.seed, self.log);
        let (effect, caller, instance) = (plans::class(&mut self.rng), self.member(), self.rng.below(3));
        self.step(Input::Assign { call, to: Arc::new(assignment(effect, caller, instance)) });
    }

    pub(crate) fn pass_time(&mut self) {
        let next = self.state.next_timer(self.now).filter(|_| self.rng.one_in(2));
        let some = self.now.plus(Duration::from_millis(self.rng.below(4000)));
        self.now = next.unwrap_or(some);
        self.tick();
        // A clock may step back; the log does not.
        if self.rng.one_in(20) {
            self.now = Timestamp::from_millis(self.now.millis() - 1500);
        }
    }

    pub(crate) fn tick(&mut self) {
        self.step(Input::Tick { checkpoint: CheckpointId::new(Uuid::from_u128(9)) });
        self.tick_children();
    }

    /// Somebody answers a question or takes a decision.
    fn help_the_waiting(&mut self) {
        let held: Vec<CallKey> = self.state.held_calls().collect();
        let Some(call) = self.rng.pick(held.into_iter()) else { return };
        let by: Arc<str> = "ann".into();
        if self.state.call(call).unwrap().phase == CallPhase::Input {
            return self.step(Input::Answer { call, input: Payload::json_text("\"this\""), by });
        }
        let decision = match self.rng.below(4) {
            0 => Resolution::Failed("not done".into()),
            1 => Resolution::Retry,
            _ => Resolution::Completed(plans::answer(&mut self.rng, self.polite)),
        };
        self.step(Input::Resolve { call, decision, by });
    }

    fn lose_a_caller(&mut self) {
        let Some(call) = self.rng.pick(self.open.keys().copied()) else { return };
        let (lost, heir) = (self.member(), self.member());
        self.step(Input::CallerLost { call, lost, heir });
    }

    fn no_agent(&mut self) {
        let Some(call) = self.rng.pick(self.queue.keys().copied()) else { return };
        let reason = if self.rng.one_in(2) { "none at all" } else { "none is healthy" };
        self.step(Input::NoAgent { call, reason: reason.into() });
    }

    fn bind(&mut self) {
        let Some((call, attempt)) = self.rng.pick(self.open.iter().map(|(c, a)| (*c, *a))) else { return };
        self.step(Input::Bound { call, attempt, agent_task_id: "t".into(), context_id: "c".into() });
    }

    fn pause_or_resume(&mut self) {
        let by: Arc<str> = "ann".into();
        if self.state.status() == Status::Paused {
            self.step(Input::Resume { by });
        } else if self.rng.one_in(2) {
            let checkpoint = CheckpointId::new(Uuid::from_u128(5));
            self.step(Input::Pause { by, reason: "lunch".into(), checkpoint });
        }
    }

    fn measure(&mut self) {
        let events_max = if self.rng.one_in(8) { 20 } else { 120 };
        self.step(Input::Measure { bytes: 1, events_max, bytes_max: 1000 });
    }

    fn end_it(&mut self) {
        let (by, reason): (Arc<str>, Arc<str>) = ("ann".into(), "enough".into());
        match self.rng.below(6) {
            0 => self.step(Input::Cancel { by, reason }),
            1 => self.step(Input::Terminate { by, reason }),
            _ => {}
        }
    }

    /// Agents that say nothing are given up by the shell.
    fn break_the_silence(&mut self) {
        let Some((call, attempt)) = self.rng.pick(self.open.iter().map(|(c, a)| (*c, *a))) else { return };
        self.pending.extend(outcome(call, attempt, Fate::Fail(FailureClass::Broken, false)));
    }

    fn member(&mut self) -> Caller {
        Caller { member: format!("m{}", self.rng.below(3)).into(), incarnation: self.rng.below(2) }
    }

    /// Anything, about anything.
    fn nonsense(&mut self) {
        let far = self.rng.one_in(3);
        let call = match far {
            true => CallKey::new(u32::MAX - self.rng.below(2) as u32, self.rng.below(9) as u32),
            false => CallKey::new(self.rng.below(12) as u32, self.rng.below(5) as u32),
        };
        let attempt = self.rng.below(4) as u32;
        let (by, output): (Arc<str>, Payload) = ("x".into(), plans::value(&mut self.rng));
        let input = match self.rng.below(9) {
            // A real attempt is over for the shell when its result is there; so is it here.
            0 => Input::Answered { call, attempt, output, call_us: u64::MAX },
            1 => Input::Assign { call, to: Arc::new(assignment(Class::Pure, self.member(), 1)) },
            2 => Input::NoAgent { call, reason: by },
            3 => Input::CannotCall { call, class: FailureClass::Definition, message: by },
            4 => Input::Bound { call, attempt, agent_task_id: by.clone(), context_id: by },
            5 => Input::Answer { call, input: output, by },
            6 => Input::Resolve { call, decision: Resolution::Failed("no".into()), by },
            7 => Input::CallerLost { call, lost: self.member(), heir: self.member() },
            _ => outcome(call, attempt, Fate::Fail(FailureClass::Auth, true)).unwrap(),
        };
        drop(self.state.call_input(call));
        drop((self.state.retry_policy(call.task), self.state.priority(call.task)));
        self.step(input);
    }
}

fn assignment(effect: Class, caller: Caller, instance: u64) -> Assignment {
    Assignment {
        agent: AgentId::new("helper").unwrap(),
        instance: format!("i{instance}").into(),
        caller,
        input_hash: [0; 32],
        capability: "".into(),
        capability_version: "".into(),
        effect,
        reason: "".into(),
    }
}

fn outcome(call: CallKey, attempt: u32, fate: Fate) -> Option<Input> {
    match fate {
        Fate::Answer(output) => Some(Input::Answered { call, attempt, output, call_us: 1000 }),
        Fate::Fail(class, outcome_known) => Some(Input::AttemptFailed {
            call,
            attempt,
            class,
            message: "it broke".into(),
            outcome_known,
            retry_after: None,
            call_us: 1000,
        }),
        Fate::Ask => Some(Input::InputRequired {
            call,
            attempt,
            prompt: Payload::json_text("\"which?\""),
            agent_task_id: "t".into(),
            context_id: "c".into(),
            call_us: 1000,
        }),
        Fate::Silent => None,
    }
}
