//! Definition → the JSON form of S0.

use serde_json::{Map, Value, json};

use crate::{
    amount::{number, show_cpu, show_memory},
    definition::*,
};

/// An object under construction: what is absent or empty is left out.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(key.into(), value.into());
        self
    }
    fn some(&mut self, key: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.put(key, value);
        }
        self
    }
    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.some(key, (!value.is_empty()).then_some(value))
    }
    fn texts(&mut self, key: &str, values: &[String]) -> &mut Self {
        self.some(key, (!values.is_empty()).then(|| json!(values)))
    }
    fn inner(&mut self, key: &str, inner: Object) -> &mut Self {
        self.some(key, (!inner.0.is_empty()).then_some(Value::Object(inner.0)))
    }
}

pub(crate) fn definition(agent: &AgentDefinition) -> Value {
    let mut out = Object::default();
    out.put("id", agent.id.as_str()).put("name", agent.name.as_str());
    out.text("description", &agent.description)
        .text("type", &agent.agent_type)
        .text("version", &agent.version);
    out.text("endpoint", &agent.endpoint).some("cardUrl", agent.card_url.clone());
    out.some("interface", agent.interface.as_ref().map(interface));
    out.some("healthPath", agent.health_path.clone());
    out.put("capabilities", agent.capabilities.iter().map(capability).collect::<Vec<_>>());
    out.inner("resources", resources(&agent.resources));
    if !agent.listed_instances.is_empty() {
        out.put("instances", agent.listed_instances.iter().map(instance).collect::<Vec<_>>());
    }
    out.some("capacity", agent.capacity).some("weight", agent.weight.map(number));
    out.some("region", agent.region.clone()).some("cost", agent.cost.map(number));
    out.inner("metadata", metadata(&agent.metadata));
    Value::Object(out.0)
}

fn interface(interface: &Interface) -> Value {
    let mut out = Object::default();
    out.put("binding", interface.binding.as_str()).put("version", interface.version.as_str());
    out.some("url", interface.url.clone()).some("streaming", interface.streaming);
    out.some("tenant", interface.tenant.clone());
    Value::Object(out.0)
}

fn capability(capability: &Capability) -> Value {
    let mut out = Object::default();
    out.put("id", capability.id.as_str()).put("name", capability.name.as_str());
    out.text("version", &capability.version).text("description", &capability.description);
    out.some("inputSchema", capability.input_schema.clone());
    out.some("outputSchema", capability.output_schema.clone());
    out.inner("performance", performance(&capability.performance));
    out.texts("compliance", &capability.compliance).texts("dependencies", &capability.dependencies);
    out.texts("tags", &capability.tags).some("effect", capability.effect.map(|e| e.as_str()));
    out.some("cost", capability.cost.map(number));
    Value::Object(out.0)
}

fn performance(p: &Performance) -> Object {
    let pair = |a: &str, x: Option<f64>, b: &str, y: Option<f64>| {
        let mut out = Object::default();
        out.some(a, x.map(number)).some(b, y.map(number));
        out
    };
    let mut out = Object::default();
    out.inner("responseTime", pair("target", p.response_ms_target, "max", p.response_ms_max));
    out.inner("throughput", pair("target", p.throughput_target, "max", p.throughput_max));
    out.inner("errorRate", pair("max", p.error_percent_max, "", None));
    out.inner("availability", pair("target", p.availability_percent_target, "", None));
    out
}

fn resources(r: &AgentResources) -> Object {
    let span = |span: Span, show: fn(u64) -> Value| {
        let mut out = Object::default();
        out.some("min", span.min.map(show)).some("max", span.max.map(show));
        out
    };
    let mut network = Object::default();
    network.some("bandwidth", r.bandwidth_mbps).some("latency", r.latency_ms.map(number));
    let mut out = Object::default();
    out.inner("cpu", span(r.cpu_millis, show_cpu)).inner("memory", span(r.memory_bytes, show_memory));
    out.inner("network", network);
    out
}

fn instance(instance: &Instance) -> Value {
    let mut out = Object::default();
    out.put("id", instance.id.as_str()).some("endpoint", instance.endpoint.clone());
    out.some("capacity", instance.capacity).some("weight", instance.weight.map(number));
    out.some("region", instance.region.clone())
        .some("interface", instance.interface.as_ref().map(self::interface));
    Value::Object(out.0)
}

fn metadata(m: &Metadata) -> Object {
    let mut out = Object::default();
    out.texts("tags", &m.tags).text("owner", &m.owner);
    out.some("created", m.created.map(|t| t.rfc3339())).some("updated", m.updated.map(|t| t.rfc3339()));
    out.some("priority", m.priority).text("environment", &m.environment);
    for (key, value) in &m.other {
        out.put(key, value.clone());
    }
    out
}
