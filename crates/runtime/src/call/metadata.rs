//! The call context as metadata: written by clients, read and checked by servers.

use std::time::Duration;

use base::{CallContext, Clock as _, Tenant, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Request, Status};

use crate::{SystemClock, trace};

/// Metadata key of the tenant.
pub const TENANT: HeaderName = HeaderName::from_static("x-orchestra-tenant");
/// Metadata key of the principal (percent-encoded where it is not plain ASCII).
pub const PRINCIPAL: HeaderName = HeaderName::from_static("x-orchestra-principal");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Longest request id, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest principal, in bytes of its encoded form.
const PRINCIPAL_BYTES_MAX: usize = 512;

/// Whether a listener is reached by our own services or by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Our own services: tenant and principal are taken from the metadata.
    Inside,
    /// The public door: such metadata is dropped, not believed.
    Outside,
}

/// A request that carries `ctx`. Without a deadline in `ctx` it has none: right for streams only.
pub fn request<T>(ctx: &CallContext, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let mut headers = HeaderMap::new();
    write(ctx, &mut headers);
    headers.remove(TIMEOUT);
    *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
    if let Some(left) = time_left(ctx) {
        request.set_timeout(left);
    }
    request
}

/// The context of a call that a server received. Calls that did not pass the stack have the default.
pub fn context<T>(request: &Request<T>) -> CallContext {
    request.extensions().get::<CallContext>().cloned().unwrap_or_default()
}

/// Time until the deadline of `ctx`; zero when it has passed.
pub fn time_left(ctx: &CallContext) -> Option<Duration> {
    ctx.deadline.map(|at| at.since(SystemClock.now()))
}

/// Writes `ctx` as headers, replacing what stands there: for frames that are forwarded as they are.
pub fn write(ctx: &CallContext, headers: &mut HeaderMap) {
    headers.remove(TENANT);
    headers.remove(PRINCIPAL);
    if let Ok(tenant) = HeaderValue::from_str(ctx.tenant.as_str()) {
        headers.insert(TENANT, tenant);
    }
    if !ctx.principal.is_empty()
        && let Ok(principal) = HeaderValue::from_str(&encode(&ctx.principal))
    {
        headers.insert(PRINCIPAL, principal);
    }
    trace::inject(ctx, headers);
    if let Some(left) = time_left(ctx)
        && let Ok(text) = HeaderValue::from_str(&show_timeout(left))
    {
        headers.insert(TIMEOUT, text);
    }
}

/// Reads and checks the context of a call. A request id is made when there is none; a malformed trace is dropped.
pub fn read(headers: &HeaderMap, trust: Trust) -> Result<CallContext, Status> {
    let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (mut tenant, mut principal) = (Tenant::default(), String::new());
    if trust == Trust::Inside {
        if headers.contains_key(TENANT) {
            tenant = Tenant::new(text(&TENANT))
                .map_err(|e| Status::invalid_argument(format!("metadata {TENANT}: {e}")))?;
        }
        let encoded = text(&PRINCIPAL);
        if encoded.len() > PRINCIPAL_BYTES_MAX {
            let rule = format!("metadata {PRINCIPAL}: must have at most {PRINCIPAL_BYTES_MAX} bytes");
            return Err(Status::invalid_argument(rule));
        }
        principal = decode(encoded);
    }
    let given = text(&trace::REQUEST_ID);
    let usable = !given.is_empty()
        && given.len() <= REQUEST_ID_BYTES_MAX
        && given.bytes().all(|b| b.is_ascii_graphic());
    let request_id = if usable { given.to_owned() } else { new_request_id() };
    let deadline = read_timeout(headers)?.map(|left| SystemClock.now().plus(left));
    Ok(CallContext { tenant, principal, request_id, trace: trace::extract(headers), deadline })
}

/// A new request id.
pub fn new_request_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// The `grpc-timeout` of a call, if it has one.
pub(crate) fn read_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let bad =
        || Status::invalid_argument("metadata grpc-timeout: must be 1 to 8 digits and one of H M S m u n");
    let text = value.to_str().map_err(|_| bad())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let n: u64 = digits.parse().map_err(|_| bad())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return Err(bad()),
    }))
}

fn show_timeout(left: Duration) -> String {
    // Eight digits of the finest unit that holds it.
    for (n, unit) in [(left.as_micros(), 'u'), (left.as_millis(), 'm'), (u128::from(left.as_secs()), 'S')] {
        if n < 100_000_000 {
            return format!("{n}{unit}");
        }
    }
    format!("{}H", (left.as_secs() / 3600).min(99_999_999))
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_graphic() && b != b'%' {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A context for work that a service does on its own behalf, ending after `timeout`.
pub fn own_call(principal: &str, timeout: Duration) -> CallContext {
    let deadline: Timestamp = SystemClock.now().plus(timeout);
    CallContext {
        tenant: Tenant::default(),
        principal: principal.to_owned(),
        request_id: new_request_id(),
        trace: trace::current(&tracing::Span::current()).unwrap_or_default(),
        deadline: Some(deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_travels_unchanged_between_our_own_services() {
        let sent = CallContext {
            tenant: Tenant::new("acme").unwrap(),
            principal: "jürgen 100%".into(),
            request_id: "r-1".into(),
            trace: trace::TraceParent::root().to_string(),
            deadline: Some(SystemClock.now().plus(Duration::from_secs(60))),
        };
        let headers = request(&sent, ()).metadata().clone().into_headers();
        let got = read(&headers, Trust::Inside).unwrap();
        let (sent_at, got_at) = (sent.deadline.unwrap(), got.deadline.unwrap());
        assert!(got_at.since(sent_at) + sent_at.since(got_at) < Duration::from_secs(10));
        assert_eq!(CallContext { deadline: sent.deadline, ..got }, sent);
    }

    #[test]
    fn the_door_drops_who_a_caller_claims_to_be() {
        let ctx = CallContext {
            tenant: Tenant::new("acme").unwrap(),
            principal: "root".into(),
            request_id: "r-1".into(),
            ..Default::default()
        };
        let mut headers = HeaderMap::new();
        write(&ctx, &mut headers);
        let got = read(&headers, Trust::Outside).unwrap();
        assert_eq!((got.tenant.as_str(), got.principal.as_str()), ("default", ""));
        assert_eq!(got.request_id, "r-1");
        write(&got, &mut headers);
        assert_eq!(headers[TENANT], "default");
        assert!(!headers.contains_key(PRINCIPAL));
    }

    #[test]
    fn malformed_metadata_is_refused_or_replaced() {
        for (name, value, refused) in [
            ("x-orchestra-tenant", "a b", true),
            ("grpc-timeout", "soon", true),
            ("grpc-timeout", "123456789S", true),
            ("grpc-timeout", "", true),
            ("grpc-timeout", "5X", true),
            ("grpc-timeout", "99999999H", false),
            ("x-request-id", "two words", false),
            ("traceparent", "nonsense", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let got = read(&headers, Trust::Inside);
            assert_eq!(got.is_err(), refused, "{name}: {value}");
            if let Ok(ctx) = got {
                assert!(!ctx.request_id.is_empty() && ctx.request_id != "two words" && ctx.trace.is_empty());
            }
        }
    }
}
