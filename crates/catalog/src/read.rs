//! Text → value → checked definition. Every error is collected; each names its path.

use std::collections::BTreeMap;

use base::{AgentId, Effect, Finding, Severity, Timestamp, ids::check_key};
use serde_json::Value;

use crate::{
    amount,
    definition::*,
    need::PROVIDERS,
    reader::{Node, Report, kind},
    schema,
};

/// Levels of S0, lowest first.
const LEVELS: [&str; 4] = ["bronze", "silver", "gold", "platinum"];
const DEPTH_MAX: usize = 64;

pub(crate) fn parse(text: &str, format: Format) -> Result<Checked, Rejected> {
    if text.len() > DEFINITION_BYTES_MAX {
        let message = format!("the text has {} bytes; at most {DEFINITION_BYTES_MAX} are taken", text.len());
        return Err(refused(Finding::new(Severity::Error, "too-long", "", message)));
    }
    let value = match format {
        Format::Json => serde_json::from_str(text).map_err(|error| {
            let at = |n: usize| u32::try_from(n).unwrap_or(0);
            refused(syntax("this is not JSON", &error.to_string()).at(at(error.line()), at(error.column())))
        })?,
        Format::Yaml => read_yaml(text)?,
    };
    from_value(&value)
}

fn refused(finding: Finding) -> Rejected {
    Rejected { findings: vec![finding] }
}

fn syntax(what: &str, why: &str) -> Finding {
    // The place is stated apart from the text.
    let why = why.lines().next().unwrap_or_default().split(" at line ").next().unwrap_or_default();
    let why: String = why.chars().take(300).collect();
    Finding::new(Severity::Error, "syntax", "", format!("{what}: {why}"))
}

fn read_yaml(text: &str) -> Result<Value, Rejected> {
    // The size of the text bounds what it may expand to, so an alias bomb trips early.
    let nodes = text.len() + 1000;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: nodes,
            max_events: nodes * 2,
            max_depth: DEPTH_MAX,
            max_aliases: 1000,
            max_anchors: 1000,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|at| (at.line(), at.column())).unwrap_or_default();
        let at = |n: u64| u32::try_from(n).unwrap_or(0);
        refused(syntax("this is not YAML", &error.to_string()).at(at(place.0), at(place.1)))
    })
}

/// Reads what somebody registers. What is stored already may have an id that is reserved by now.
pub(crate) fn from_value(value: &Value) -> Result<Checked, Rejected> {
    let (definition, mut findings) = read(value);
    findings.extend(definition.as_ref().and_then(|definition| reserved(&definition.id)));
    match definition {
        Some(definition) if !findings.iter().any(Finding::is_error) => Ok(Checked { definition, findings }),
        _ => Err(Rejected { findings }),
    }
}

fn reserved(id: &AgentId) -> Option<Finding> {
    id.as_str().starts_with(PROVIDERS).then(|| {
        let message = format!(
            "{id} begins with `{PROVIDERS}`, which stands for other workflow engines: choose another id"
        );
        Finding::new(Severity::Error, "reserved-id", "id", message)
    })
}

/// Reads what a registry of another release wrote: keys that this build does not know are passed over.
pub(crate) fn from_stored(value: &Value) -> Result<AgentDefinition, Rejected> {
    let (definition, mut findings) = read(value);
    findings.retain(|f| f.is_error() && f.code != "unknown-key");
    match definition {
        Some(definition) if findings.is_empty() => Ok(definition),
        _ => Err(Rejected { findings }),
    }
}

fn read(value: &Value) -> (Option<AgentDefinition>, Vec<Finding>) {
    let report = Report::default();
    let definition = Node::new(value, "", &report).and_then(|root| agent(root, &report));
    (definition, report.finish())
}

