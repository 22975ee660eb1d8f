//! Definitions: the source's own example, every kind of mistake, and the way back to JSON.

use base::{Effect, Severity};
use catalog::{AgentDefinition, Binding, Card, CardSkill, Interface, definition::Format};
use serde_json::{Value, json};

/// The agent of S0's quick start.
fn example() -> Value {
    json!({
        "id": "my-agent", "name": "My Agent", "type": "analyzer", "version": "1.0.0",
        "endpoint": "http://localhost:3001",
        "capabilities": [{
            "id": "analyze", "name": "Analyze Data", "description": "Performs data analysis",
            "inputSchema": {"type": "object", "properties": {"data": {"type": "string"}}},
            "outputSchema": {"type": "object", "properties": {"result": {"type": "object"}}},
            "performance": {
                "responseTime": {"target": 1000, "max": 3000}, "throughput": {"target": 100, "max": 200},
                "errorRate": {"max": 5}, "availability": {"target": 99.9}
            },
            "compliance": ["silver"], "dependencies": []
        }],
        "resources": {"cpu": {"min": 1, "max": 4}, "memory": {"min": 1024, "max": 8192},
                      "network": {"bandwidth": 1000, "latency": 10}},
        "healthStatus": {"status": "healthy", "lastCheck": "2026-01-02T03:04:05.000Z", "checks": [], "score": 100},
        "metadata": {"tags": ["analysis"], "owner": "team-name", "created": "2026-01-02T03:04:05.000Z",
                     "updated": "2026-01-02T03:04:05.000Z", "priority": 5, "environment": "production"}
    })
}

#[test]
fn the_sources_example_is_taken_verbatim_and_comes_back() {
    let checked = AgentDefinition::from_value(&example()).unwrap();
    let d = &checked.definition;
    assert_eq!(
        (d.id.as_str(), d.agent_type.as_str(), d.resources.memory_bytes.max),
        ("my-agent", "analyzer", Some(8 << 30))
    );
    assert_eq!(d.resources.cpu_millis.min, Some(1000));
    assert_eq!(d.capabilities[0].performance.availability_percent_target, Some(99.9));
    assert_eq!(d.metadata.priority, Some(5));
    let codes: Vec<&str> = checked.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["no-effect-yet", "no-effect-yet", "no-effect-yet", "measured"]);

    let mut want = example();
    want.as_object_mut().unwrap().remove("healthStatus");
    want["capabilities"][0].as_object_mut().unwrap().remove("dependencies");
    assert_eq!(d.to_value(), want);
    assert_eq!(&AgentDefinition::from_value(&d.to_value()).unwrap().definition, d);
}

#[test]
fn everything_that_can_be_said_comes_back() {
    let value = json!({
        "id": "a", "name": "A", "description": "d", "type": "t", "version": "2", "endpoint": "https://h/x",
        "cardUrl": "https://h/card.json", "healthPath": "/health?full=1",
        "interface": {"binding": "HTTP+JSON", "version": "1.0", "url": "https://h/y", "streaming": true, "tenant": "q"},
        "capabilities": [{"id": "c", "name": "c", "tags": ["x"], "effect": "irreversible", "cost": 0.25, "version": "9"}],
        "resources": {"cpu": {"max": 0.5}, "memory": {"max": 512}},
        "instances": [
            {"id": "i1", "endpoint": "http://10.0.0.1:1", "capacity": 2, "weight": 1.5, "region": "eu"},
            {"id": "i2", "interface": {"binding": "JSONRPC", "version": "0.3"}}
        ],
        "capacity": 10, "weight": 2, "region": "us", "cost": 1,
        "metadata": {"tags": ["x"], "team": {"deep": [1]}}
    });
    let d = AgentDefinition::from_value(&value).unwrap().definition;
    assert_eq!(d.to_value(), value);
    let [first, second] = &d.instances()[..] else { panic!("two instances") };
    assert_eq!(
        (first.capacity, first.weight, first.region.as_str(), first.endpoint.as_str()),
        (2, 1.5, "eu", "http://10.0.0.1:1")
    );
    let inherited = first.interface.as_ref().unwrap();
    assert_eq!(
        (inherited.binding, inherited.url.as_deref(), first.card_url.as_deref()),
        (Binding::HttpJson, None, None)
    );
    assert_eq!(
        (second.capacity, second.weight, second.region.as_str(), second.endpoint.as_str()),
        (10, 2.0, "us", "https://h/x")
    );
    assert_eq!(second.interface.as_ref().unwrap().binding, Binding::JsonRpc);
    assert_eq!(second.card_url.as_deref(), Some("https://h/card.json"));
    assert_eq!((d.cost_of(Some("c")), d.cost_of(None), d.cost_of(Some("z"))), (0.25, 1.0, 1.0));
}

