//! `orchestra compare`: one input through several patterns or definitions, side by side.

mod candidate;
mod measure;
mod quality;
mod show;

use std::{process::ExitCode, sync::Arc, time::Duration};

use api::client::{Client, Execution, ExecutionStatus, Start};
use clap::ArgGroup;
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Context, Done, run::time};
use crate::{
    exit::{Exit, Failure},
    input::InputArgs,
    out::Out,
};

use candidate::Candidate;
use measure::{Costs, Run, Summary};
use quality::Quality;

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra compare pair.yaml debate.yaml --input '{\"goal\": \"red boats at sea\"}' --judge scoring --repeat 5
  orchestra compare team.yaml --pattern 'pair: {author: ann, reviewer: bob}' \\
    --pattern 'race: {contestants: [ann, bob]}' --set goal='red boats' --quality 'size(output)'
  orchestra compare draft@1 draft@2 --input-file case.json --judge grading --quality 'judge.points / 10.0' -o json

The quality is what you say it is: a CEL expression that gives a number, or true and false. It sees `input`, `output` and,
with --judge, `judge`: the answer of an agent with that capability to {input, output}, which is not told whose output it
judges. Without an expression the quality is `judge.score`.

Exit code 1 when an execution did not complete or could not be judged; what was measured is shown all the same.";

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("measure").required(true).multiple(true))]
pub(crate) struct Args {
    /// Definition files or stored workflows (name, name@version, UUID); with --pattern one file.
    #[arg(required = true, value_name = "FILE|WORKFLOW")]
    what: Vec<String>,
    /// Runs the file with this pattern in place of its own pattern and tasks: `NAME: {PARAMETER: …}` in YAML. May be
    /// repeated.
    #[arg(long = "pattern", value_name = "PATTERN")]
    patterns: Vec<String>,
    #[command(flatten)]
    input: InputArgs,
    /// Quality of an output: a CEL expression over `input`, `output` and `judge`.
    #[arg(long, value_name = "EXPRESSION", group = "measure")]
    quality: Option<String>,
    /// Capability of an agent that judges outputs; its answer is `judge`.
    #[arg(long, value_name = "CAPABILITY", group = "measure")]
    judge: Option<String>,
    /// Executions of each.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Executions at the same time. More is faster, and they may wait for each other's agents.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    at_once: u32,
    /// Timeout of each execution, in place of the workflow's.
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
}

/// The whole comparison.
#[derive(Debug, Serialize)]
struct Comparison {
    input: Value,
    repeat: u32,
    quality: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<String>,
    candidates: Vec<Compared>,
}

/// What was measured of one of them.
#[derive(Debug, Serialize)]
struct Compared {
    name: String,
    workflow: String,
    summary: Summary,
    runs: Vec<Run>,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Done {
    let out = &context.out;
    // Whatever can be wrong here is, before a server is asked.
    let input = args.input.read()?;
    let quality = Quality::new(args.quality.as_deref(), args.judge.as_deref())?;
    let candidates = candidate::read(&args.what, &args.patterns)?;
    let client = context.globals.server.connect().await?;
    let candidates = candidate::store(out, &client, candidates).await?;
    let judge = quality.store_judge(&client).await?;
    let costs = Costs::of(&client).await?;
    let bench = Bench { client, quality, judge, costs, input: input.clone(), timeout: args.timeout };
    let runs = bench.all(out, &candidates, args).await?;
    let candidates = candidates.into_iter().zip(runs).map(|(candidate, runs)| Compared {
        name: candidate.name,
        workflow: candidate.reference,
        summary: Summary::of(&runs),
        runs,
    });
    let compared = Comparison {
        input,
        repeat: args.repeat,
        quality: args.quality.clone().unwrap_or_else(|| quality::OF_JUDGE.to_owned()),
        judge: args.judge.clone(),
        candidates: candidates.collect(),
    };
    out.result(&compared, |out| show::table(out, &compared));
    let whole = compared.candidates.iter().flat_map(|c| &c.runs).all(|run| run.quality.is_some());
    if whole { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent(Exit::Failed)) }
}

