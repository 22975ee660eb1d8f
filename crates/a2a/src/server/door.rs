//! The way in: cards, versions, body limits, and which binding a request speaks.

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};

use super::{Server, rest, rpc};
use crate::{AgentCard, Dialect, Fault, FaultKind, Version};

/// The card in the forms that are shown, written once.
pub(crate) struct Cards {
    modern: (Bytes, HeaderValue),
    hybrid: (Bytes, HeaderValue),
}

impl Cards {
    pub(crate) fn new(card: &AgentCard, legacy: bool) -> Self {
        let modern = written(&card.to_value());
        let hybrid = if legacy { written(&card.to_hybrid()) } else { modern.clone() };
        Self { modern, hybrid }
    }
}

fn written(value: &serde_json::Value) -> (Bytes, HeaderValue) {
    let text = value.to_string();
    let tag = format!("W/\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..16]);
    let tag = HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("W/\"card\""));
    (text.into(), tag)
}

/// Every request of the router.
pub(crate) async fn answer(State(server): State<Server>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().trim_end_matches('/');
    if head.method == Method::POST && path.is_empty() {
        return match read(body, server.inner.config.body_limit_bytes).await {
            Ok(body) => rpc::answer(server.inner, head.uri, head.headers, body).await,
            Err(fault) => rpc::refusal(&fault),
        };
    }
    if matches!(path, "/.well-known/agent-card.json" | "/.well-known/agent.json") {
        let old_path = path.ends_with("agent.json");
        return match head.method {
            Method::GET | Method::HEAD => card(&server.inner.card, &head.headers, old_path),
            _ => rest::refusal(&Fault::new(FaultKind::InvalidRequest, "the card is read with GET")),
        };
    }
    match read(body, server.inner.config.body_limit_bytes).await {
        Ok(body) => rest::answer(server.inner, head.method, head.uri, head.headers, body).await,
        Err(fault) => rest::refusal(&fault),
    }
}

async fn read(body: Body, limit_bytes: usize) -> Result<Bytes, Fault> {
    let over = |_| {
        let why = format!("the body is larger than {limit_bytes} bytes or was cut");
        Fault { http_status: 413, ..Fault::new(FaultKind::InvalidRequest, why) }
    };
    axum::body::to_bytes(body, limit_bytes).await.map_err(over)
}

fn card(cards: &Cards, headers: &HeaderMap, old_path: bool) -> Response<Body> {
    let asked = headers.get("a2a-version").and_then(|v| v.to_str().ok()).and_then(Version::parse);
    let (text, tag) = match asked {
        Some(Version::V1_0) if !old_path => &cards.modern,
        _ => &cards.hybrid,
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let bare = |t: &str| t.trim().trim_start_matches("W/").to_owned();
    let fresh = known == "*" || known.split(',').any(|t| tag.to_str().is_ok_and(|tag| bare(t) == bare(tag)));
    let mut response = match fresh {
        true => Response::new(Body::empty()),
        false => json(text.clone()),
    };
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(header::VARY, HeaderValue::from_static("A2A-Version"));
    response
}

/// A JSON body with status 200.
pub(crate) fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Refuses bodies that are not JSON by their own word.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        return Ok(());
    }
    let why = format!("content type {:?}: send application/json", text.chars().take(80).collect::<String>());
    Err(Fault::new(FaultKind::ContentType, why))
}

/// Checks the version that the client names against the dialect that it speaks. Absent is taken as what is spoken:
/// hand-written clients forget the header.
pub(crate) fn check_version(
    headers: &HeaderMap,
    uri: &Uri,
    spoken: Dialect,
    legacy: bool,
) -> Result<(), Fault> {
    let in_query = || {
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case("a2a-version")).map(|(_, v)| v).next()
    };
    let named =
        headers.get("a2a-version").and_then(|v| v.to_str().ok()).or_else(in_query).unwrap_or_default();
    let refuse = |what: String| {
        let spoken = if legacy { "1.0 and 0.3" } else { "1.0" };
        Err(Fault::new(FaultKind::VersionNotSupported, format!("{what}: this agent speaks A2A {spoken}")))
    };
    if spoken == Dialect::V03 && !legacy {
        return refuse("A2A 0.3 is switched off".into());
    }
    match (named.trim(), Version::parse(named), spoken) {
        ("", ..) | (_, Some(Version::V1_0), Dialect::V1) | (_, Some(Version::V0_3), Dialect::V03) => Ok(()),
        (_, None, _) => refuse(format!("A2A-Version {:?}", named.chars().take(20).collect::<String>())),
        (_, Some(version), _) => {
            refuse(format!("A2A-Version {} with a request of another version", version.as_str()))
        }
    }
}
