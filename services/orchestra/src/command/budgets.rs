//! `orchestra budgets`: what the tenant and its workflows may spend.

use std::process::ExitCode;

use api::client::{Amounts, Budget};
use clap::{ArgGroup, Subcommand};

use super::{Context, Done};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra budgets list
  orchestra budgets set --period day --calls 10000
  orchestra budgets set --workflow research --period month --money-micros 25000000 --tokens 4000000
  orchestra budgets delete --workflow research --period month";

/// Which budget.
#[derive(Debug, clap::Args)]
pub(crate) struct Key {
    /// Name of the workflow; without it all of the tenant together.
    #[arg(long, default_value = "", hide_default_value = true)]
    workflow: String,
    /// Days and months are those of UTC.
    #[arg(long, value_parser = ["day", "month", "total"])]
    period: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists budgets with what was spent in their present period.
    List,
    /// Sets a budget, in place of an older one; what was spent stays counted.
    #[command(group(ArgGroup::new("limits").args(["calls", "tokens", "money_micros"]).required(true).multiple(true)))]
    Set {
        #[command(flatten)]
        key: Key,
        /// Calls to agents, retries included.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        calls: u64,
        /// Tokens, as agents report them.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        tokens: u64,
        /// Money in millionths of the currency, as agents report it.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        money_micros: u64,
    },
    /// Deletes a budget.
    Delete {
        #[command(flatten)]
        key: Key,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    let client = context.globals.server.connect().await?;
    match command {
        Command::List => {
            let budgets = client.budgets().await?;
            out.result(&budgets, |out| {
                let headers = ["workflow", "period", "calls", "tokens", "money (millionths)", "executions"];
                out.table(&headers, budgets.iter().map(row).collect(), "no budgets");
            });
        }
        Command::Set { key, calls, tokens, money_micros } => {
            let limits = Amounts { calls, tokens, money_micros };
            let budget = client.set_budget(&key.workflow, &key.period, limits).await?;
            out.result(&budget, |out| {
                let headers = ["workflow", "period", "calls", "tokens", "money (millionths)", "executions"];
                out.table(&headers, vec![row(&budget)], "");
            });
        }
        Command::Delete { key } => {
            client.delete_budget(&key.workflow, &key.period).await?;
            out.result(&serde_json::json!({"deleted": key.period}), |out| out.line("deleted"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(budget: &Budget) -> Vec<String> {
    let part = |spent: u64, limit: u64| match limit {
        0 => format!("{spent}"),
        limit => format!("{spent} of {limit}"),
    };
    let (spent, limits) = (&budget.spent, &budget.limits);
    let whose = if budget.workflow.is_empty() { "(all)" } else { &budget.workflow };
    vec![
        whose.to_owned(),
        budget.span.clone(),
        part(spent.calls, limits.calls),
        part(spent.tokens, limits.tokens),
        part(spent.money_micros, limits.money_micros),
        budget.executions.to_string(),
    ]
}
