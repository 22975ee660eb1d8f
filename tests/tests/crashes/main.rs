//! What dies, and what must survive it, on both shapes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a broken expectation is a failed test, and a seed has to be seen"
)]

mod cuts;
mod matrix;
mod points;
mod stale;
mod work;