#[test]
fn yaml_and_json_read_the_same_and_the_least_definition_has_defaults() {
    let yaml = "id: a\nendpoint: http://localhost:1\nversion: 1.0\nresources: {memory: {max: 4GB}, cpu: {max: 2 cores}}\n";
    let d = AgentDefinition::parse(yaml, Format::of("", yaml).unwrap()).unwrap().definition;
    assert_eq!(
        (d.name.as_str(), d.version.as_str(), d.resources.memory_bytes.max),
        ("a", "1.0", Some(4 << 30))
    );
    let [only] = &d.instances()[..] else { panic!("one instance") };
    assert_eq!(
        (only.id.as_str(), only.capacity, only.weight, only.endpoint.as_str()),
        ("default", 64, 1.0, "http://localhost:1")
    );
    let text = d.to_value().to_string();
    assert_eq!(AgentDefinition::parse(&text, Format::of("", &text).unwrap()).unwrap().definition, d);
    assert_eq!(
        (Format::of("yml", ""), Format::of("json", ""), Format::of("xml", "")),
        (Some(Format::Yaml), Some(Format::Json), None)
    );
}

/// Each row: what is wrong, the JSON put over the least definition, path and code of the first error, a word of it.
fn mistakes() -> Vec<(&'static str, Value, &'static str, &'static str, &'static str)> {
    let cap = |v: Value| json!({"capabilities": [v]});
    vec![
        ("no id", json!({"id": null}), "id", "missing", "my-agent"),
        ("an id with a space", json!({"id": "a b"}), "id", "bad-id", "letters"),
        (
            "an id of another engine",
            json!({"id": "provider.temporal"}),
            "id",
            "reserved-id",
            "choose another id",
        ),
        ("an id that is a list", json!({"id": []}), "id", "wrong-type", "list"),
        ("no endpoint", json!({"endpoint": null}), "endpoint", "missing", "http"),
        (
            "an endpoint without scheme",
            json!({"endpoint": "localhost:3001"}),
            "endpoint",
            "bad-url",
            "scheme",
        ),
        ("a file as endpoint", json!({"endpoint": "file:///etc/passwd"}), "endpoint", "bad-url", "file"),
        (
            "credentials in the endpoint",
            json!({"endpoint": "http://u:p@h/"}),
            "endpoint",
            "bad-url",
            "credentials",
        ),
        ("a fragment in the endpoint", json!({"endpoint": "http://h/#x"}), "endpoint", "bad-url", "fragment"),
        (
            "a huge endpoint",
            json!({"endpoint": format!("http://h/{}", "x".repeat(3000))}),
            "endpoint",
            "too-long",
            "2048",
        ),
        ("a bad card URL", json!({"cardUrl": "ftp://h"}), "cardUrl", "bad-url", "ftp"),
        ("a health path elsewhere", json!({"healthPath": "//other/x"}), "healthPath", "bad-url", "/health"),
        ("an unknown key", json!({"capabilites": []}), "capabilites", "unknown-key", "capabilities"),
        ("an unknown key far off", json!({"zzzzzzzz": 1}), "zzzzzzzz", "unknown-key", "known keys"),
        ("a text with control characters", json!({"name": "a\u{0}b"}), "name", "bad-text", "control"),
        (
            "a binding nobody speaks",
            json!({"interface": {"binding": "SOAP"}}),
            "interface.binding",
            "bad-binding",
            "JSONRPC",
        ),
        ("an interface without binding", json!({"interface": {}}), "interface.binding", "missing", "JSONRPC"),
        (
            "a protocol version of the future",
            json!({"interface": {"binding": "JSONRPC", "version": "7.1"}}),
            "interface.version",
            "bad-version",
            "0.3",
        ),
        (
            "streaming that is no boolean",
            json!({"interface": {"binding": "JSONRPC", "streaming": "yes"}}),
            "interface.streaming",
            "wrong-type",
            "true",
        ),
        ("capacity 0", json!({"capacity": 0}), "capacity", "out-of-range", "1"),
        (
            "capacity twice",
            json!({"capacity": 1, "maxCapacity": 2}),
            "maxCapacity",
            "duplicate-key",
            "keep one",
        ),
        ("half a call", json!({"capacity": 1.5}), "capacity", "wrong-type", "whole"),
        ("a negative weight", json!({"weight": -1}), "weight", "out-of-range", "0.001"),
        ("a negative cost", json!({"cost": -1}), "cost", "out-of-range", "0"),
        ("capabilities as object", json!({"capabilities": {}}), "capabilities", "wrong-type", "list"),
        ("a capability that is a text", cap(json!("search")), "capabilities[0]", "wrong-type", "object"),
        ("a capability without id", cap(json!({})), "capabilities[0].id", "missing", "key"),
        (
            "a capability twice",
            json!({"capabilities": [{"id": "c"}, {"id": "c"}]}),
            "capabilities[1].id",
            "duplicate-id",
            "twice",
        ),
        (
            "a broken schema",
            cap(json!({"id": "c", "inputSchema": {"type": "objekt"}})),
            "capabilities[0].inputSchema",
            "bad-schema",
            "objekt",
        ),
        (
            "a schema from the network",
            cap(json!({"id": "c", "outputSchema": {"$ref": "http://127.0.0.1:1/s"}})),
            "capabilities[0].outputSchema",
            "bad-schema",
            "127.0.0.1",
        ),
        (
            "an effect that does not exist",
            cap(json!({"id": "c", "effect": "magic"})),
            "capabilities[0].effect",
            "bad-effect",
            "irreversible",
        ),
        (
            "a level that does not exist",
            cap(json!({"id": "c", "compliance": ["wood"]})),
            "capabilities[0].compliance",
            "bad-level",
            "bronze",
        ),
        (
            "an error rate above 100",
            cap(json!({"id": "c", "performance": {"errorRate": {"max": 101}}})),
            "capabilities[0].performance.errorRate.max",
            "out-of-range",
            "100",
        ),
        (
            "a target above the maximum",
            cap(json!({"id": "c", "performance": {"responseTime": {"target": 9, "max": 1}}})),
            "capabilities[0].performance.responseTime.target",
            "out-of-range",
            "above",
        ),
        (
            "a misspelt promise",
            cap(json!({"id": "c", "performance": {"responsetime": {}}})),
            "capabilities[0].performance.responsetime",
            "unknown-key",
            "responseTime",
        ),
        (
            "min above max",
            json!({"resources": {"cpu": {"min": 4, "max": 1}}}),
            "resources.cpu.min",
            "out-of-range",
            "above",
        ),
        (
            "a CPU that is no amount",
            json!({"resources": {"cpu": {"max": "many"}}}),
            "resources.cpu.max",
            "bad-amount",
            "cores",
        ),
        (
            "memory below zero",
            json!({"resources": {"memory": {"min": -1}}}),
            "resources.memory.min",
            "bad-amount",
            "megabytes",
        ),
        (
            "bandwidth as list",
            json!({"resources": {"network": {"bandwidth": []}}}),
            "resources.network.bandwidth",
            "bad-amount",
            "list",
        ),
        (
            "tags that are no texts",
            json!({"metadata": {"tags": [1]}}),
            "metadata.tags[0]",
            "wrong-type",
            "text",
        ),
        ("an empty tag", json!({"metadata": {"tags": [" "]}}), "metadata.tags[0]", "bad-text", "empty"),
        ("too many tags", json!({"metadata": {"tags": vec!["x"; 101]}}), "metadata.tags", "too-many", "100"),
        (
            "a time that is none",
            json!({"metadata": {"created": "yesterday"}}),
            "metadata.created",
            "bad-time",
            "2026",
        ),
        (
            "a priority that is a text",
            json!({"metadata": {"priority": "high"}}),
            "metadata.priority",
            "wrong-type",
            "number",
        ),
        ("an instance without id", json!({"instances": [{}]}), "instances[0].id", "missing", "key"),
        (
            "an instance twice",
            json!({"instances": [{"id": "i"}, {"id": "i"}]}),
            "instances[1].id",
            "duplicate-id",
            "twice",
        ),
        (
            "an instance nowhere",
            json!({"endpoint": null, "instances": [{"id": "i"}]}),
            "endpoint",
            "missing",
            "answers",
        ),
        (
            "too many instances",
            json!({"instances": vec![json!({"id": "i"}); 1001]}),
            "instances",
            "too-many",
            "1000",
        ),
    ]
}

