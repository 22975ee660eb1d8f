//! Messages that consumers gave up on.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proto::executor::v1 as wire;
use serde::Serialize;
use utoipa::ToSchema;

/// A message that a consumer gave up on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetter {
    /// Names it.
    pub id: String,
    /// The stream it came from.
    pub stream: String,
    /// The consumer group that gave up.
    pub group: String,
    /// Why, at the last delivery.
    pub reason: String,
    /// How often it was delivered.
    pub deliveries: u32,
    /// RFC 3339.
    pub created_at: String,
    /// The message, base64.
    pub body_base64: String,
    /// `dead` or `redriven`.
    pub state: String,
}

impl From<wire::DeadLetter> for DeadLetter {
    fn from(letter: wire::DeadLetter) -> Self {
        Self {
            id: letter.id,
            stream: letter.stream,
            group: letter.group,
            reason: letter.reason,
            deliveries: letter.deliveries,
            created_at: letter.created_at,
            body_base64: BASE64_STANDARD.encode(letter.body),
            state: letter.state,
        }
    }
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterPage {
    /// Newest first.
    pub dead_letters: Vec<DeadLetter>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}
