//! What travels with every call.

use crate::{Tenant, Timestamp};

/// Who asks, on whose behalf, until when. Made by one interceptor at the door of each service;
/// the gateway drops such metadata that comes from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallContext {
    /// Leads every key and index.
    pub tenant: Tenant,
    /// Who asks, for the log: a user, a service, or empty when unknown.
    pub principal: String,
    /// Names this request in logs and answers.
    pub request_id: String,
    /// W3C `traceparent`, empty when there is none.
    pub trace: String,
    /// When the caller stops waiting.
    pub deadline: Option<Timestamp>,
}
