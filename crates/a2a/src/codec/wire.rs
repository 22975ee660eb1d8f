//! Shapes as they lie on the wire: every field optional, unknown fields ignored, `null` means absent.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// A name of an enum, or its number in the proto.
#[derive(Debug, Default)]
pub(crate) struct Name(pub(crate) String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visit;
        impl de::Visitor<'_> for Visit {
            type Value = Name;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name or the number of an enum value")
            }
            fn visit_str<E>(self, v: &str) -> Result<Name, E> {
                Ok(Name(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Name, E> {
                Ok(Name(v.to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Name, E> {
                Ok(Name(v.to_string()))
            }
        }
        d.deserialize_any(Visit)
    }
}

/// Tells `null` from absent: a data part may carry `null`.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WirePart<'a> {
    pub(crate) kind: Option<Cow<'a, str>>,
    pub(crate) text: Option<String>,
    pub(crate) raw: Option<String>,
    pub(crate) url: Option<String>,
    #[serde(borrow, deserialize_with = "present")]
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) file: Option<WireFile>,
    pub(crate) filename: Option<String>,
    pub(crate) media_type: Option<String>,
    #[serde(borrow)]
    pub(crate) metadata: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WireFile {
    #[serde(alias = "fileWithBytes")]
    pub(crate) bytes: Option<String>,
    #[serde(alias = "fileWithUri")]
    pub(crate) uri: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) mime_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WireMessage<'a> {
    pub(crate) message_id: Option<String>,
    pub(crate) role: Option<Name>,
    #[serde(borrow)]
    pub(crate) parts: Option<Vec<WirePart<'a>>>,
    pub(crate) context_id: Option<String>,
    pub(crate) task_id: Option<String>,
    #[serde(borrow)]
    pub(crate) metadata: Option<&'a RawValue>,
    pub(crate) extensions: Option<Vec<String>>,
    pub(crate) reference_task_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WireStatus<'a> {
    pub(crate) state: Option<Name>,
    #[serde(borrow)]
    pub(crate) message: Option<WireMessage<'a>>,
    pub(crate) timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WireArtifact<'a> {
    pub(crate) artifact_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    #[serde(borrow)]
    pub(crate) parts: Option<Vec<WirePart<'a>>>,
    #[serde(borrow)]
    pub(crate) metadata: Option<&'a RawValue>,
    pub(crate) extensions: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WireTask<'a> {
    pub(crate) id: Option<String>,
    pub(crate) context_id: Option<String>,
    #[serde(borrow)]
    pub(crate) status: Option<WireStatus<'a>>,
    #[serde(borrow)]
    pub(crate) artifacts: Option<Vec<WireArtifact<'a>>>,
    #[serde(borrow)]
    pub(crate) history: Option<Vec<WireMessage<'a>>>,
    #[serde(borrow)]
    pub(crate) metadata: Option<&'a RawValue>,
}

/// A status or artifact update of either dialect.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WireUpdate<'a> {
    pub(crate) task_id: Option<String>,
    pub(crate) context_id: Option<String>,
    #[serde(borrow)]
    pub(crate) status: Option<WireStatus<'a>>,
    #[serde(borrow)]
    pub(crate) artifact: Option<WireArtifact<'a>>,
    pub(crate) append: Option<bool>,
    pub(crate) last_chunk: Option<bool>,
    pub(crate) r#final: Option<bool>,
    #[serde(borrow)]
    pub(crate) metadata: Option<&'a RawValue>,
}

/// 1.0: exactly one of the four members.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct UnionEvent<'a> {
    #[serde(borrow)]
    pub(crate) task: Option<WireTask<'a>>,
    #[serde(borrow)]
    pub(crate) message: Option<WireMessage<'a>>,
    #[serde(borrow)]
    pub(crate) status_update: Option<WireUpdate<'a>>,
    #[serde(borrow)]
    pub(crate) artifact_update: Option<WireUpdate<'a>>,
}

/// 0.3: the members of all four shapes side by side; `kind` says which it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FlatEvent<'a> {
    pub(crate) kind: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) role: Option<Name>,
    #[serde(borrow)]
    pub(crate) parts: Option<Vec<WirePart<'a>>>,
    pub(crate) context_id: Option<String>,
    pub(crate) task_id: Option<String>,
    #[serde(borrow)]
    pub(crate) status: Option<WireStatus<'a>>,
    #[serde(borrow)]
    pub(crate) artifacts: Option<Vec<WireArtifact<'a>>>,
    #[serde(borrow)]
    pub(crate) artifact: Option<WireArtifact<'a>>,
    #[serde(borrow)]
    pub(crate) history: Option<Vec<WireMessage<'a>>>,
    pub(crate) append: Option<bool>,
    pub(crate) last_chunk: Option<bool>,
    pub(crate) r#final: Option<bool>,
    #[serde(borrow)]
    pub(crate) metadata: Option<&'a RawValue>,
    pub(crate) extensions: Option<Vec<String>>,
    pub(crate) reference_task_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WirePage<'a> {
    #[serde(borrow)]
    pub(crate) tasks: Option<Vec<WireTask<'a>>>,
    pub(crate) next_page_token: Option<String>,
    pub(crate) page_size: Option<u32>,
    pub(crate) total_size: Option<u32>,
}