fn agent(root: Node<'_>, report: &Report) -> Option<AgentDefinition> {
    let id = agent_id(&root);
    let endpoint = root.text("endpoint", URL_BYTES_MAX).unwrap_or_default();
    if !endpoint.is_empty() {
        check_url(&root, "endpoint", &endpoint);
    }
    let listed_instances = instances(&root, report);
    if endpoint.is_empty()
        && (listed_instances.is_empty() || listed_instances.iter().any(|i| i.endpoint.is_none()))
    {
        root.bad(
            "endpoint",
            "missing",
            "is missing: state where the agent answers, as http:// or https:// URL",
        );
    }
    let capabilities = capabilities(&root, report);
    if capabilities.is_empty() {
        report.warn(
            "no-capabilities",
            root.path("capabilities"),
            "declares nothing: only tasks that name the agent or its type reach it",
        );
    }
    if root.get("healthStatus").is_some() {
        report.add(Finding::new(
            Severity::Note,
            "measured",
            root.path("healthStatus"),
            "health is measured; what the definition says about it is not taken",
        ));
    }
    let card_url = root.text("cardUrl", URL_BYTES_MAX).inspect(|url| check_url(&root, "cardUrl", url));
    let definition = AgentDefinition {
        name: root.text("name", SHORT_TEXT_BYTES_MAX).unwrap_or_default(),
        description: root.text("description", LONG_TEXT_BYTES_MAX).unwrap_or_default(),
        agent_type: key(&root, "type"),
        version: root.text("version", SHORT_TEXT_BYTES_MAX).unwrap_or_default(),
        endpoint,
        card_url,
        interface: interface(&root),
        health_path: health_path(&root),
        capabilities,
        resources: resources(&root, report),
        listed_instances,
        capacity: capacity(&root),
        weight: weight(&root),
        region: root.text("region", SHORT_TEXT_BYTES_MAX).filter(|r| !r.is_empty()),
        cost: root.number("cost", 0.0, 1e12),
        metadata: metadata(&root),
        id: id.clone().unwrap_or_else(placeholder),
    };
    root.finish();
    id?;
    let name = if definition.name.is_empty() { definition.id.to_string() } else { definition.name.clone() };
    Some(AgentDefinition { name, ..definition })
}

/// Stands in for an id that was refused, so that the rest is still checked; never leaves this file.
fn placeholder() -> AgentId {
    static ID: std::sync::LazyLock<Option<AgentId>> = std::sync::LazyLock::new(|| AgentId::new("x").ok());
    match &*ID {
        Some(id) => id.clone(),
        None => unreachable!("`x` is a valid key"),
    }
}

fn agent_id(root: &Node<'_>) -> Option<AgentId> {
    let Some(text) = root.text("id", SHORT_TEXT_BYTES_MAX) else {
        root.bad("id", "missing", "is missing: choose a key such as `my-agent`");
        return None;
    };
    AgentId::new(&text).map_err(|error| root.bad("id", "bad-id", error.to_string())).ok()
}

/// An optional text that is a key.
fn key(node: &Node<'_>, name: &'static str) -> String {
    let text = node.text(name, SHORT_TEXT_BYTES_MAX).unwrap_or_default();
    if !text.is_empty()
        && let Err(error) = check_key(name, &text)
    {
        node.bad(name, "bad-id", error.to_string());
    }
    text
}

fn check_url(node: &Node<'_>, key: &str, text: &str) {
    if let Err(rule) = url_rule(text) {
        node.bad(key, "bad-url", rule);
    }
}

/// Why a text is not a URL that an agent may have.
fn url_rule(text: &str) -> Result<(), String> {
    let url = url::Url::parse(text)
        .map_err(|e| format!("{text:?} is not a URL ({e}): write http://host:port/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("scheme `{}` is not spoken: use http or https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry credentials".into());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no host".into());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…)".into());
    }
    Ok(())
}

fn interface(node: &Node<'_>) -> Option<Interface> {
    let inner = node.node("interface")?;
    let binding = inner.text("binding", SHORT_TEXT_BYTES_MAX).and_then(|text| {
        let known = Binding::parse(&text);
        if known.is_none() {
            inner.bad("binding", "bad-binding", format!("`{text}` is not spoken: use JSONRPC or HTTP+JSON"));
        }
        known
    });
    if binding.is_none() && inner.get("binding").is_none() {
        inner.bad("binding", "missing", "is missing: JSONRPC or HTTP+JSON");
    }
    let version = inner.text("version", SHORT_TEXT_BYTES_MAX).unwrap_or_else(|| "1.0".into());
    let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
    if !matches!(minor.as_str(), "1.0" | "0.3" | "0.2" | "1") {
        inner.bad("version", "bad-version", format!("A2A {version} is not spoken: use 1.0 or 0.3"));
    }
    let url = inner.text("url", URL_BYTES_MAX).inspect(|url| check_url(&inner, "url", url));
    let streaming = match inner.get("streaming") {
        None => None,
        Some(Value::Bool(yes)) => Some(*yes),
        Some(other) => {
            inner.bad("streaming", "wrong-type", format!("must be true or false, is {}", kind(other)));
            None
        }
    };
    let tenant = inner.text("tenant", SHORT_TEXT_BYTES_MAX).filter(|t| !t.is_empty());
    inner.finish();
    let version = match minor.as_str() {
        "1" => "1.0".into(),
        "0.2" => "0.3".into(),
        _ => minor,
    };
    Some(Interface { binding: binding?, version, url, streaming, tenant })
}

