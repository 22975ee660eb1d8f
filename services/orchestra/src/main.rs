//! `orchestra`: the one binary. `orchestra dev` runs every role in one process; the other commands talk to the public
//! gRPC door, or need no server at all.
//!
//! It owns nothing: definitions are read by `language`, the door is spoken to by `api::client`, processes are run by
//! `runtime`. Here is what people type and what they see.

mod cli;
mod command;
mod connect;
mod exit;
mod files;
mod follow;
mod input;
mod out;
#[cfg(test)]
mod reference;
mod roles;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    command::main()
}
