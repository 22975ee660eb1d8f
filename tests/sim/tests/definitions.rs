//! Random definitions from the whole language, compiled by the real compiler and run in virtual time under random faults:
//! what always holds.
//!
//! A case is a seed; everything else follows from it. A failure names it, and
//! `ORCHESTRA_SIM_SEED=n cargo test -p orchestra-sim --test definitions one_seed -- --nocapture` runs that case alone and
//! shows its definition and those of its sub-workflows. `ORCHESTRA_SIM_CASES` says how many cases a run has, `ORCHESTRA_SIM_FROM` the first of them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and a case that is run alone is shown"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use language::{
    Compiled, Limits, Options, Pattern, Patterns, VersionRange, compile, format_definition, parse_pattern,
    render,
};
use sim::{Rng, Text, World, number};
use workflow::plan::Plan;

/// The patterns of users.
#[derive(Default)]
struct Own(Vec<Arc<Pattern>>);

impl Patterns for Own {
    fn find(&self, name: &str, range: &VersionRange) -> Option<Arc<Pattern>> {
        self.0.iter().find(|p| p.name == name && range.holds(&p.version)).cloned()
    }
}

static OWN: LazyLock<Own> = LazyLock::new(|| {
    let mut own = Own::default();
    for source in sim::PATTERNS {
        let outcome = parse_pattern(source, &Limits::default(), Some(&own));
        let pattern =
            outcome.pattern.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "pattern", source)));
        own.0.push(Arc::new(pattern));
    }
    own
});

fn options() -> Options<'static> {
    Options { patterns: Some(&*OWN), ..Options::default() }
}

fn compiled(source: &str) -> Compiled {
    let outcome = compile(source, &options());
    outcome.compiled.unwrap_or_else(|| panic!("{}\n{source}", render(&outcome.findings, "random", source)))
}

/// The size of the definition and the number of steps of a seed.
fn sizes(seed: u64) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    (1 + rng.below(7) as usize, rng.below(220) as usize)
}

fn text(seed: u64) -> Text {
    Text::new(seed, sizes(seed).0)
}

/// What every accepted definition has: a plan that runs, and forms that say the same.
fn checked(seed: u64, source: &str) -> Plan {
    let first = compiled(source);
    if seed.is_multiple_of(4) {
        let again = compiled(&first.canonical);
        assert_eq!(again.canonical, first.canonical);
        assert_eq!(again.plan.tasks, first.plan.tasks, "the canonical form gives another plan");
        let formatted = format_definition(source, None).unwrap();
        assert_eq!(compiled(&formatted).content_hash, first.content_hash);
        let stored = serde_json::to_string(&first.plan).unwrap();
        assert_eq!(
            serde_json::from_str::<Plan>(&stored).unwrap(),
            first.plan,
            "a stored plan is read as it was"
        );
    }
    workflow::Compiled::new(first.plan.clone())
        .unwrap_or_else(|error| panic!("the plan does not run: {error}"));
    first.plan
}

fn run(seed: u64) -> World {
    let text = text(seed);
    let plan = checked(seed, &text.source);
    let others = text.others.iter().map(|source| compiled(source).plan).collect();
    let subs = text.subs.iter().map(|source| compiled(source).plan).collect();
    World::of(seed, plan, others, subs).live(sizes(seed).1)
}

