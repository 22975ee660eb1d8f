//! Ids are types: two of them never swap places.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind}: {rule}")]
pub struct BadId {
    /// What was expected, for people: `execution id`, `agent id`.
    pub kind: &'static str,
    /// What was given, cut to 200 characters.
    pub text: String,
    /// The rule it broke.
    pub rule: &'static str,
}

fn bad(kind: &'static str, text: &str, rule: &'static str) -> BadId {
    BadId { kind, text: text.chars().take(200).collect(), rule }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn new(id: Uuid) -> Self { Self(id) }
            /// The UUID itself.
            pub const fn uuid(self) -> Uuid { self.0 }
            /// Its 16 bytes, as stored.
            pub const fn as_bytes(&self) -> &[u8; 16] { self.0.as_bytes() }
            /// Reads 16 stored bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, BadId> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| bad($kind, "(bytes)", "must be 16 bytes"))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::try_parse(text).map(Self).map_err(|_| bad($kind, text, "must be a UUID"))
            }
        }
    };
}

uuid_id!(
    /// One execution of a workflow.
    ExecutionId, "execution id"
);
uuid_id!(
    /// A workflow by (tenant, name); its versions lie under it.
    WorkflowId, "workflow id"
);
uuid_id!(
    /// A checkpoint of an execution.
    CheckpointId, "checkpoint id"
);

impl ExecutionId {
    /// The id of the execution that `tenant` starts under its own `key`: the same key always gives the same id,
    /// so a repeated start is recognised (UUIDv5, RFC 9562).
    pub fn from_key(tenant: &Tenant, key: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("execution/{tenant}/{key}").as_bytes()))
    }

    /// The shard of this execution among `shards`: how the gateway, executors and their database agree on the owner.
    /// It is stored, so it never changes. 0 when `shards` is 0.
    pub fn shard(self, shards: u32) -> u32 {
        // The low half of a v7 UUID is random, that of a v5 UUID a hash.
        let low = self.0.as_u64_pair().1;
        low.checked_rem(u64::from(shards)).and_then(|shard| u32::try_from(shard).ok()).unwrap_or(0)
    }
}

impl WorkflowId {
    /// The id of the workflow called `name` in `tenant` (UUIDv5 of both).
    pub fn from_name(tenant: &Tenant, name: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("workflow/{tenant}/{name}").as_bytes()))
    }
}

/// Longest key (agent id, task id, tenant), in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// Checks the text of a key: 1–128 bytes of ASCII letters, digits, `.`, `_`, `-`, starting with a letter, digit or `_`.
pub fn check_key(kind: &'static str, text: &str) -> Result<(), BadId> {
    let rule =
        "must be 1-128 characters: letters, digits, '.', '_' or '-', starting with a letter, digit or '_'";
    let first = text.bytes().next();
    let ok = text.len() <= KEY_BYTES_MAX
        && first.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if ok { Ok(()) } else { Err(bad(kind, text, rule)) }
}

macro_rules! key_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a key.
            pub fn new(text: impl AsRef<str>) -> Result<Self, BadId> {
                check_key($kind, text.as_ref())?;
                Ok(Self(Arc::from(text.as_ref())))
            }
            /// The text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:?}", &*self.0) }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> { Self::new(text) }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str { &self.0 }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> { to.serialize_str(&self.0) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                Self::new(&*text).map_err(D::Error::custom)
            }
        }
    };
}

key_id!(
    /// An agent's key, chosen by whoever registers it (`my-agent`).
    AgentId, "agent id"
);
key_id!(
    /// A tenant: leads every key and index.
    Tenant, "tenant"
);

impl Default for Tenant {
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_plain_text() {
        for (text, ok) in [
            ("my-agent", true),
            ("data_processor.v2", true),
            ("_x", true),
            ("", false),
            ("-x", false),
            ("a b", false),
            ("ä", false),
            (&"x".repeat(128), true),
            (&"x".repeat(129), false),
        ] {
            assert_eq!(AgentId::new(text).is_ok(), ok, "{text:?}");
        }
        let refused = AgentId::new("a b").unwrap_err().to_string();
        assert!(refused.starts_with("\"a b\" is not a valid agent id: must be 1-128"), "{refused}");
    }

    #[test]
    fn the_same_key_in_two_tenants_gives_two_executions() {
        let (a, b) = (Tenant::default(), Tenant::new("other").unwrap());
        assert_eq!(ExecutionId::from_key(&a, "k"), ExecutionId::from_key(&a, "k"));
        assert_ne!(ExecutionId::from_key(&a, "k"), ExecutionId::from_key(&b, "k"));
        assert_ne!(WorkflowId::from_name(&a, "k").uuid(), ExecutionId::from_key(&a, "k").uuid());
    }

    #[test]
    fn executions_spread_over_all_shards_and_stay_where_they_are() {
        let id: ExecutionId = "0190b7a4-7c5e-7d5e-8f00-0000000000ff".parse().unwrap();
        assert_eq!((id.shard(64), id.shard(256), id.shard(1), id.shard(0)), (63, 255, 0, 0));
        let used: std::collections::BTreeSet<u32> =
            (0..2000).map(|_| ExecutionId::new(Uuid::now_v7()).shard(64)).collect();
        assert_eq!(used.len(), 64);
    }

    #[test]
    fn ids_survive_text_json_and_bytes() {
        let id = ExecutionId::from_key(&Tenant::default(), "k");
        assert_eq!(id.to_string().parse::<ExecutionId>().unwrap(), id);
        assert_eq!(ExecutionId::from_slice(id.as_bytes()).unwrap(), id);
        assert!(ExecutionId::from_slice(&[1, 2]).is_err());
        assert!("no".parse::<ExecutionId>().is_err());
        let agent: AgentId = serde_json::from_str("\"my-agent\"").unwrap();
        assert_eq!(serde_json::to_string(&agent).unwrap(), "\"my-agent\"");
        assert!(serde_json::from_str::<AgentId>("\"a b\"").is_err());
        assert_eq!(format!("{agent} {agent:?} {:?}", id).len(), 8 + 1 + 10 + 1 + 36);
    }
}
