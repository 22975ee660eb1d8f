//! The sources' own targets, each with the load that it is measured under.

mod api;
mod contention;
pub(super) mod pipeline;
mod steady;

use crate::{options::Run, report::Row, system::Backend};

/// All of them on one backend.
pub(super) fn run(options: &Run, backend: Backend) -> Vec<Row> {
    let mut rows = api::run(options, backend);
    rows.extend(steady::run(options, backend));
    rows.extend(contention::run(options, backend));
    rows
}

/// A row whose unit names the target it is held against.
fn row(backend: Backend, load: &str, unit: &str, value: f64) -> Row {
    Row { runs: vec![value], ..Row::new("TARGET", backend, load, unit) }
}
