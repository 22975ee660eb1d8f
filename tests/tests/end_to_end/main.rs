//! What users do, on both shapes: one process on SQLite, and a cluster on PostgreSQL and Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a broken expectation is a failed test, and a seed has to be seen"
)]

/// Runs each of these on both shapes. A test gets the REST client of a system that it shares with the others.
macro_rules! on_both_shapes {
    ($($name:ident)*) => {
        mod one_process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let system = harness::System::shared(harness::Shape::OneProcess);
                let _logs = system.shown_on_failure();
                super::$name(system.api()).await;
            })*
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let system = harness::System::shared(harness::Shape::Cluster);
                let _logs = system.shown_on_failure();
                super::$name(system.api()).await;
            })*
        }
    };
}

mod adaptation;
mod agents;
mod development;
mod durability;
mod examples;
mod failures;
mod graphs;
mod limits;
mod live;
mod providers;
mod refusals;
mod soak;
mod starts;
mod steering;
