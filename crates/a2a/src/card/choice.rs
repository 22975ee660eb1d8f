//! Which interface of a card a client talks to.

use http::Uri;

use super::{AgentCard, Binding, Version};
use crate::Dialect;

/// Where and how to call an agent: all that a call needs, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Base URL of the interface.
    pub url: Uri,
    /// How messages travel.
    pub binding: Binding,
    /// Version of the protocol.
    pub version: Version,
    /// Must travel with each request when set.
    pub tenant: Option<String>,
    /// The agent streams.
    pub streaming: bool,
    /// A 1.0 call that the agent does not know (-32601, -32009) may be repeated once as 0.3.
    pub downgrade: bool,
}

/// What an operator knows better than the card: cards behind proxies often advertise internal addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Use this URL.
    pub url: Option<String>,
    /// Use this binding.
    pub binding: Option<Binding>,
    /// Use this version.
    pub version: Option<Version>,
    /// See [`Endpoint::downgrade`].
    pub downgrade: bool,
}

/// No interface can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No interface speaks a binding and version that we speak.
    #[error(
        "no interface that can be used: the card offers {offered}; JSONRPC and HTTP+JSON 1.0 and JSONRPC 0.3 are spoken"
    )]
    NothingSpoken {
        /// What the card lists.
        offered: String,
    },
    /// The URL is not one.
    #[error("{url:?} is not an absolute http or https URL")]
    BadUrl {
        /// What was given.
        url: String,
    },
}

impl Endpoint {
    /// An endpoint known without a card.
    ///
    /// # Errors
    /// When `url` is not an absolute http or https URL.
    pub fn new(url: &str, binding: Binding, version: Version) -> Result<Self, ChoiceError> {
        let url = absolute(url)?;
        Ok(Self { url, binding, version, tenant: None, streaming: false, downgrade: false })
    }

    /// Chooses from a card: what we speak, 1.0 before 0.3, then the card's order; `over` wins.
    ///
    /// # Errors
    /// When nothing fits or the URL is not one.
    pub fn choose(card: &AgentCard, over: &Override) -> Result<Self, ChoiceError> {
        let spoken = card.supported_interfaces.iter().filter_map(|i| {
            let binding = Binding::parse(&i.protocol_binding)?;
            let version = Version::parse(&i.protocol_version)?;
            // 0.3 over HTTP is another shape of its own; every 0.3 server seen speaks JSON-RPC as well.
            (version == Version::V1_0 || binding == Binding::JsonRpc).then_some((i, binding, version))
        });
        let wanted = spoken.filter(|(_, binding, version)| {
            over.binding.is_none_or(|b| b == *binding) && over.version.is_none_or(|v| v == *version)
        });
        // `max_by_key` gives the last of equals, the card's order wants the first.
        let best = wanted.rev().max_by_key(|(_, _, version)| *version);
        let (url, binding, version, tenant) = match (best, &over.url, over.binding, over.version) {
            (Some((i, binding, version)), url, ..) => {
                (url.clone().unwrap_or_else(|| i.url.clone()), binding, version, i.tenant.clone())
            }
            (None, Some(url), Some(binding), Some(version)) => (url.clone(), binding, version, None),
            _ => return Err(ChoiceError::NothingSpoken { offered: offered(card) }),
        };
        Ok(Self {
            url: absolute(&url)?,
            binding,
            version,
            tenant: tenant.filter(|t| !t.is_empty()),
            streaming: card.capabilities.streaming,
            downgrade: over.downgrade,
        })
    }

    /// How messages look on the wire.
    pub fn dialect(&self) -> Dialect {
        match self.version {
            Version::V1_0 => Dialect::V1,
            Version::V0_3 => Dialect::V03,
        }
    }
}

fn offered(card: &AgentCard) -> String {
    let names =
        card.supported_interfaces.iter().map(|i| format!("{} {}", i.protocol_binding, i.protocol_version));
    names.collect::<Vec<_>>().join(", ")
}

fn absolute(url: &str) -> Result<Uri, ChoiceError> {
    let bad = || ChoiceError::BadUrl { url: url.chars().take(200).collect() };
    let uri: Uri = url.parse().map_err(|_| bad())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(bad()),
    }
}
