//! Agents from cards.

use a2a::{
    A2aClient, AgentCard, CallError,
    card::{ChoiceError, Endpoint, Override},
    client::CallOptions,
};
use catalog::{AgentDefinition, Binding, Card, CardSkill, Checked, Interface};
use tokio::time::Instant;

use crate::{config::Options, error::RegistryError};

/// Largest card that is read, in bytes.
pub(crate) const CARD_BYTES_MAX: usize = 1 << 20;

/// Reads the card at `url` and makes a definition of it.
pub(crate) async fn read(
    a2a: &A2aClient,
    options: &Options,
    url: &str,
    agent_id: &str,
    capacity: u32,
) -> Result<Checked, RegistryError> {
    check_url(url)?;
    let limits = CallOptions {
        idle_timeout: options.probe_timeout,
        deadline: Some(Instant::now() + options.probe_timeout),
        response_limit_bytes: CARD_BYTES_MAX.min(options.definition_bytes_max),
        ..CallOptions::default()
    };
    let card = a2a.fetch_card(url, &limits).await.map_err(|error| failed(url, &error))?;
    Ok(AgentDefinition::from_card(&convert(&card, url), agent_id, capacity)?)
}

fn check_url(url: &str) -> Result<(), RegistryError> {
    let bad = |rule: &str| Err(RegistryError::BadRequest { field: "url", rule: rule.into() });
    let Ok(parsed) = url::Url::parse(url) else {
        return bad("must be the URL of a card or of an agent, http://host:port/…");
    };
    match parsed.scheme() {
        "http" | "https" if parsed.username().is_empty() && parsed.password().is_none() => Ok(()),
        "http" | "https" => bad("must not carry credentials"),
        _ => bad("must begin with http:// or https://"),
    }
}

fn failed(url: &str, error: &CallError) -> RegistryError {
    let (url, why) = (url.chars().take(200).collect(), error.to_string());
    match error {
        CallError::NotSent { .. }
        | CallError::Timeout { .. }
        | CallError::Broken { .. }
        | CallError::Fault(_) => RegistryError::Unreachable { url, why },
        CallError::InvalidAnswer { .. } | CallError::TooBig { .. } => RegistryError::NotACard { url, why },
    }
}

fn convert(card: &AgentCard, url: &str) -> Card {
    let contract = card.contract();
    let skills = card.skills.iter().map(|skill| {
        let promised = contract.skills.get(&skill.id).cloned().unwrap_or_default();
        CardSkill {
            id: skill.id.clone(),
            name: skill.name.clone(),
            description: skill.description.clone(),
            tags: skill.tags.clone(),
            input_schema: promised.input_schema,
            output_schema: promised.output_schema,
            effect: promised.effect,
            version: promised.version,
            expected_ms: promised.expected_ms,
            max_ms: promised.max_ms,
        }
    });
    Card {
        name: card.name.clone(),
        description: card.description.clone(),
        version: card.version.clone(),
        provider: card.provider.as_ref().map(|p| p.organization.clone()).unwrap_or_default(),
        interface: interface(card).ok(),
        card_url: url.to_owned(),
        skills: skills.collect(),
        agent_type: contract.agent_type,
        capacity: contract.capacity,
    }
}

fn interface(card: &AgentCard) -> Result<Interface, ChoiceError> {
    let endpoint = Endpoint::choose(card, &Override::default())?;
    Ok(Interface {
        binding: match endpoint.binding {
            a2a::Binding::JsonRpc => Binding::JsonRpc,
            a2a::Binding::HttpJson => Binding::HttpJson,
        },
        version: endpoint.version.as_str().into(),
        url: Some(endpoint.url.to_string()),
        streaming: Some(endpoint.streaming),
        tenant: endpoint.tenant,
    })
}
