//! An agent that does nothing, as fast as the SDK can: what benchmarks call.

use std::process::ExitCode;

use agent::{Agent, Call, Effect, Skill};
use clap::Parser;
use example_agents::options;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers every call at once with `{"ok": true}`.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(flatten)]
    options: options::Options,
    /// Threads that serve; 1 needs the least CPU time per call.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Offer streams on the card.
    #[arg(long)]
    streaming: bool,
}

fn agent(streaming: bool) -> Agent {
    // Written once: the answer is the same every time.
    let answer = agent::Answer::value(&json!({"ok": true}));
    let skill = Skill::new("noop", "Does nothing").effect(Effect::Pure).handler(move |_: Call| {
        let answer = answer.clone();
        async move { Ok(answer) }
    });
    Agent::new("noop", "Does nothing")
        .agent_type("noop_agent")
        .capacity(100_000)
        .streaming(streaming)
        .skill(skill)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut runtime = match args.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        n => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(n);
            builder
        }
    };
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(options::run(agent(args.streaming), &args.options)),
        Err(_) => ExitCode::FAILURE,
    }
}
