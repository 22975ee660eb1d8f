//! What is measured of an execution, and of several together.

use std::collections::BTreeMap;

use api::client::{AgentFilter, Amounts, Client, Execution, Task};
use serde::Serialize;
use serde_json::Value;

use crate::exit::Failure;

/// One execution.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) execution_id: String,
    pub(super) status: String,
    /// `None`: it did not complete, or could not be judged.
    pub(super) quality: Option<f64>,
    pub(super) time_ms: f64,
    pub(super) agent_time_ms: f64,
    pub(super) calls: u64,
    pub(super) tokens: u64,
    /// Of the currency, as agents report it.
    pub(super) money: f64,
    /// Calls times the `cost` that each agent registered.
    pub(super) cost: f64,
    /// Why there is no quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Run {
    pub(super) fn of(execution: &Execution, spent: Amounts, costs: &Costs) -> Self {
        Self {
            execution_id: execution.execution_id.clone(),
            status: execution.status.to_string(),
            quality: None,
            time_ms: execution.metrics.runtime.as_secs_f64() * 1000.0,
            agent_time_ms: execution.metrics.agent_time.as_secs_f64() * 1000.0,
            calls: spent.calls,
            tokens: spent.tokens,
            money: spent.money_micros as f64 / 1e6,
            cost: costs.of_tasks(&execution.tasks),
            error: None,
        }
    }
}

/// What a call costs, as agents registered: of one capability, and of those that say nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Costs(BTreeMap<String, (f64, BTreeMap<String, f64>)>);

impl Costs {
    pub(super) async fn of(client: &Client) -> Result<Self, Failure> {
        let mut filter = AgentFilter { page_size: 1000, ..AgentFilter::default() };
        let mut costs = BTreeMap::new();
        loop {
            let page = client.agents(&filter).await?;
            for agent in page.items {
                costs.insert(agent.agent_id, costs_of(&agent.definition));
            }
            match page.next_page_token {
                Some(token) => filter.page_token = token,
                None => return Ok(Self(costs)),
            }
        }
    }

    fn of_tasks(&self, tasks: &[Task]) -> f64 {
        let one = |task: &Task| match (&task.agent_id, task.items.is_empty()) {
            (_, false) => self.of_tasks(&task.items),
            (Some(agent), true) => {
                self.of_call(agent, task.capability.as_deref()) * f64::from(task.attempt.max(1))
            }
            (None, true) => 0.0,
        };
        tasks.iter().map(one).sum()
    }

    fn of_call(&self, agent: &str, capability: Option<&str>) -> f64 {
        let Some((general, by_capability)) = self.0.get(agent) else { return 0.0 };
        capability.and_then(|name| by_capability.get(name)).copied().unwrap_or(*general)
    }
}

fn costs_of(definition: &Value) -> (f64, BTreeMap<String, f64>) {
    let capabilities = definition["capabilities"].as_array().into_iter().flatten();
    let own = capabilities.filter_map(|c| Some((c["id"].as_str()?.to_owned(), c["cost"].as_f64()?)));
    (definition["cost"].as_f64().unwrap_or(0.0), own.collect())
}

/// Smallest, middle and largest of several numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None`: there are no numbers. The middle of an even count is half way between the two.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = numbers.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let (min, max) = (*all.first()?, *all.last()?);
        let median = f64::midpoint(all[(all.len() - 1) / 2], all[all.len() / 2]);
        Some(Self { median, min, max })
    }
}

/// Several executions together. Everything but `completed` is of those that completed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) executions: usize,
    pub(super) completed: usize,
    pub(super) quality: Option<Spread>,
    pub(super) time_ms: Option<Spread>,
    pub(super) agent_time_ms: Option<Spread>,
    pub(super) calls: Option<Spread>,
    pub(super) tokens: Option<Spread>,
    pub(super) money: Option<Spread>,
    pub(super) cost: Option<Spread>,
}

impl Summary {
    pub(super) fn of(runs: &[Run]) -> Self {
        let good: Vec<&Run> = runs.iter().filter(|run| run.status == "completed").collect();
        let spread = |of: fn(&Run) -> f64| Spread::of(good.iter().map(|run| of(run)));
        Self {
            executions: runs.len(),
            completed: good.len(),
            quality: Spread::of(good.iter().filter_map(|run| run.quality)),
            time_ms: spread(|run| run.time_ms),
            agent_time_ms: spread(|run| run.agent_time_ms),
            calls: spread(|run| run.calls as f64),
            tokens: spread(|run| run.tokens as f64),
            money: spread(|run| run.money),
            cost: spread(|run| run.cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_what_its_capability_says_or_else_its_agent() {
        let definition =
            serde_json::json!({"cost": 2, "capabilities": [{"id": "a"}, {"id": "b", "cost": 0.5}]});
        let costs = Costs(BTreeMap::from([("x".to_owned(), costs_of(&definition))]));
        for (agent, capability, want) in
            [("x", Some("b"), 0.5), ("x", Some("a"), 2.0), ("x", None, 2.0), ("y", Some("b"), 0.0)]
        {
            assert_eq!(costs.of_call(agent, capability), want);
        }
    }

    #[test]
    fn the_middle_of_an_even_count_lies_half_way() {
        for (numbers, want) in [
            (&[][..], None),
            (&[2.0], Some((2.0, 2.0, 2.0))),
            (&[3.0, 1.0], Some((2.0, 1.0, 3.0))),
            (&[5.0, 1.0, 2.0], Some((2.0, 1.0, 5.0))),
        ] {
            let got = Spread::of(numbers.iter().copied());
            assert_eq!(got.map(|s| (s.median, s.min, s.max)), want, "{numbers:?}");
        }
    }

    #[test]
    fn what_did_not_complete_counts_only_as_such() {
        let run = |status: &str, quality: Option<f64>, time_ms: f64| Run {
            execution_id: "e".into(),
            status: status.into(),
            quality,
            time_ms,
            agent_time_ms: 0.0,
            calls: 2,
            tokens: 0,
            money: 0.0,
            cost: 1.0,
            error: None,
        };
        let summary = Summary::of(&[
            run("completed", Some(1.0), 10.0),
            run("failed", None, 1.0),
            run("completed", None, 20.0),
        ]);
        assert_eq!((summary.executions, summary.completed), (3, 2));
        assert_eq!(summary.quality, Some(Spread { median: 1.0, min: 1.0, max: 1.0 }));
        assert_eq!(summary.time_ms, Some(Spread { median: 15.0, min: 10.0, max: 20.0 }));
    }
}
