//! Random plans under random agents, commands, crashes and nonsense: what always holds.
//!
//! A case is a seed and two sizes; everything else follows from the seed. A failure names them, and
//! `ORCHESTRA_SIM_SEED=n ORCHESTRA_SIM_TASKS=n ORCHESTRA_SIM_STEPS=n cargo test -p orchestra-workflow --test properties one_seed`
//! runs that case alone. The cases of a run are the same every time; a hunt for others gives `ORCHESTRA_SIM_CASES`
//! (how many) and `ORCHESTRA_SIM_BASE` (a number that draws other ones).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::{prelude::*, test_runner::RngSeed};
use sim::{World, number};

fn run(seed: u64, tasks: usize, steps: usize) -> World {
    World::new(seed, tasks).live(steps)
}

fn whole(seed: u64, tasks: usize, steps: usize) -> World {
    World::whole(seed, tasks).live(steps)
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: number("ORCHESTRA_SIM_CASES", 1500),
        rng_seed: RngSeed::Fixed(number("ORCHESTRA_SIM_BASE", 1)),
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_execution_keeps_the_rules_and_ends(seed in any::<u64>(), tasks in 0usize..12, steps in 0usize..250) {
        run(seed, tasks, steps);
    }

    #[test]
    fn every_execution_of_the_whole_graph_keeps_the_rules_and_ends(seed in any::<u64>(), tasks in 0usize..9, steps in 0usize..250) {
        whole(seed, tasks, steps);
    }
}

#[test]
fn the_same_seed_gives_the_same_log() {
    for seed in 0..20 {
        assert_eq!(run(seed, 8, 150).log, run(seed, 8, 150).log, "seed {seed}");
    }
}

#[test]
fn the_simulation_reaches_every_kind_of_fact() {
    let mut kinds = std::collections::BTreeSet::new();
    let worlds = (0..300).map(|seed| run(seed, 8, 200)).chain((0..700).map(|seed| whole(seed, 7, 150)));
    for world in worlds {
        // The name of a kind is the first word of its debug form.
        let name = |e: &workflow::Event| format!("{:?}", e.kind).split([' ', '(']).next().unwrap().to_owned();
        kinds.extend(world.log.iter().map(name));
    }
    assert_eq!(kinds.len(), 56, "{kinds:?}");
}

#[test]
fn one_seed() {
    let seed = number("ORCHESTRA_SIM_SEED", 41);
    run(seed, number("ORCHESTRA_SIM_TASKS", 10), number("ORCHESTRA_SIM_STEPS", 300));
    whole(seed, number("ORCHESTRA_SIM_TASKS", 6), number("ORCHESTRA_SIM_STEPS", 200));
}
