//! Executor service. The crate's library says what it owns and what it refuses.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    runtime::run(&[executor::role()])
}
