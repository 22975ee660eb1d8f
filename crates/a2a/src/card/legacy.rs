//! The card of 0.3.

use serde_json::{Map, Value, json};

use super::{AgentCard, AgentInterface, BadCard, Binding, Version};

/// Reads a card of 0.3 (or 0.2) into the form of 1.0.
pub(super) fn read_interfaces(card: &Map<String, Value>) -> Vec<AgentInterface> {
    let text = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    let version = text(card, "protocolVersion").unwrap_or_else(|| "0.3.0".into());
    let make = |url: String, binding: Option<String>| AgentInterface {
        url,
        protocol_binding: binding.unwrap_or_else(|| Binding::JsonRpc.as_str().into()),
        protocol_version: version.clone(),
        tenant: None,
    };
    let mut list: Vec<AgentInterface> =
        text(card, "url").map(|url| make(url, text(card, "preferredTransport"))).into_iter().collect();
    let more = card.get("additionalInterfaces").and_then(Value::as_array).into_iter().flatten();
    for entry in more.filter_map(Value::as_object) {
        let Some(url) = text(entry, "url") else { continue };
        let interface = make(url, text(entry, "transport"));
        if !list.contains(&interface) {
            list.push(interface);
        }
    }
    list
}

pub(super) fn read(mut value: Value) -> Result<AgentCard, BadCard> {
    let Some(map) = value.as_object_mut() else { return Err(BadCard("must be a JSON object".into())) };
    let interfaces = read_interfaces(map);
    let extended = map.remove("supportsAuthenticatedExtendedCard").is_some_and(|v| v == true);
    if let Some(security) = map.remove("security") {
        map.insert("securityRequirements".into(), security);
    }
    for skill in map.get_mut("skills").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(skill) = skill.as_object_mut()
            && let Some(security) = skill.remove("security")
        {
            skill.insert("securityRequirements".into(), security);
        }
    }
    map.remove("supportedInterfaces");
    let mut card = super::read(value)?;
    card.supported_interfaces = interfaces;
    card.capabilities.extended_agent_card |= extended;
    Ok(card)
}

/// Adds the fields of 0.3 to a card of 1.0, from its first interface that speaks 0.3.
pub(super) fn add(card: &AgentCard, mut value: Value) -> Value {
    let old = |i: &&AgentInterface| Version::parse(&i.protocol_version) == Some(Version::V0_3);
    let Some(first) = card.supported_interfaces.iter().find(old) else { return value };
    let more: Vec<Value> = card.supported_interfaces.iter().filter(old).map(entry).collect();
    if let Some(map) = value.as_object_mut() {
        map.insert("url".into(), json!(first.url));
        map.insert("preferredTransport".into(), json!(first.protocol_binding));
        map.insert("protocolVersion".into(), json!("0.3.0"));
        map.insert("additionalInterfaces".into(), json!(more));
        map.insert("supportsAuthenticatedExtendedCard".into(), json!(card.capabilities.extended_agent_card));
    }
    value
}

fn entry(interface: &AgentInterface) -> Value {
    json!({"url": interface.url, "transport": interface.protocol_binding})
}