/// Runs each seed on whatever cores there are; the seeds that broke a rule.
fn hunt(seeds: std::ops::Range<u64>, each: impl Fn(World) + Sync) -> Vec<u64> {
    let next = AtomicU64::new(seeds.start);
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || broken.lock().unwrap().len() >= 10 {
                        return;
                    }
                    match std::panic::catch_unwind(AssertUnwindSafe(|| run(seed))) {
                        Ok(world) => each(world),
                        Err(_) => broken.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    broken.into_inner().unwrap()
}

#[test]
fn every_execution_of_a_random_definition_keeps_the_rules_and_ends() {
    let (from, cases) = (number("ORCHESTRA_SIM_FROM", 0), number("ORCHESTRA_SIM_CASES", 3000));
    let broken = hunt(from..from + cases, |_| ());
    let again = |seed| {
        format!(
            "ORCHESTRA_SIM_SEED={seed} cargo test -p orchestra-sim --test definitions one_seed -- --nocapture\n"
        )
    };
    assert!(
        broken.is_empty(),
        "seeds that broke a rule (the messages stand above):\n{}",
        broken.iter().map(again).collect::<String>()
    );
}

#[test]
fn the_same_seed_gives_the_same_log() {
    for seed in 0..40 {
        assert_eq!(run(seed).log, run(seed).log, "seed {seed}");
    }
}

#[test]
fn random_definitions_use_the_whole_language() {
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..1500 {
        for word in text(seed).source.split('"').skip(1).step_by(2) {
            *words.entry(word.to_owned()).or_default() += 1;
        }
    }
    let keys = "chain graph stages steps workflow agents orchestration_pattern with type tasks depends_on task on failed ended classes case \
        join any quorum best_effort rest cancel keep when on_error continue compensate value fail input input_from for_each max_parallel \
        parallel count retry timeout timeouts effect cache spend priority optional concurrency pick pattern transform set emit wait until \
        event filter key signal step approval who escalate detached version end switch cases otherwise many loop while max exhausted delay \
        history gather start carry partial ordered items buffer output output_tasks vars limits budget saga session triggers coordination \
        sequential dag parallel conditional fanout pipeline scatter-gather event-driven loops entry finish supervisor hierarchical handoff swarm network router \
        round-robin plan-execute-replan evaluator-optimizer debate pair race map-reduce manual second-opinion checked-race";
    let missing: Vec<&str> = keys.split_whitespace().filter(|key| !words.contains_key(*key)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "never said");
}

#[test]
fn the_simulation_reaches_every_kind_of_fact_and_every_end() {
    let (kinds, ends) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeMap::new()));
    let below = Mutex::new(BTreeMap::new());
    let broken = hunt(0..1200, |world| {
        for child in world.below() {
            let depth = child.state.created().settings.parent.as_ref().unwrap().depth;
            let mut below = below.lock().unwrap();
            *below.entry(child.state.status().as_str().to_owned()).or_insert(0) += 1;
            *below.entry(format!("depth {depth}")).or_insert(0) += 1;
        }
        // The name of a kind is the first word of its debug form.
        let name = |e: &workflow::Event| format!("{:?}", e.kind).split([' ', '(']).next().unwrap().to_owned();
        kinds.lock().unwrap().extend(world.log.iter().map(name));
        *ends.lock().unwrap().entry(world.state.status().as_str()).or_insert(0) += 1;
    });
    assert_eq!(broken, Vec::<u64>::new());
    let (kinds, ends) = (kinds.into_inner().unwrap(), ends.into_inner().unwrap());
    assert_eq!(kinds.len(), 56, "{kinds:?}");
    for end in ["completed", "failed", "cancelled", "terminated", "compensated"] {
        assert!(ends.get(end).is_some_and(|n| *n >= 10), "{ends:?}");
    }
    let below = below.into_inner().unwrap();
    for what in ["completed", "failed", "cancelled", "terminated", "compensated", "depth 1", "depth 2"] {
        assert!(below.get(what).is_some_and(|n| *n >= 3), "of sub-workflows: {below:?}");
    }
}

#[test]
fn one_seed() {
    let seed = number("ORCHESTRA_SIM_SEED", 7);
    let text = text(seed);
    for source in [text.source].iter().chain(&text.subs) {
        let value: serde_json::Value = serde_json::from_str(source).unwrap();
        println!("{}", serde_json::to_string_pretty(&value).unwrap());
    }
    run(seed);
}
