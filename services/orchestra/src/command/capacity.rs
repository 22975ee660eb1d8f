//! `orchestra capacity`: how much room there is.

use super::{Context, Done};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra capacity
  orchestra capacity -o json";

pub(crate) async fn run(context: &Context) -> Done {
    let capacity = context.globals.server.connect().await?.capacity().await?;
    context.out.result(&capacity, |out| {
        let accepting = if capacity.accepting { "yes" } else { "no" };
        out.line(format_args!("executions  {} of {} run", capacity.active, capacity.max_concurrent));
        out.line(format_args!("start queue {} of {} wait", capacity.queued, capacity.queue_max));
        out.line(format_args!(
            "calls       {} run, {} wait",
            capacity.calls_in_flight, capacity.calls_waiting
        ));
        out.line(format_args!("accepting   {accepting}"));
    });
    Ok(std::process::ExitCode::SUCCESS)
}
