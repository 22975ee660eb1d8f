//! The works. `docs/performance.md` says what each one is.

pub(crate) mod bus;
mod chain;
mod crash;
mod curves;
mod fan;
mod park;
pub(crate) mod plan;
mod soak;
mod start;
mod status;
mod targets;

use std::{panic::AssertUnwindSafe, process::ExitCode};

use crate::{
    machine::Machine,
    options::{Run, Work},
    report::{Line, Report, Row},
    system::{self, Backend, System},
};

/// What was measured so far.
#[derive(Default)]
struct Measured {
    rows: Vec<Row>,
    lines: Vec<Line>,
    failed: Vec<String>,
}

impl Measured {
    /// A work that cannot be set up has said why and ends; what was measured before is kept, and the others go on.
    fn attempt(&mut self, what: &str, work: impl FnOnce() -> (Vec<Row>, Vec<Line>)) {
        match std::panic::catch_unwind(AssertUnwindSafe(work)) {
            Ok((rows, lines)) => {
                self.rows.extend(rows);
                self.lines.extend(lines);
            }
            Err(_) => self.failed.push(what.to_owned()),
        }
    }
}

/// Runs what was asked for, shows it and writes it.
pub(crate) fn run(options: &Run) -> ExitCode {
    if let Some(program) = &options.orchestra {
        system::measure_program(program);
    }
    let machine = Machine::look();
    let measured = measure(options);
    let report = Report { machine, rows: measured.rows, lines: measured.lines };
    report.print();
    for what in &measured.failed {
        eprintln!("bench: {what} failed; why stands above");
    }
    match report.write(&options.out) {
        Ok(()) => {
            println!("\nwritten to {}", options.out.display());
            if measured.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{}: {error}", options.out.display());
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Run) -> Measured {
    let mut all = Measured::default();
    let backends = options.backends();
    for &backend in &backends {
        let name = backend.name();
        if [Work::W1, Work::W10, Work::F1000, Work::Status].iter().any(|w| options.wants(*w)) {
            all.attempt(&format!("W1, W10, STATUS, F1000 on {name}"), || {
                (shared(options, backend), Vec::new())
            });
        }
        // With an append-only file in Redis only throughput and latency are of interest.
        if options.wants(Work::Crash) && backend != Backend::Pg1Aof {
            all.attempt(&format!("CRASH on {name}"), || (crash::run(options, backend), Vec::new()));
        }
    }
    for &backend in backends.iter().filter(|b| [Backend::Embedded, Backend::Pg1].contains(b)) {
        let name = backend.name();
        if options.wants(Work::Park) {
            all.attempt(&format!("PARK on {name}"), || {
                let (rows, line) = park::run(options, backend);
                (rows, vec![line])
            });
        }
        if options.wants(Work::Curves) {
            all.attempt(&format!("curves on {name}"), || (Vec::new(), curves::run(options, backend)));
        }
        if options.wants(Work::Soak) {
            all.attempt(&format!("SOAK on {name}"), || soak::run(options, backend));
        }
    }
    // On the default shape, unless another one was asked for by name.
    let chosen = if options.backends.is_empty() { vec![Backend::Embedded] } else { backends.clone() };
    for backend in chosen.into_iter().filter(|_| options.wants(Work::Targets)) {
        all.attempt(&format!("targets on {}", backend.name()), || {
            (targets::run(options, backend), Vec::new())
        });
        all.attempt(&format!("the pipeline on {}", backend.name()), || {
            (vec![targets::pipeline::run(options, backend)], Vec::new())
        });
    }
    if options.wants(Work::Start) && backends.contains(&Backend::Embedded) {
        all.attempt("START", || (start::run(options), Vec::new()));
    }
    if options.wants(Work::Plan) {
        all.attempt("PLAN", || (plan::run(options), Vec::new()));
    }
    if options.wants(Work::Bus) {
        all.attempt("BUS", || (bus::run(options), Vec::new()));
    }
    all
}

/// What goes on, for those who wait.
fn tell(what: &str) {
    eprintln!("bench: {what}");
}

/// The works that are measured on one system, one after another.
fn shared(options: &Run, backend: Backend) -> Vec<Row> {
    let mut system = System::start(backend, &options.settings(&[]));
    system.agent("noop", &[]);
    let mut rows = chain::run(options, &system);
    if backend == Backend::Pg1Aof {
        return rows;
    }
    if options.wants(Work::Status) {
        system.define(&chain::definition("w10", 10));
        system.warm("w10");
        rows.extend(status::run(options, &system));
    }
    if options.wants(Work::F1000) {
        rows.extend(options.fan.iter().map(|&width| fan::run(options, &system, width)));
    }
    rows
}
