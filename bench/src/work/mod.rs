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

use std::process::ExitCode;

use crate::{
    machine::Machine,
    options::{Run, Work},
    report::{Line, Report, Row},
    system::{Backend, System},
};

/// Runs what was asked for, shows it and writes it.
pub(crate) fn run(options: &Run) -> ExitCode {
    let machine = Machine::look();
    let mut rows: Vec<Row> = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    let backends = options.backends();
    for &backend in &backends {
        if [Work::W1, Work::W10, Work::F1000, Work::Status].iter().any(|w| options.wants(*w)) {
            rows.extend(shared(options, backend));
        }
        if options.wants(Work::Crash) {
            rows.extend(crash::run(options, backend));
        }
    }
    for &backend in backends.iter().filter(|b| [Backend::Embedded, Backend::Pg1].contains(b)) {
        if options.wants(Work::Park) {
            let (more, line) = park::run(options, backend);
            rows.extend(more);
            lines.push(line);
        }
        if options.wants(Work::Targets) {
            rows.extend(targets::run(options, backend));
        }
        if options.wants(Work::Curves) {
            lines.extend(curves::run(options, backend));
        }
        if options.wants(Work::Soak) {
            let (more, line) = soak::run(options, backend);
            rows.extend(more);
            lines.extend(line);
        }
    }
    if options.wants(Work::Start) && backends.contains(&Backend::Embedded) {
        rows.extend(start::run(options));
    }
    if options.wants(Work::Plan) {
        rows.extend(plan::run(options));
    }
    if options.wants(Work::Bus) {
        rows.extend(bus::run(options));
    }
    let report = Report { machine, rows, lines };
    report.print();
    match report.write(&options.out) {
        Ok(()) => {
            println!("\nwritten to {}", options.out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", options.out.display());
            ExitCode::FAILURE
        }
    }
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