#[test]
fn every_mistake_is_refused_with_its_path() {
    for (name, over, path, code, word) in mistakes() {
        let mut value = json!({"id": "a", "endpoint": "http://localhost:1", "capabilities": [{"id": "c"}]});
        for (key, v) in over.as_object().unwrap() {
            value[key] = v.clone();
        }
        let rejected = AgentDefinition::from_value(&value).expect_err(name);
        let first = &rejected.findings[0];
        assert_eq!((first.path.as_str(), first.code.as_str()), (path, code), "{name}: {rejected}");
        assert!(first.to_string().contains(word), "{name}: {first}");
        assert_eq!((first.severity, rejected.field()), (Severity::Error, path), "{name}");
        assert!(rejected.to_string().contains(path), "{name}: {rejected}");
    }
}

#[test]
fn all_mistakes_are_listed_at_once() {
    let value = json!({"id": "", "endpoint": "x", "wat": 1, "capabilities": [{"id": "c", "effect": "?"}]});
    let rejected = AgentDefinition::from_value(&value).unwrap_err();
    assert_eq!(rejected.findings.iter().filter(|f| f.is_error()).count(), 4, "{rejected:?}");
}

#[test]
fn broken_texts_name_line_and_column() {
    for (name, text, format, line) in [
        ("cut JSON", "{\n \"id\": ", Format::Json, 2),
        ("broken YAML", "id: a\nname: [1, 2\n", Format::Yaml, 2),
        ("a key twice", "id: a\nid: b\n", Format::Yaml, 2),
    ] {
        let rejected = AgentDefinition::parse(text, format).expect_err(name);
        let first = &rejected.findings[0];
        assert_eq!(first.code, "syntax", "{name}");
        assert!(first.line == line && first.column > 0, "{name}: {first}");
    }
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..9 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(","));
    }
    let deep = "[".repeat(10_000);
    let large = "x".repeat(2 << 20);
    for (name, text) in [("an alias bomb", &bomb), ("a deep nest", &deep), ("a large text", &large)] {
        for format in [Format::Yaml, Format::Json] {
            assert!(AgentDefinition::parse(text, format).is_err(), "{name}");
        }
    }
    for text in ["", "null", "[]", "3"] {
        assert!(AgentDefinition::parse(text, Format::Yaml).is_err(), "{text:?}");
    }
}

