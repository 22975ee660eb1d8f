//! Wire shapes into the model.

use base::Timestamp;
use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    BadShape, Dialect,
    names::{role_from, state_from},
    wire::{
        FlatEvent, Name, UnionEvent, WireArtifact, WireMessage, WirePage, WirePart, WireStatus, WireTask,
        WireUpdate,
    },
};
use crate::{
    Json,
    model::{
        Artifact, ArtifactUpdate, Content, Message, Part, StatusUpdate, StreamEvent, Task, TaskPage,
        TaskStatus,
    },
};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

type Decoded<T> = Result<T, BadShape>;

fn base64_bytes(text: &str) -> Decoded<Bytes> {
    let plain = text.replace('-', "+").replace('_', "/");
    BASE64.decode(plain).map(Bytes::from).map_err(|err| BadShape::new("", format!("not base64: {err}")))
}

fn json(body: &Bytes, raw: Option<&RawValue>) -> Option<Json> {
    raw.map(|raw| Json::slice(body, raw))
}

fn full(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

fn part(body: &Bytes, wire: WirePart<'_>, dialect: Dialect) -> Decoded<Part> {
    let metadata = json(body, wire.metadata);
    if dialect == Dialect::V03 {
        return part_v03(body, wire, metadata);
    }
    let null_data = wire.data.is_some_and(|raw| raw.get() == "null");
    let arms =
        [wire.text.is_some(), wire.raw.is_some(), wire.url.is_some(), wire.data.is_some() && !null_data];
    let content = match (arms.iter().filter(|a| **a).count(), wire.text, wire.raw, wire.url, wire.data) {
        (1, Some(text), ..) => Content::Text(text),
        (1, _, Some(raw), ..) => Content::Raw(base64_bytes(&raw).map_err(|e| e.inside("raw"))?),
        (1, _, _, Some(url), _) => Content::Url(url),
        (0 | 1, _, _, _, Some(data)) => Content::Data(Json::slice(body, data)),
        (0, ..) => return Err(BadShape::new("", "has none of text, raw, url, data")),
        _ => return Err(BadShape::new("", "has more than one of text, raw, url, data")),
    };
    Ok(Part { content, filename: full(wire.filename), media_type: full(wire.media_type), metadata })
}

fn part_v03(body: &Bytes, wire: WirePart<'_>, mut metadata: Option<Json>) -> Decoded<Part> {
    let (mut filename, mut media_type) = (None, None);
    let content = match (wire.kind.as_deref(), wire.text, wire.file, wire.data) {
        (Some("text") | None, Some(text), ..) => Content::Text(text),
        (Some("file") | None, _, Some(file), _) => {
            (filename, media_type) = (full(file.name), full(file.mime_type));
            match (file.bytes, file.uri) {
                (Some(bytes), None) => {
                    Content::Raw(base64_bytes(&bytes).map_err(|e| e.inside("file.bytes"))?)
                }
                (None, Some(uri)) => Content::Url(uri),
                _ => return Err(BadShape::new("file", "needs exactly one of bytes, uri")),
            }
        }
        (Some("data") | None, _, _, Some(data)) => {
            let carried = metadata.as_ref().and_then(|m| m.member("data_part_compat"));
            let value = Json::slice(body, data);
            match (carried == Some(true.into())).then(|| value.member("value")).flatten() {
                Some(inner) => {
                    metadata = None;
                    Content::Data(Json::from_value(&inner))
                }
                None => Content::Data(value),
            }
        }
        (Some(kind), ..) => {
            let rule = format!("kind {:?} without its content", kind.chars().take(20).collect::<String>());
            return Err(BadShape::new("", rule));
        }
        (None, ..) => return Err(BadShape::new("", "has none of text, file, data")),
    };
    Ok(Part { content, filename, media_type, metadata })
}

fn parts(body: &Bytes, wire: Option<Vec<WirePart<'_>>>, dialect: Dialect) -> Decoded<Vec<Part>> {
    let numbered = wire.into_iter().flatten().enumerate();
    numbered.map(|(i, p)| part(body, p, dialect).map_err(|e| e.inside(&format!("parts[{i}]")))).collect()
}

fn name(wire: &Option<Name>) -> &str {
    wire.as_ref().map_or("", |n| &n.0)
}

/// A message of either dialect.
pub(crate) fn message(body: &Bytes, wire: WireMessage<'_>, dialect: Dialect) -> Decoded<Message> {
    Ok(Message {
        role: role_from(name(&wire.role)),
        message_id: wire.message_id.unwrap_or_default(),
        parts: parts(body, wire.parts, dialect)?,
        context_id: full(wire.context_id),
        task_id: full(wire.task_id),
        metadata: json(body, wire.metadata),
        extensions: wire.extensions.unwrap_or_default(),
        reference_task_ids: wire.reference_task_ids.unwrap_or_default(),
    })
}

fn status(body: &Bytes, wire: Option<WireStatus<'_>>, dialect: Dialect) -> Decoded<TaskStatus> {
    let Some(wire) = wire else { return Err(BadShape::new("status", "is missing")) };
    let said = wire.message.map(|m| message(body, m, dialect)).transpose();
    Ok(TaskStatus {
        state: state_from(name(&wire.state)),
        message: said.map_err(|e| e.inside("status.message"))?,
        timestamp: wire.timestamp.as_deref().and_then(Timestamp::parse_rfc3339),
    })
}

fn artifact(body: &Bytes, wire: WireArtifact<'_>, dialect: Dialect) -> Decoded<Artifact> {
    Ok(Artifact {
        artifact_id: wire.artifact_id.unwrap_or_default(),
        name: full(wire.name),
        description: full(wire.description),
        parts: parts(body, wire.parts, dialect).map_err(|e| e.inside("artifact"))?,
        metadata: json(body, wire.metadata),
        extensions: wire.extensions.unwrap_or_default(),
    })
}

/// A task of either dialect.
pub(crate) fn task(body: &Bytes, wire: WireTask<'_>, dialect: Dialect) -> Decoded<Task> {
    let Some(id) = full(wire.id) else { return Err(BadShape::new("task.id", "is missing")) };
    let artifacts = wire.artifacts.into_iter().flatten().map(|a| artifact(body, a, dialect));
    let history = wire.history.into_iter().flatten().map(|m| message(body, m, dialect));
    Ok(Task {
        id,
        context_id: full(wire.context_id),
        status: status(body, wire.status, dialect).map_err(|e| e.inside("task"))?,
        artifacts: artifacts.collect::<Decoded<_>>().map_err(|e| e.inside("task.artifacts"))?,
        history: history.collect::<Decoded<_>>().map_err(|e| e.inside("task.history"))?,
        metadata: json(body, wire.metadata),
    })
}

fn status_update(body: &Bytes, wire: WireUpdate<'_>, dialect: Dialect) -> Decoded<StatusUpdate> {
    Ok(StatusUpdate {
        task_id: wire.task_id.unwrap_or_default(),
        context_id: full(wire.context_id),
        status: status(body, wire.status, dialect)?,
        last: wire.r#final.unwrap_or_default(),
        metadata: json(body, wire.metadata),
    })
}

fn artifact_update(body: &Bytes, wire: WireUpdate<'_>, dialect: Dialect) -> Decoded<ArtifactUpdate> {
    let Some(inner) = wire.artifact else { return Err(BadShape::new("artifact", "is missing")) };
    Ok(ArtifactUpdate {
        task_id: wire.task_id.unwrap_or_default(),
        context_id: full(wire.context_id),
        artifact: artifact(body, inner, dialect)?,
        append: wire.append.unwrap_or_default(),
        last_chunk: wire.last_chunk.unwrap_or_default(),
        metadata: json(body, wire.metadata),
    })
}

/// One stream event of 1.0.
pub(crate) fn union_event(body: &Bytes, wire: UnionEvent<'_>) -> Decoded<StreamEvent> {
    let d = Dialect::V1;
    match (wire.task, wire.message, wire.status_update, wire.artifact_update) {
        (Some(t), None, None, None) => task(body, t, d).map(StreamEvent::Task),
        (None, Some(m), None, None) => {
            message(body, m, d).map(StreamEvent::Message).map_err(|e| e.inside("message"))
        }
        (None, None, Some(s), None) => {
            status_update(body, s, d).map(StreamEvent::Status).map_err(|e| e.inside("statusUpdate"))
        }
        (None, None, None, Some(a)) => {
            artifact_update(body, a, d).map(StreamEvent::Artifact).map_err(|e| e.inside("artifactUpdate"))
        }
        _ => Err(BadShape::new("result", "needs exactly one of task, message, statusUpdate, artifactUpdate")),
    }
}

/// One stream event of 0.3.
pub(crate) fn flat_event(body: &Bytes, w: FlatEvent<'_>) -> Decoded<StreamEvent> {
    let d = Dialect::V03;
    let kind = w.kind.as_deref().unwrap_or(match (&w.message_id, &w.artifact, &w.task_id, &w.status) {
        (Some(_), ..) => "message",
        (_, Some(_), ..) => "artifact-update",
        (_, _, Some(_), Some(_)) => "status-update",
        _ => "task",
    });
    match kind {
        "task" => {
            let (id, context_id, status) = (w.id, w.context_id, w.status);
            let (artifacts, history, metadata) = (w.artifacts, w.history, w.metadata);
            let wire = WireTask { id, context_id, status, artifacts, history, metadata };
            task(body, wire, d).map(StreamEvent::Task)
        }
        "message" => {
            let (message_id, role, parts) = (w.message_id, w.role, w.parts);
            let (context_id, task_id, metadata) = (w.context_id, w.task_id, w.metadata);
            let (extensions, reference_task_ids) = (w.extensions, w.reference_task_ids);
            let wire = WireMessage {
                message_id,
                role,
                parts,
                context_id,
                task_id,
                metadata,
                extensions,
                reference_task_ids,
            };
            message(body, wire, d).map(StreamEvent::Message).map_err(|e| e.inside("message"))
        }
        "status-update" | "artifact-update" => {
            let is_status = kind == "status-update";
            let wire = WireUpdate {
                task_id: w.task_id,
                context_id: w.context_id,
                status: w.status,
                artifact: w.artifact,
                append: w.append,
                last_chunk: w.last_chunk,
                r#final: w.r#final,
                metadata: w.metadata,
            };
            if is_status {
                return status_update(body, wire, d).map(StreamEvent::Status);
            }
            artifact_update(body, wire, d).map(StreamEvent::Artifact)
        }
        _ => Err(BadShape::new("result.kind", "is none of task, message, status-update, artifact-update")),
    }
}

/// A page of tasks (1.0 only).
pub(crate) fn page(body: &Bytes, wire: WirePage<'_>) -> Decoded<TaskPage> {
    let tasks = wire.tasks.into_iter().flatten().map(|t| task(body, t, Dialect::V1));
    Ok(TaskPage {
        tasks: tasks.collect::<Decoded<_>>()?,
        next_page_token: wire.next_page_token.unwrap_or_default(),
        page_size: wire.page_size.unwrap_or_default(),
        total_size: wire.total_size.unwrap_or_default(),
    })
}

/// A whole body that is one stream event.
pub(crate) fn decode_event(body: &Bytes, dialect: Dialect) -> Decoded<StreamEvent> {
    match dialect {
        Dialect::V1 => union_event(body, serde_json::from_slice(body)?),
        Dialect::V03 => flat_event(body, serde_json::from_slice(body)?),
    }
}
/// A whole body that is a task.
pub(crate) fn decode_task(body: &Bytes, dialect: Dialect) -> Decoded<Task> {
    task(body, serde_json::from_slice(body)?, dialect)
}
/// A whole body that is a page of tasks.
pub(crate) fn decode_page(body: &Bytes) -> Decoded<TaskPage> {
    page(body, serde_json::from_slice(body)?)
}
/// A raw value that is a message.
pub(crate) fn decode_message(body: &Bytes, raw: &RawValue, dialect: Dialect) -> Decoded<Message> {
    let wire = serde_json::from_str(raw.get()).map_err(BadShape::from);
    wire.and_then(|w| message(body, w, dialect)).map_err(|e| e.inside("message"))
}
