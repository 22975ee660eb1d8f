//! Planner service. The library says what it owns and what it refuses.

fn main() -> std::process::ExitCode {
    runtime::run(&[planner::role()])
}
