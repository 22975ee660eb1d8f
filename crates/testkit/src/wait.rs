//! Waiting for a condition instead of sleeping.

use std::{
    thread,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(5);

/// Asks `probe` every few milliseconds until it gives a value.
///
/// # Panics
/// When it has given none after `deadline`: the message says that we waited for `what`. Never use it with paused time
/// for something that happens outside of the runtime.
pub async fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = tokio::time::Instant::now() + deadline;
    loop {
        // A probe that hangs is stopped by the deadline too.
        let Ok(answer) = tokio::time::timeout_at(give_up, probe()).await else {
            panic!("waited {deadline:?} for {what}, in vain: the last look did not even end");
        };
        if let Some(value) = answer {
            return value;
        }
        assert!(tokio::time::Instant::now() < give_up, "waited {deadline:?} for {what}, in vain");
        tokio::time::sleep(POLL).await;
    }
}

/// [`wait_for`] outside of a runtime.
///
/// # Panics
/// When `probe` has given no value after `deadline`.
pub fn wait_for_blocking<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < give_up, "waited {deadline:?} for {what}, in vain");
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let value = wait_for("the third look", Duration::from_secs(1), async || {
            looks += 1;
            (looks == 3).then_some("here")
        });
        assert_eq!(value.await, "here");
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "for the moon, in vain")]
    async fn a_condition_that_stays_false_panics_with_a_sentence() {
        wait_for("the moon", Duration::from_secs(1), async || None::<()>).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "did not even end")]
    async fn a_probe_that_hangs_does_not_hang_the_test() {
        wait_for("an answer", Duration::from_secs(1), async || std::future::pending::<Option<()>>().await)
            .await;
    }

    #[test]
    #[should_panic(expected = "in vain")]
    fn the_blocking_wait_ends_too() {
        wait_for_blocking("nothing", Duration::from_millis(20), || None::<()>);
    }
}
