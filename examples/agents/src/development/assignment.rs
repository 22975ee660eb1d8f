//! Stage 3: who does what.

use agent::Failure;
use api::client::{AgentFilter, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Shop, find, planning::Task, read};

const AGENTS_MAX: i32 = 500;

/// Somebody who can be given work.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Candidate {
    /// The agent.
    pub id: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Tasks at once; more of them weigh less.
    #[serde(default = "one")]
    pub capacity: u32,
}

fn one() -> u32 {
    1
}

/// Gives each task to the agent that offers its capability and would be done first, longest tasks first (the LPT rule of
/// Graham, 1969: at most 4/3 of the best possible time). Agents come from the input, else from the orchestrator.
///
/// # Errors
/// When a task's capability is offered by nobody, or no agents are known.
pub async fn assign(shop: &Shop, input: &Value) -> Result<Value, Failure> {
    let tasks: Vec<Task> = read(input, "tasks")?;
    let agents = match (find(input, "agents"), &shop.registry) {
        (Some(_), _) => read(input, "agents")?,
        (None, Some(address)) => ask(address).await?,
        (None, None) => {
            let why = "input.agents is missing, and the agent was started without --registry";
            return Err(Failure::Rejected(why.into()));
        }
    };
    let wanted = tasks.into_iter().filter(|t| t.requirement.is_some()).collect();
    divide(wanted, &agents)
}

async fn ask(address: &str) -> Result<Vec<Candidate>, Failure> {
    let client = Client::connect(address).await.map_err(Failure::failed)?;
    let filter = AgentFilter { page_size: AGENTS_MAX, ..AgentFilter::default() };
    let page = client.agents(&filter).await.map_err(Failure::failed)?;
    let active = page.items.into_iter().filter(|a| a.state == "active" && a.health != "unhealthy");
    Ok(active.map(|a| candidate(a.agent_id, &a.definition)).collect())
}

fn candidate(id: String, definition: &Value) -> Candidate {
    let list = |key: &str| definition[key].as_array().cloned().unwrap_or_default();
    let name = |c: &Value| c.as_str().or_else(|| c["id"].as_str()).map(str::to_owned);
    let capabilities = list("capabilities").iter().filter_map(name).collect();
    let capacity: u64 = list("instances").iter().filter_map(|i| i["capacity"].as_u64()).sum();
    Candidate { id, capabilities, capacity: u32::try_from(capacity.max(1)).unwrap_or(u32::MAX) }
}

fn divide(mut tasks: Vec<Task>, agents: &[Candidate]) -> Result<Value, Failure> {
    tasks.sort_by(|a, b| b.hours.total_cmp(&a.hours).then_with(|| a.id.cmp(&b.id)));
    let mut load = vec![0.0_f64; agents.len()];
    let mut out = Vec::with_capacity(tasks.len());
    for task in tasks {
        let able = (0..agents.len()).filter(|&a| agents[a].capabilities.contains(&task.capability));
        let cost = |a: usize| (load[a] + task.hours) / f64::from(agents[a].capacity.max(1));
        let Some(best) = able.min_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(a.cmp(&b))) else {
            return Err(Failure::failed(format!("nobody offers {:?} for {}", task.capability, task.id)));
        };
        load[best] += task.hours;
        out.push(json!({"agent": agents[best].id, "task": task.id, "capability": task.capability,
            "requirement": task.requirement}));
    }
    let shares = agents.iter().zip(&load).filter(|(_, l)| **l > 0.0);
    let load: serde_json::Map<_, _> = shares.map(|(a, l)| (a.id.clone(), json!(l))).collect();
    Ok(json!({"assignments": out, "load": load}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Shop {
        Shop { work: "work".into(), registry: None, tool_limit: std::time::Duration::from_secs(1) }
    }

    fn task(id: &str, hours: f64) -> Value {
        json!({"id": id, "title": id, "capability": "code_generation", "priority": "high", "hours": hours,
            "depends_on": [], "requirement": {"id": id, "title": "", "text": "", "priority": "high",
            "function": "f", "steps": [], "criteria": [], "complexity": 1.0, "hours": hours}})
    }

    #[tokio::test]
    async fn work_is_shared_evenly_among_those_who_can_do_it() {
        let agents = json!([{"id": "a", "capabilities": ["code_generation"]},
            {"id": "b", "capabilities": ["code_generation"]}, {"id": "c", "capabilities": ["review"]}]);
        let tasks = json!([task("T1", 1.0), task("T2", 3.0), task("T3", 2.0)]);
        let got = assign(&shop(), &json!({"tasks": tasks, "agents": agents})).await.unwrap();
        assert_eq!(got["load"], json!({"a": 3.0, "b": 3.0}));
        assert_eq!(got["assignments"][0]["task"], "T2");
        let nobody = json!({"tasks": tasks, "agents": [{"id": "c", "capabilities": ["review"]}]});
        assert!(assign(&shop(), &nobody).await.is_err());
        assert!(assign(&shop(), &json!({"tasks": tasks})).await.is_err());
    }
}
