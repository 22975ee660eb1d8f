//! What is recorded: every example in a world without trouble, and for each construct that needs trouble (a saga, a live
//! change, a reset, …) the smallest execution of a random definition that shows it.

use std::{
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sim::{Text, World};
use workflow::{Because, ChildOutcome, Kind, Status, Verdict, plan::Plan};

use crate::{Own, fixtures, planned, told};

/// Seeds that are looked through for an execution that shows something.
const SEEDS: u64 = 4000;
/// Tries of an example, until it completes.
const TRIES: u64 = 400;
/// Fewer facts than this show too little.
const FACTS_MIN: usize = 25;

/// Something that a log is recorded of.
pub(crate) struct Scene {
    /// Names its files.
    pub(crate) name: String,
    what: What,
}

enum What {
    /// A file below `examples/`.
    Example(PathBuf),
    /// A random definition in whose log this is true.
    Shows(fn(&Run) -> bool),
}

/// Every scene.
pub(crate) fn scenes() -> Vec<Scene> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut all = Vec::new();
    examples(&root, "example", &mut all);
    all.extend(
        CONSTRUCTS.iter().map(|(name, shows)| Scene { name: (*name).into(), what: What::Shows(*shows) }),
    );
    all
}

fn examples(folder: &Path, prefix: &str, all: &mut Vec<Scene>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = format!("{prefix}-{stem}");
        if path.is_dir() {
            examples(&path, &name, all);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            all.push(Scene { name, what: What::Example(path) });
        }
    }
}

/// Where a part of a fixture lies.
pub(crate) fn file(name: &str, extension: &str) -> PathBuf {
    fixtures("log-v2").join(format!("{name}.{extension}"))
}

/// The plan of a change.
fn changed(kind: &Kind) -> Option<Plan> {
    match kind {
        Kind::PlanChanged(change) => serde_json::from_slice(change.plan.bytes()).ok(),
        _ => None,
    }
}

