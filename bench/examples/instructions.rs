//! For `scripts/instructions.sh`: does one thing so many times, so that a simulator of the processor can count what one
//! time costs. `instructions step|encode|decode COUNT`.
#![allow(clippy::expect_used, clippy::panic, reason = "a developers' tool")]

#[path = "../benches/subject/mod.rs"]
mod subject;

use std::hint::black_box;

fn main() {
    let mut words = std::env::args().skip(1);
    let what = words.next().expect("step, encode or decode");
    let count: u32 = words.next().and_then(|n| n.parse().ok()).expect("how often");
    let plan = subject::plan(&subject::chain());
    let log = subject::execution(&plan);
    let rows = subject::encode(&log);
    for _ in 0..count {
        match what.as_str() {
            "step" => _ = black_box(subject::execution(black_box(&plan))),
            "encode" => _ = black_box(subject::encode(black_box(&log))),
            "decode" => _ = black_box(subject::decode(black_box(&rows))),
            other => panic!("{other}: step, encode or decode"),
        }
    }
}
