//! Floor 1, pure: when schedules fire.
//!
//! [`Spec`] is what a user wrote, [`Timing`] the compiled form: cron in a time zone, an interval, or one moment.
//! [`decide`] gets the stored [`State`], the time and whether an execution of the schedule runs, and says what is to be
//! started, skipped or cancelled and when to look again. It reads no clock and draws nothing at random: jitter is a
//! hash of the schedule and the moment, so every replica and every retry computes the same.
//!
//! **Daylight saving.** A cron time that the clocks skip fires once, right after the gap; one that they repeat fires
//! once, at its first occurrence. Patterns with a wildcard or a step in seconds, minutes or hours follow the clock on
//! the wall: they skip the gap and go on through the repeated hour. Intervals count elapsed time and know no zone.

mod decide;
mod spec;
mod timing;

pub use decide::{Action, Decision, Facts, Passed, SkipReason, State, decide};
pub use spec::{BadSpec, Overlap, Rules, Spec};
pub use timing::Timing;

/// Most fires that one call of [`decide`] or [`Timing::between`] handles; the rest comes with the next call.
pub const FIRES_AT_ONCE: usize = 100;