/// What every run needs.
struct Bench {
    client: Client,
    quality: Quality,
    /// The workflow that asks the judge.
    judge: Option<String>,
    costs: Costs,
    input: Value,
    timeout: Option<Duration>,
}

impl Bench {
    /// Runs each candidate so often, one after the other and around again, so that what changes meanwhile meets all.
    async fn all(self, out: &Out, candidates: &[Candidate], args: &Args) -> Result<Vec<Vec<Run>>, Failure> {
        let bench = Arc::new(self);
        let room = Arc::new(Semaphore::new(args.at_once as usize));
        let mut going = JoinSet::new();
        let mut runs: Vec<Vec<Option<Run>>> =
            candidates.iter().map(|_| vec![None; args.repeat as usize]).collect();
        for round in 0..args.repeat as usize {
            for (place, candidate) in candidates.iter().enumerate() {
                let (bench, room) = (bench.clone(), room.clone());
                let reference = candidate.reference.clone();
                going.spawn(async move {
                    // The semaphore is never closed; a permit is fair: they start in this order.
                    let permit = room.acquire_owned().await;
                    let run = bench.one(&reference).await;
                    drop(permit);
                    (place, round, run)
                });
            }
        }
        let (all, mut done) = (candidates.len() * args.repeat as usize, 0);
        while let Some(joined) = going.join_next().await {
            let Ok((place, round, run)) = joined else { continue };
            let run = run?;
            done += 1;
            let name = &candidates[place].name;
            out.note(format_args!("{done}/{all}  {name}: {} {}", run.status, run.execution_id));
            runs[place][round] = Some(run);
        }
        Ok(runs.into_iter().map(|runs| runs.into_iter().flatten().collect()).collect())
    }

    async fn one(&self, reference: &str) -> Result<Run, Failure> {
        let mut start = Start::workflow(reference).input(&self.input);
        if let Some(timeout) = self.timeout {
            start = start.timeout(timeout);
        }
        let execution = self.client.run(&start).await?;
        let spent = self.client.query(&execution.execution_id, None).await?.spent;
        let mut run = Run::of(&execution, spent, &self.costs);
        match self.judged(&execution).await {
            Ok(quality) => run.quality = Some(quality),
            Err(why) => run.error = Some(why),
        }
        Ok(run)
    }

    /// The quality of what came out, or why it has none.
    async fn judged(&self, execution: &Execution) -> Result<f64, String> {
        if execution.status != ExecutionStatus::Completed {
            let why = execution.error_details.as_ref().map(|e| format!(": {}: {}", e.code, e.message));
            return Err(format!("{}{}", execution.status, why.unwrap_or_default()));
        }
        let output = execution.output.as_ref().and_then(base::Payload::json);
        let output = output.map_or(Value::Null, |output| (*output).clone());
        let judge = match &self.judge {
            Some(workflow) => Some(self.ask(workflow, &output).await?),
            None => None,
        };
        self.quality.of(&self.input, &output, judge.as_ref())
    }

    async fn ask(&self, workflow: &str, output: &Value) -> Result<Value, String> {
        let question = serde_json::json!({"input": self.input, "output": output});
        let asked = self.client.run(&Start::workflow(workflow).input(&question)).await;
        let asked = asked.map_err(|fault| format!("the judge: {fault}"))?;
        match (asked.status == ExecutionStatus::Completed, asked.output.and_then(|output| output.json())) {
            (true, Some(answer)) => Ok((*answer).clone()),
            _ => {
                let why = asked.error_details.map(|e| e.message).unwrap_or_default();
                Err(format!("the judge did not answer (execution {}): {why}", asked.execution_id))
            }
        }
    }
}
