use serde_json::{Value, json};

use super::*;

fn v1() -> Value {
    json!({
        "name": "a", "description": "d", "version": "1", "provider": null,
        "supportedInterfaces": [
            {"url": "http://h/grpc", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
            {"url": "http://h/old", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
            {"url": "http://h/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0", "tenant": "t"},
            {"url": "http://h/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0.1"},
        ],
        "capabilities": {"streaming": true, "extensions": [{"uri": "u", "params": {"const": null}}]},
        "securityRequirements": [{"schemes": {"bearer": {}}}],
        "skills": [{"id": "s", "name": "S", "description": "", "tags": []}], "unknown": 1,
    })
}

fn v03() -> Value {
    json!({
        "name": "a", "description": "d", "version": "1", "protocolVersion": "0.3.0", "url": "http://h/",
        "preferredTransport": "JSONRPC", "supportsAuthenticatedExtendedCard": true,
        "additionalInterfaces": [{"url": "http://h/", "transport": "JSONRPC"}, {"url": "http://h/v1", "transport": "HTTP+JSON"}],
        "capabilities": {"streaming": true, "stateTransitionHistory": false}, "security": [{"bearer": []}],
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        "defaultInputModes": ["text"], "defaultOutputModes": ["text"],
        "skills": [{"id": "s", "name": "S", "description": "", "tags": [], "security": [{"x": []}]}],
    })
}

#[test]
fn a_client_prefers_1_0_and_then_the_order_of_the_card() {
    let card = AgentCard::from_value(v1()).unwrap();
    let chosen = Endpoint::choose(&card, &Override::default()).unwrap();
    assert_eq!(
        (chosen.url.path(), chosen.binding, chosen.version),
        ("/rest", Binding::HttpJson, Version::V1_0)
    );
    assert_eq!((chosen.tenant.as_deref(), chosen.streaming), (Some("t"), true));
    let over = Override { binding: Some(Binding::JsonRpc), ..Override::default() };
    assert_eq!(Endpoint::choose(&card, &over).unwrap().url.path(), "/rpc");
    let over =
        Override { version: Some(Version::V0_3), url: Some("https://x/y".into()), ..Override::default() };
    assert_eq!(Endpoint::choose(&card, &over).unwrap().url, "https://x/y");
    assert_eq!(
        card.capabilities.extensions[0].params,
        Some(json!({"const": null})),
        "schemas keep their nulls"
    );
}

#[test]
fn a_0_3_card_becomes_interfaces_of_0_3() {
    let card = AgentCard::from_value(v03()).unwrap();
    assert_eq!(card.supported_interfaces.len(), 2, "the main one is not listed twice");
    let chosen = Endpoint::choose(&card, &Override::default()).unwrap();
    assert_eq!((chosen.binding, chosen.version, chosen.streaming), (Binding::JsonRpc, Version::V0_3, true));
    assert!(card.capabilities.extended_agent_card);
    assert_eq!(card.skills[0].security_requirements, [json!({"x": []})]);
    let mut old = v03();
    old["protocolVersion"] = Value::Null;
    old["preferredTransport"] = Value::Null;
    old["additionalInterfaces"] = Value::Null;
    let card = AgentCard::from_value(old).unwrap();
    assert_eq!(Endpoint::choose(&card, &Override::default()).unwrap().version, Version::V0_3);
}

#[test]
fn a_hybrid_card_follows_the_rules_of_1_0() {
    let mut both = v03();
    both["supportedInterfaces"] = v1()["supportedInterfaces"].clone();
    let card = AgentCard::from_value(both).unwrap();
    assert_eq!(Endpoint::choose(&card, &Override::default()).unwrap().version, Version::V1_0);
    let hybrid = card.to_hybrid();
    assert_eq!((&hybrid["url"], &hybrid["protocolVersion"]), (&json!("http://h/old"), &json!("0.3.0")));
    let mut only_old = hybrid;
    only_old.as_object_mut().unwrap().remove("supportedInterfaces");
    let card = AgentCard::from_value(only_old).unwrap();
    assert_eq!(Endpoint::choose(&card, &Override::default()).unwrap().url, "http://h/old");
}

#[test]
fn what_is_not_a_card_says_why() {
    let without = |key: &str| {
        let mut card = v1();
        card.as_object_mut().unwrap().remove(key);
        card.to_string()
    };
    let nameless_skill = v1().to_string().replace(r#""id":"s""#, r#""id":"""#);
    for (text, want) in [
        ("[]".into(), "must be a JSON object"),
        ("{".into(), "EOF"),
        (without("name"), "name is missing"),
        (without("supportedInterfaces"), "neither supportedInterfaces nor url"),
        (nameless_skill, "skills[0].id is missing"),
        (v1().to_string().replace("\"skills\":[", "\"skills\":[7,"), "invalid type"),
    ] {
        let err = AgentCard::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }
}

#[test]
fn an_unusable_card_lists_what_it_offers() {
    let mut card = AgentCard::from_value(v1()).unwrap();
    card.supported_interfaces.truncate(1);
    let err = Endpoint::choose(&card, &Override::default()).unwrap_err().to_string();
    assert!(err.contains("GRPC 1.0"), "{err}");
    card.supported_interfaces[0] = AgentInterface {
        url: "h:1".into(),
        protocol_binding: "JSONRPC".into(),
        protocol_version: "1.0".into(),
        tenant: None,
    };
    assert!(matches!(Endpoint::choose(&card, &Override::default()), Err(ChoiceError::BadUrl { .. })));
}

#[test]
fn versions_ignore_their_patch_number() {
    for (text, want) in [
        ("1.0", Some(Version::V1_0)),
        ("1.0.1", Some(Version::V1_0)),
        ("1.4", Some(Version::V1_0)),
        ("0.3.0", Some(Version::V0_3)),
        ("0.2.5", Some(Version::V0_3)),
        ("v1.0", Some(Version::V1_0)),
        ("2.0", None),
        ("0.1", None),
        ("", None),
        ("x", None),
    ] {
        assert_eq!(Version::parse(text), want, "{text}");
    }
}

#[test]
fn the_contract_of_a_skill_travels_on_the_card() {
    let mut card = AgentCard::from_value(v1()).unwrap();
    assert_eq!(card.contract(), AgentContract::default());
    let mut contract =
        AgentContract { agent_type: Some("x".into()), capacity: Some(3), ..AgentContract::default() };
    let skill = SkillContract {
        effect: Some(base::Effect::Irreversible),
        version: Some("2".into()),
        expected_ms: Some(40),
        input_schema: Some(json!({"type": ["object", "null"], "enum": [null]})),
        ..SkillContract::default()
    };
    contract.skills.insert("s".into(), skill);
    card.set_contract(&contract);
    card.set_contract(&contract);
    let back = AgentCard::parse(card.to_hybrid().to_string().as_bytes()).unwrap();
    assert_eq!(back.contract(), contract);
    assert_eq!(back.capabilities.extensions.len(), 2);
    assert!(back.skills_by_id().contains_key("s"));
}
