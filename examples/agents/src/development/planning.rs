//! Stage 2: tasks, in an order that works.

use agent::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    answer, read,
    requirements::{Priority, Requirement},
};

/// One task of a development plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// `T1`.
    pub id: String,
    /// For people.
    pub title: String,
    /// The skill that does it.
    pub capability: String,
    /// How much it matters.
    pub priority: Priority,
    /// Hours.
    pub hours: f64,
    /// Tasks that come first.
    pub depends_on: Vec<String>,
    /// The requirement it meets, for tasks that write code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirement: Option<Requirement>,
}

/// One task for each requirement, most important first, then those that put them together, test and deploy them.
///
/// # Errors
/// When `requirements` is missing or malformed.
pub fn plan(input: &Value) -> Result<Value, Failure> {
    let mut requirements: Vec<Requirement> = read(input, "requirements")?;
    requirements.sort_by_key(|r| std::cmp::Reverse(r.priority));
    let mut tasks: Vec<Task> = Vec::with_capacity(requirements.len() + 3);
    for requirement in requirements {
        tasks.push(Task {
            id: format!("T{}", tasks.len() + 1),
            title: format!("Write `{}`: {}", requirement.function, requirement.title),
            capability: "code_generation".into(),
            priority: requirement.priority,
            hours: requirement.hours,
            depends_on: Vec::new(),
            requirement: Some(requirement),
        });
    }
    let longest = tasks.iter().map(|t| t.hours).fold(0.0, f64::max);
    let code: Vec<String> = tasks.iter().map(|t| t.id.clone()).collect();
    let stages =
        [("code_integration", 0.5), ("validation", 0.5), ("deployment", 0.2), ("deployment_check", 0.1)];
    let mut before = code;
    for (capability, hours) in stages {
        let id = format!("T{}", tasks.len() + 1);
        let title = capability.replace('_', " ");
        let depends_on = std::mem::replace(&mut before, vec![id.clone()]);
        let priority = Priority::High;
        tasks.push(Task {
            id,
            title,
            capability: capability.into(),
            priority,
            hours,
            depends_on,
            requirement: None,
        });
    }
    let tail: f64 = stages.iter().map(|(_, hours)| hours).sum();
    let total: f64 = tasks.iter().map(|t| t.hours).sum();
    let round = |hours: f64| (hours * 10.0).round() / 10.0;
    Ok(json!({"tasks": answer(&tasks)?, "hours": round(total), "critical_path_hours": round(longest + tail)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_important_comes_first_and_code_before_what_needs_it() {
        let requirement = |id: &str, priority: &str, hours: f64| {
            json!({"id": id, "title": id, "text": "", "priority": priority, "function": id.to_lowercase(),
                   "steps": ["trim"], "criteria": [], "complexity": 1.0, "hours": hours})
        };
        let given = json!([requirement("R1", "low", 2.0), requirement("R2", "high", 1.0)]);
        let plan = plan(&json!({"dependencies": {"analysis": {"requirements": given}}})).unwrap();
        let tasks: Vec<Task> = serde_json::from_value(plan["tasks"].clone()).unwrap();
        assert_eq!(tasks[0].requirement.as_ref().unwrap().id, "R2");
        assert_eq!(tasks[2].depends_on, ["T1", "T2"]);
        assert_eq!(tasks[5].capability, "deployment_check");
        assert_eq!(plan["critical_path_hours"], 3.3);
    }
}