fn health_path(root: &Node<'_>) -> Option<String> {
    let path = root.text("healthPath", URL_BYTES_MAX)?;
    let ok = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(['#', '\\', ' ', '\n', '\r', '\t']);
    if !ok {
        root.bad("healthPath", "bad-url", "must be a path such as /health");
    }
    Some(path)
}

fn capacity(node: &Node<'_>) -> Option<u32> {
    let (key, value) = node.any(&["capacity", "maxCapacity"])?;
    let n = node.whole(key, value, 1, i64::from(CAPACITY_MAX))?;
    u32::try_from(n).ok()
}

fn weight(node: &Node<'_>) -> Option<f64> {
    node.number("weight", 0.001, 1000.0)
}

fn instances(root: &Node<'_>, report: &Report) -> Vec<Instance> {
    let mut all: Vec<Instance> = Vec::new();
    for node in root.nodes("instances", INSTANCES_MAX) {
        let id = key(&node, "id");
        if id.is_empty() {
            node.bad("id", "missing", "is missing: an instance has a key of its own");
        } else if all.iter().any(|i| i.id == id) {
            report.error("duplicate-id", node.path("id"), format!("`{id}` is there twice"));
        }
        let endpoint = node.text("endpoint", URL_BYTES_MAX).inspect(|url| check_url(&node, "endpoint", url));
        all.push(Instance {
            id,
            endpoint,
            capacity: capacity(&node),
            weight: weight(&node),
            region: node.text("region", SHORT_TEXT_BYTES_MAX).filter(|r| !r.is_empty()),
            interface: interface(&node),
        });
        node.finish();
    }
    all
}

fn capabilities(root: &Node<'_>, report: &Report) -> Vec<Capability> {
    let mut all: Vec<Capability> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for node in root.nodes("capabilities", CAPABILITIES_MAX) {
        let id = key(&node, "id");
        if id.is_empty() {
            node.bad("id", "missing", "is missing: a capability has a key that tasks ask for");
        } else if !seen.insert(id.clone()) {
            report.error("duplicate-id", node.path("id"), format!("`{id}` is there twice"));
        }
        all.push(capability(id, &node, report));
        node.finish();
    }
    all
}

fn capability(id: String, node: &Node<'_>, report: &Report) -> Capability {
    let compliance = node.texts("compliance", LEVELS.len(), SHORT_TEXT_BYTES_MAX);
    for level in compliance.iter().filter(|l| !LEVELS.contains(&l.as_str())) {
        let rule = format!("`{level}` is not a level: use {}", LEVELS.join(", "));
        node.bad("compliance", "bad-level", rule);
    }
    let dependencies = node.texts("dependencies", CAPABILITIES_MAX, SHORT_TEXT_BYTES_MAX);
    for (key, given) in [("compliance", !compliance.is_empty()), ("dependencies", !dependencies.is_empty())] {
        if given {
            no_effect(report, node.path(key), key);
        }
    }
    let effect = node.text("effect", SHORT_TEXT_BYTES_MAX).and_then(|text| {
        let known = Effect::parse(&text);
        if known.is_none() {
            let rule = format!("`{text}` is not one of pure, idempotent, compensatable, irreversible");
            node.bad("effect", "bad-effect", rule);
        }
        known
    });
    let name =
        node.text("name", SHORT_TEXT_BYTES_MAX).filter(|n| !n.is_empty()).unwrap_or_else(|| id.clone());
    Capability {
        name,
        description: node.text("description", LONG_TEXT_BYTES_MAX).unwrap_or_default(),
        input_schema: json_schema(node, "inputSchema"),
        output_schema: json_schema(node, "outputSchema"),
        performance: performance(node, report),
        compliance,
        dependencies,
        tags: node.texts("tags", TAGS_MAX, SHORT_TEXT_BYTES_MAX),
        effect,
        cost: node.number("cost", 0.0, 1e12),
        version: node.text("version", SHORT_TEXT_BYTES_MAX).unwrap_or_default(),
        id,
    }
}

fn no_effect(report: &Report, path: String, key: &str) {
    report.warn("no-effect-yet", path, format!("`{key}` is stored and has no effect yet"));
}

