//! The one stack that every call passes, whether it comes over the network or from a role in the same process:
//! call context, deadline, panics, trace.

mod body;
mod metadata;
mod stack;

pub(crate) use metadata::read_timeout;
pub use metadata::{
    PRINCIPAL, TENANT, Trust, context, new_request_id, own_call, read, request, time_left, write,
};
pub use stack::{CallLayer, CallService};
pub(crate) use stack::{deadline_exceeded, within};
