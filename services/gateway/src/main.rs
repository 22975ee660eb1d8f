//! Gateway service. The crate's library says what it owns and what it refuses.
fn main() -> std::process::ExitCode {
    runtime::run(&[gateway::role()])
}