fn json_schema(node: &Node<'_>, key: &'static str) -> Option<Value> {
    let value = node.get(key)?;
    match schema::compile(value) {
        Ok(_) => Some(value.clone()),
        Err(why) => {
            let why: String = why.chars().take(400).collect();
            node.bad(key, "bad-schema", format!("is not a JSON Schema: {why}"));
            None
        }
    }
}

fn performance(capability: &Node<'_>, report: &Report) -> Performance {
    let Some(node) = capability.node("performance") else { return Performance::default() };
    let (response_ms_target, response_ms_max) = target_and_max(&node, "responseTime", 1e9);
    let (throughput_target, throughput_max) = target_and_max(&node, "throughput", 1e9);
    if throughput_target.or(throughput_max).is_some() {
        no_effect(report, node.path("throughput"), "throughput");
    }
    let error_percent_max = node.node("errorRate").and_then(|inner| {
        let max = inner.number("max", 0.0, 100.0);
        inner.finish();
        max
    });
    let availability_percent_target = node.node("availability").and_then(|inner| {
        let target = inner.number("target", 0.0, 100.0);
        inner.finish();
        target
    });
    node.finish();
    Performance {
        response_ms_target,
        response_ms_max,
        throughput_target,
        throughput_max,
        error_percent_max,
        availability_percent_target,
    }
}

fn target_and_max(node: &Node<'_>, key: &'static str, limit: f64) -> (Option<f64>, Option<f64>) {
    let Some(inner) = node.node(key) else { return (None, None) };
    let (target, max) = (inner.number("target", 0.0, limit), inner.number("max", 0.0, limit));
    if let (Some(t), Some(m)) = (target, max)
        && t > m
    {
        inner.bad("target", "out-of-range", format!("{t} is above max {m}"));
    }
    inner.finish();
    (target, max)
}

fn resources(root: &Node<'_>, report: &Report) -> AgentResources {
    let Some(node) = root.node("resources") else { return AgentResources::default() };
    let amount_of = |inner: &Node<'_>, key: &'static str, read: fn(&Value) -> Result<u64, String>| {
        let value = inner.get(key)?;
        read(value).map_err(|why| inner.bad(key, "bad-amount", why)).ok()
    };
    let span = |key: &'static str, read: fn(&Value) -> Result<u64, String>| {
        let Some(inner) = node.node(key) else { return Span::default() };
        let span = Span { min: amount_of(&inner, "min", read), max: amount_of(&inner, "max", read) };
        if let Span { min: Some(min), max: Some(max) } = span
            && min > max
        {
            inner.bad("min", "out-of-range", "is above max");
        }
        inner.finish();
        span
    };
    let (cpu_millis, memory_bytes) = (span("cpu", amount::cpu), span("memory", amount::memory));
    let mut found = AgentResources { cpu_millis, memory_bytes, ..AgentResources::default() };
    if let Some(inner) = node.node("network") {
        found.bandwidth_mbps = amount_of(&inner, "bandwidth", amount::network);
        found.latency_ms = inner.number("latency", 0.0, 1e9);
        if found.latency_ms.is_some() {
            no_effect(report, inner.path("latency"), "latency");
        }
        inner.finish();
    }
    node.finish();
    found
}

fn metadata(root: &Node<'_>) -> Metadata {
    let Some(node) = root.node("metadata") else { return Metadata::default() };
    let time = |key: &'static str| -> Option<Timestamp> {
        let text = node.text(key, SHORT_TEXT_BYTES_MAX)?;
        let read = Timestamp::parse_rfc3339(&text);
        if read.is_none() {
            node.bad(key, "bad-time", format!("{text:?} is not a time: write 2026-01-02T03:04:05Z"));
        }
        read
    };
    let priority = node.get("priority").and_then(|v| node.whole("priority", v, -1_000_000, 1_000_000));
    let found = Metadata {
        tags: node.texts("tags", TAGS_MAX, SHORT_TEXT_BYTES_MAX),
        owner: node.text("owner", SHORT_TEXT_BYTES_MAX).unwrap_or_default(),
        created: time("created"),
        updated: time("updated"),
        priority,
        environment: node.text("environment", SHORT_TEXT_BYTES_MAX).unwrap_or_default(),
        other: BTreeMap::new(),
    };
    // Metadata is the owner's own: keys we do not know are kept.
    let other = node.others().map(|(k, v)| (k.clone(), v.clone())).collect();
    Metadata { other, ..found }
}