#[test]
fn a_card_becomes_a_definition() {
    let card = Card {
        name: "Web Searcher (beta)".into(),
        version: "3".into(),
        provider: "ACME".into(),
        card_url: "https://h/.well-known/agent-card.json".into(),
        interface: Some(Interface {
            binding: Binding::JsonRpc,
            version: "1.0".into(),
            url: Some("https://h/rpc".into()),
            streaming: Some(true),
            tenant: None,
        }),
        skills: vec![
            CardSkill {
                id: "web_search".into(),
                name: "Search".into(),
                tags: vec!["web".into()],
                effect: Some(Effect::Pure),
                version: Some("1.4".into()),
                expected_ms: Some(20),
                ..CardSkill::default()
            },
            CardSkill { id: "Sum up!".into(), name: "Sum up".into(), ..CardSkill::default() },
        ],
        ..Card::default()
    };
    let checked = AgentDefinition::from_card(&card, "", 7).unwrap();
    let d = &checked.definition;
    assert_eq!(
        (d.id.as_str(), d.endpoint.as_str(), d.capacity),
        ("web-searcher-beta", "https://h/rpc", Some(7))
    );
    assert_eq!((d.capabilities[0].effect, d.capabilities[1].id.as_str()), (Some(Effect::Pure), "sum-up"));
    assert_eq!((d.version_of(Some("web_search")), d.version_of(None)), ("1.4", "3"));
    assert_eq!(d.capabilities[0].performance.response_ms_target, Some(20.0));
    assert_eq!(checked.findings[0].code, "renamed");
    let own = Card { capacity: Some(3), agent_type: Some("finder".into()), ..card.clone() };
    let from_own = AgentDefinition::from_card(&own, "", 0).unwrap().definition;
    assert_eq!((from_own.capacity, from_own.agent_type.as_str()), (Some(3), "finder"));
    assert_eq!(AgentDefinition::from_card(&card, "mine", 0).unwrap().definition.id.as_str(), "mine");
    assert!(AgentDefinition::from_card(&card, "not mine", 0).is_err());
    let reserved = AgentDefinition::from_card(&card, "provider.mine", 0).unwrap_err();
    assert_eq!((reserved.field(), reserved.findings[0].code.as_ref()), ("id", "reserved-id"));
    // One that is stored already is read all the same.
    let stored = json!({"id": "provider.mine", "endpoint": "http://h"});
    assert_eq!(AgentDefinition::from_stored(&stored).unwrap().id.as_str(), "provider.mine");
    let silent = Card { interface: None, ..card.clone() };
    assert_eq!(AgentDefinition::from_card(&silent, "", 0).unwrap_err().field(), "supportedInterfaces");
    let nameless = Card { name: "???".into(), ..card };
    assert_eq!(AgentDefinition::from_card(&nameless, "", 0).unwrap_err().field(), "id");
}
