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

/// The same with a system of their own: whoever takes a task that names only a role would get those of other tests too.
macro_rules! alone_on_both_shapes {
    ($($name:ident)*) => {
        mod one_process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::alone(harness::Shape::OneProcess, super::$name).await;
            })*
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::alone(harness::Shape::Cluster, super::$name).await;
            })*
        }
    };
}

async fn alone<F: Future<Output = ()>>(shape: harness::Shape, test: impl FnOnce(harness::Api) -> F) {
    let system = tokio::task::block_in_place(|| harness::System::start(shape, &[]));
    let _logs = system.shown_on_failure();
    test(system.api()).await;
}

mod adaptation;
mod agents;
mod comparing;
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
