//! The result cache: numbers, single values, patterns.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use proto::executor::v1::{self as wire, cache_service_client::CacheServiceClient};
use runtime::PeerChannel;

use super::{Answer, json, ok};
use crate::{
    app::{App, Retry},
    executors::Dialled,
    extract::{Call, Json, MaybeJson, Path},
    model::cache::{CacheEntry, CacheInvalidation, CacheRemoved, CacheStats, CacheValue},
    payload::payload,
};

fn client(to: Dialled) -> CacheServiceClient<PeerChannel> {
    CacheServiceClient::new(to.channel)
        .max_decoding_message_size(to.message_max)
        .max_encoding_message_size(to.message_max)
}

/// What the result cache did and holds, by namespace; all replicas together.
#[utoipa::path(get, path = "/cache", tag = "cache", responses((status = 200, body = CacheStats)))]
pub(crate) async fn cache_stats(State(app): State<Arc<App>>, Call(ctx): Call) -> Answer {
    let call = async |to, request| client(to).get_cache_stats(request).await;
    let stats = app.executors.call_service(&ctx, Retry::Read, || wire::GetCacheStatsRequest {}, call).await?;
    ok(&CacheStats::from(stats))
}

/// One value.
#[utoipa::path(get, path = "/cache/{namespace}/{key}", tag = "cache",
    params(("namespace" = String, Path), ("key" = String, Path)), responses((status = 200, body = CacheEntry)))]
pub(crate) async fn get_cache_entry(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((namespace, key)): Path<(String, String)>,
) -> Answer {
    let message = || wire::GetCacheEntryRequest { namespace: namespace.clone(), key: key.clone() };
    let call = async |to, request| client(to).get_cache_entry(request).await;
    ok(&CacheEntry::from(app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}

/// Keeps a value, in place of an older one.
#[utoipa::path(put, path = "/cache/{namespace}/{key}", tag = "cache",
    params(("namespace" = String, Path), ("key" = String, Path)), request_body = CacheValue,
    responses((status = 200, body = CacheEntry)))]
pub(crate) async fn set_cache_entry(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((namespace, key)): Path<(String, String)>,
    Json(given): Json<CacheValue>,
) -> Answer {
    let message = wire::SetCacheEntryRequest {
        namespace,
        key,
        value: Some(payload("value", Some(given.value))?),
        ttl_ms: given.ttl_ms.unwrap_or_default(),
    };
    let call = async |to, request| client(to).set_cache_entry(request).await;
    let entry = app.executors.call_service(&ctx, Retry::UntilDeadline, || message.clone(), call).await?;
    Ok(json(StatusCode::OK, &CacheEntry::from(entry)))
}

/// Takes one value out.
#[utoipa::path(delete, path = "/cache/{namespace}/{key}", tag = "cache",
    params(("namespace" = String, Path), ("key" = String, Path)), responses((status = 200, body = CacheRemoved)))]
pub(crate) async fn delete_cache_entry(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((namespace, key)): Path<(String, String)>,
) -> Answer {
    let message = || wire::DeleteCacheEntryRequest { namespace: namespace.clone(), key: key.clone() };
    let call = async |to, request| client(to).delete_cache_entry(request).await;
    let gone = app.executors.call_service(&ctx, Retry::UntilDeadline, message, call).await?;
    ok(&CacheRemoved { removed: gone.removed })
}

/// Takes out what a pattern matches in a namespace, on every replica; without a pattern everything in it.
#[utoipa::path(post, path = "/cache/{namespace}/invalidate", tag = "cache", params(("namespace" = String, Path)),
    request_body = Option<CacheInvalidation>, responses((status = 200, body = CacheRemoved)))]
pub(crate) async fn invalidate_cache(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(namespace): Path<String>,
    MaybeJson(given): MaybeJson<CacheInvalidation>,
) -> Answer {
    let message =
        || wire::InvalidateCacheRequest { namespace: namespace.clone(), pattern: given.pattern.clone() };
    let call = async |to, request| client(to).invalidate_cache(request).await;
    let gone = app.executors.call_service(&ctx, Retry::UntilDeadline, message, call).await?;
    ok(&CacheRemoved { removed: gone.removed })
}
