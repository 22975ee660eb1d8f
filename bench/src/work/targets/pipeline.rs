//! From requirements in plain words to a release that passed its check in under ten minutes (S1-101): the shipped
//! pipeline with its agent, by the command that users type. Nearly all of it is the compiler, which builds and tests the
//! changed project.

use std::{path::Path, time::Instant};

use crate::{
    options::Run,
    report::Row,
    system::{Backend, System},
    work::tell,
};

pub(crate) fn run(options: &Run, backend: Backend) -> Row {
    tell(&format!("development pipeline on {}", backend.name()));
    let mut system = System::start(backend, &options.settings(&[]));
    system.developer();
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/development/requirements.md");
    let began = Instant::now();
    let ended = system.orchestra(&["develop", &requirements.to_string_lossy()]);
    let took = began.elapsed().as_secs_f64();
    let load = "requirements to a checked release, one call";
    let mut row = super::row(backend, load, "s (target 600)", took);
    if let Err(why) = ended {
        row.refused = 1;
        row.note = why;
    }
    row
}
