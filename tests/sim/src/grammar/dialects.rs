//! The other dialects: chains, graphs, stages and steps.

use serde_json::{Value, json};

use super::{Grammar, object};

impl Grammar {
    pub(super) fn chain(&mut self, size: usize) -> Value {
        let steps: Vec<Value> = (0..size.max(1))
            .map(|n| match self.rng.below(3) {
                0 => json!(format!("step-{n}")),
                _ => json!({"name": format!("step-{n}"), "type": "x", "retry": self.retry()}),
            })
            .collect();
        let mut chain = object(json!({"name": "sim", "steps": steps}));
        self.maybe(&mut chain, 3, "timeout", |g| json!(1 + g.rng.below(90)));
        self.maybe(&mut chain, 2, "retries", |g| json!(g.rng.below(4)));
        self.maybe(&mut chain, 3, "input_keys", |_| json!(["list"]));
        json!({"chain": chain})
    }

    /// Nodes and edges; some have a cycle that is declared.
    pub(super) fn graph(&mut self, size: usize) -> Value {
        let count = size.max(3);
        let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        let mut edges = Vec::new();
        for to in 1..count {
            // Each hangs on one before it, so that all can be reached.
            let from = self.rng.below(to as u64) as usize;
            edges.push(json!([names[from], names[to]]));
        }
        let mut graph = object(json!({"name": "sim", "nodes": names}));
        if self.rng.one_in(2) {
            // A line of its own, and the way back.
            let line = ["draft", "review"];
            let nodes: Vec<Value> = names.iter().map(String::as_str).chain(line).map(|n| json!(n)).collect();
            graph.insert("nodes".into(), json!(nodes));
            edges.extend([json!(["n0", "draft"]), json!(["draft", "review"]), json!(["review", "draft"])]);
            let until =
                self.one_of(&["has(tasks.review.output.ok) && tasks.review.output.ok", "loop.index > 1"]);
            graph.insert("loops".into(), json!([{"from": "review", "to": "draft", "until": until, "max": 1 + self.rng.below(3), "exhausted": self.one_of(&["stop", "fail"])}]));
        }
        graph.insert("edges".into(), json!(edges));
        self.maybe(&mut graph, 2, "max_workers", |g| json!(1 + g.rng.below(3)));
        self.maybe(&mut graph, 4, "parallel", |_| json!(false));
        self.maybe(&mut graph, 3, "entry", |_| json!(["n0"]));
        self.maybe(&mut graph, 3, "finish", |_| json!([format!("n{}", count - 1)]));
        self.maybe(&mut graph, 4, "timeout", |g| json!(1 + g.rng.below(90)));
        json!({"graph": graph})
    }

    pub(super) fn stages(&mut self, size: usize) -> Value {
        let mut stages = Vec::new();
        for n in 0..size.max(1) {
            let mut stage = object(
                json!({"id": format!("s{n}"), "agentId": "someone", "capabilityId": "x", "timeout": 1 + self.rng.below(9000)}),
            );
            let input = match self.rng.below(3) {
                0 => json!({"type": "from_external", "schema": {"type": "object"}}),
                1 if n > 0 => json!({"type": "from_previous"}),
                _ => json!({"type": "constant", "value": {"text": "done"}}),
            };
            stage.insert("input".into(), input);
            let retry = json!({"maxAttempts": 1 + self.rng.below(3), "backoffType": "linear", "baseDelay": 100, "maxDelay": 500});
            self.maybe(&mut stage, 2, "retry", |_| retry);
            stages.push(Value::Object(stage));
        }
        let failures = self.rng.below(2);
        json!({
            "id": "sim", "name": "In stages", "version": "1.0.0", "type": self.one_of(&["sequential", "parallel"]), "stages": stages,
            "constraints": {"maxExecutionTime": 90_000, "maxRetries": self.rng.below(4), "allowedFailures": failures},
        })
    }

    pub(super) fn steps(&mut self, size: usize) -> Value {
        let mut steps: Vec<Value> = Vec::new();
        for n in 0..size.max(1) {
            let before: Vec<String> =
                (0..n).filter(|_| self.rng.one_in(2)).map(|b| format!("p{b}")).collect();
            steps.push(json!({"id": format!("p{n}"), "type": "execution", "dependencies": before, "timeout": 1 + self.rng.below(9000)}));
        }
        json!({
            "id": "sim", "steps": steps,
            "retryPolicy": {"maxAttempts": 1 + self.rng.below(3), "backoffStrategy": "fixed", "baseDelay": 100},
        })
    }
}