/// A construct, and whether an execution shows it.
type Construct = (&'static str, fn(&Run) -> bool);

const CONSTRUCTS: &[Construct] = &[
    ("saga-after-a-failure", |run| {
        let failed = |k: &Kind| matches!(k, Kind::CompensationStarted { because: Because::Failed { .. } });
        run.status() == Status::Compensated && run.has(failed)
    }),
    ("saga-after-a-cancel", |run| {
        let cancelled =
            |k: &Kind| matches!(k, Kind::CompensationStarted { because: Because::Cancelled { .. } });
        run.status() == Status::Compensated && run.has(cancelled)
    }),
    ("saga-that-fails", |run| {
        run.has(|k| matches!(k, Kind::CompensationFailed { .. }))
            && run.has(|k| matches!(k, Kind::TaskCompensated { .. }))
    }),
    ("changed-and-changed-back", |run| {
        let plans: Vec<Plan> = run.world.log.iter().filter_map(|e| changed(&e.kind)).collect();
        run.status() == Status::Completed && plans.first() != plans.last() && plans.last() == Some(&run.plan)
    }),
    ("reset-with-another-input", |run| run.has(|k| matches!(k, Kind::Reset { input: Some(_), .. }))),
    ("reset-to-a-checkpoint", |run| {
        run.has(|k| matches!(k, Kind::Reset { input: None, .. }))
            && run.has(|k| matches!(k, Kind::Checkpoint { .. }))
    }),
    ("forked", |run| run.has(|k| matches!(k, Kind::Seeded { .. }))),
    ("paused-and-resumed", |run| {
        run.has(|k| matches!(k, Kind::Paused { .. }))
            && run.has(|k| matches!(k, Kind::Resumed { .. }))
            && run.status() == Status::Completed
    }),
    ("cancelled", |run| run.status() == Status::Cancelled),
    ("terminated", |run| run.status() == Status::Terminated),
    ("budget-spent", |run| {
        run.world.state.causes().iter().any(|c| c.class == base::FailureClass::Budget)
            && run.has(|k| matches!(k, Kind::Spent { .. }))
    }),
    ("stopped-by-a-hook", |run| run.world.state.causes().iter().any(|c| c.class == base::FailureClass::Hook)),
    ("in-a-session", |run| {
        let settings = &run.world.state.created().settings;
        !settings.session.is_empty()
            && settings.history.is_some()
            && run.has(|k| matches!(k, Kind::VariablesSet { task: None, .. }))
    }),
    ("switched-to-events-and-back", |run| {
        run.has(|k| matches!(k, Kind::ModeSwitched { topic: Some(_), .. }))
            && run.has(|k| matches!(k, Kind::ModeSwitched { topic: None, .. }))
    }),
    ("approved-after-an-escalation", |run| {
        run.has(|k| matches!(k, Kind::ApprovalEscalated { .. }))
            && run.has(|k| matches!(k, Kind::ApprovalDecided { verdict: Verdict::Approved, .. }))
    }),
    ("rejected", |run| run.has(|k| matches!(k, Kind::ApprovalDecided { verdict: Verdict::Rejected, .. }))),
    ("answered-with-a-form", |run| {
        run.has(|k| matches!(k, Kind::ApprovalDecided { verdict: Verdict::Answered, form: Some(_), .. }))
    }),
    ("sub-workflow", |run| {
        let done = |k: &Kind| matches!(k, Kind::ChildEnded { outcome: ChildOutcome::Completed(_), .. });
        run.status() == Status::Completed && run.has(done)
    }),
    ("sub-workflow-that-fails", |run| {
        run.has(|k| matches!(k, Kind::ChildEnded { outcome: ChildOutcome::Failed { .. }, .. }))
    }),
    ("sub-workflow-that-a-reset-left-behind", |run| run.has(|k| matches!(k, Kind::ChildSettled { .. }))),
    ("sub-workflow-with-a-loan", |run| {
        let lent =
            |k: &Kind| matches!(k, Kind::ChildStarted { child, .. } if child.lent && child.budget.calls > 0);
        run.has(lent) && run.status() == Status::Completed
    }),
    ("events-that-are-kept", |run| {
        run.has(|k| matches!(k, Kind::EventTaken { .. }))
            && run.has(|k| matches!(k, Kind::EventPublished { .. }))
            && run.has(|k| matches!(k, Kind::SignalReceived { .. }))
    }),
    ("steps-let-on", |run| run.has(|k| matches!(k, Kind::StepGranted { .. }))),
    ("unknown-outcomes", |run| {
        run.has(|k| matches!(k, Kind::NeedsDecision { .. }))
            && run.has(|k| matches!(k, Kind::DecisionMade { .. }))
            && run.has(|k| matches!(k, Kind::AttemptAdopted { .. }))
    }),
    ("questions", |run| {
        run.has(|k| matches!(k, Kind::InputRequired { .. }))
            && run.has(|k| matches!(k, Kind::InputProvided { .. }))
            && run.has(|k| matches!(k, Kind::AttemptBound { .. }))
    }),
    ("retries-and-late-results", |run| {
        run.world.state.retries() > 1
            && run.has(|k| matches!(k, Kind::LateResult { .. }))
            && run.has(|k| matches!(k, Kind::NoAgent { .. }))
    }),
    ("caught", |run| {
        run.has(|k| matches!(k, Kind::TaskRecovered { .. })) && run.status() == Status::Completed
    }),
    ("history-warning", |run| run.has(|k| matches!(k, Kind::HistoryWarning { .. }))),
    ("named-by-an-answer", |run| run.has(|k| matches!(k, Kind::Picked { .. }))),
    ("nested-turns", |run| {
        let nested = |t: &u32| {
            run.world
                .state
                .turn_of(*t)
                .and_then(|turn| turn.scope)
                .is_some_and(|s| run.world.state.turn_of(s).is_some())
        };
        run.status() == Status::Completed
            && run.has(|k| matches!(k, Kind::TurnStarted { .. }))
            && (0..run.world.state.tasks().len() as u32).any(|t| nested(&t))
    }),
    ("pattern-of-a-user", |run| {
        let own = |plan: &Plan| {
            plan.pattern.starts_with("second-opinion") || plan.pattern.starts_with("checked-race")
        };
        own(run.world.state.plan().plan()) && run.status() == Status::Completed
    }),
];

/// An execution that was run.
struct Run {
    source: String,
    plan: Plan,
    world: World,
}

impl Run {
    fn status(&self) -> Status {
        self.world.state.status()
    }

    fn has(&self, fact: impl Fn(&Kind) -> bool) -> bool {
        self.world.log.iter().any(|event| fact(&event.kind))
    }

    /// Bytes of its definition, its plan and its log.
    fn size(&self) -> usize {
        self.source.len() + json_of(&self.plan).len() + row_of(&self.world).len()
    }

    fn write(&self, name: &str) {
        let log = &self.world.log;
        let states = crate::thirds(
            self.world.state.id(),
            &std::sync::Arc::new(workflow::Compiled::new(self.plan.clone()).unwrap()),
            log,
        );
        fs::write(file(name, "yaml"), &self.source).unwrap();
        fs::write(file(name, "plan.json"), json_of(&self.plan)).unwrap();
        fs::write(file(name, "log"), row_of(&self.world)).unwrap();
        fs::write(file(name, "txt"), told::second(&states)).unwrap();
    }
}

fn json_of(plan: &Plan) -> Vec<u8> {
    serde_json::to_vec(plan).unwrap()
}

fn row_of(world: &World) -> Vec<u8> {
    let (row, large) = api::log::encode_row(&world.log, usize::MAX);
    assert!(large.is_empty());
    [&world.state.id().as_bytes()[..], &row].concat()
}

fn own() -> Own {
    sim::PATTERNS.iter().fold(Own::default(), |own, source| own.with(source))
}

/// The input of the command in an example's header, what stands after `--input`, beside what the others are asked.
fn documented_input(source: &str) -> Value {
    let questions = ["What is a saga?", "What is a lease?"];
    let mut input = json!({
        "question": questions[0], "questions": questions, "folder": "documents", "requirements": "one", "order": "7", "sum": 40,
    });
    let written = source.split_once("--input '").and_then(|(_, rest)| rest.split_once('\''));
    if let Some(Ok(Value::Object(written))) = written.map(|(input, _)| serde_json::from_str(input)) {
        input.as_object_mut().unwrap().extend(written);
    }
    input
}

/// An example in a world without trouble; the first that completes, else the last.
fn example(path: &Path) -> Run {
    let source = fs::read_to_string(path).unwrap();
    let plan = planned(&path.display().to_string(), &source, &Own::default());
    let input = documented_input(&source);
    let run = |seed| World::of(seed, plan.clone(), vec![], vec![plan.clone()]).calm(&input).live(0);
    let done = (0..TRIES).map(run).find(|world| world.state.status() == Status::Completed);
    Run { world: done.unwrap_or_else(|| run(0)), source, plan }
}

/// A random definition under random trouble. It may be changed, and changed back.
fn random(seed: u64, own: &Own) -> Run {
    let text = Text::new(seed, 1 + seed as usize % 5);
    let plan = planned("random", &text.source, own);
    let mut others: Vec<Plan> = text.others.iter().map(|source| planned("random", source, own)).collect();
    others.push(plan.clone());
    let subs = text.subs.iter().map(|source| planned("random", source, own)).collect();
    let world = World::of(seed, plan.clone(), others, subs).live(40 + seed as usize % 80);
    Run { source: text.source, plan, world }
}

/// Records the scenes that have no files yet.
pub(crate) fn record_what_is_missing() {
    fs::create_dir_all(fixtures("log-v2")).unwrap();
    for (number, source) in sim::PATTERNS.iter().enumerate() {
        let path = file(&number.to_string(), "pattern");
        if !path.exists() {
            fs::write(path, source).unwrap();
        }
    }
    let missing: Vec<Scene> = scenes().into_iter().filter(|s| !file(&s.name, "log").exists()).collect();
    let mut sought = Vec::new();
    for scene in &missing {
        match &scene.what {
            What::Example(path) => example(path).write(&scene.name),
            What::Shows(shows) => sought.push((scene, shows, None::<Run>)),
        }
    }
    let own = own();
    for seed in 0..if sought.is_empty() { 0 } else { SEEDS } {
        let Ok(run) = std::panic::catch_unwind(AssertUnwindSafe(|| random(seed, &own))) else { continue };
        let mut run = Some(run);
        for (_, shows, best) in &mut sought {
            let Some(own) = &run else { break };
            let smaller = best.as_ref().is_none_or(|best| own.size() < best.size());
            if own.world.log.len() >= FACTS_MIN && smaller && shows(own) {
                *best = run.take();
            }
        }
    }
    for (scene, _, best) in sought {
        best.unwrap_or_else(|| panic!("no seed shows {}", scene.name)).write(&scene.name);
    }
}
