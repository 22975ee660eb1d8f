//! The model into wire text. Absent optional fields are left out.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Dialect,
    names::{role_name, state_name},
};
use crate::{
    Json,
    json::Out,
    model::{
        Artifact, ArtifactUpdate, Content, Message, Part, Reply, StatusUpdate, StreamEvent, Task, TaskPage,
        TaskStatus,
    },
};

fn kind(out: &mut Out, dialect: Dialect, kind: &str) {
    if dialect == Dialect::V03 {
        out.key_text("kind", kind);
    }
}

fn write_part(out: &mut Out, part: &Part, dialect: Dialect) {
    match dialect {
        Dialect::V1 => write_part_v1(out, part),
        Dialect::V03 => write_part_v03(out, part),
    }
}

fn write_part_v1(out: &mut Out, part: &Part) {
    out.mark(b'{');
    match &part.content {
        Content::Text(text) => out.key_text("text", text),
        Content::Raw(bytes) => out.key_text("raw", &STANDARD.encode(bytes)),
        Content::Url(url) => out.key_text("url", url),
        Content::Data(json) => out.key("data").raw(json.bytes()),
    };
    out.key_opt("filename", part.filename.as_deref());
    out.key_opt("mediaType", part.media_type.as_deref());
    out.key_json("metadata", part.metadata.as_ref()).mark(b'}');
}

fn write_part_v03(out: &mut Out, part: &Part) {
    out.mark(b'{');
    let file = |out: &mut Out, key: &str, value: &str| {
        out.key_text("kind", "file").key("file").mark(b'{').key_text(key, value);
        out.key_opt("name", part.filename.as_deref());
        out.key_opt("mimeType", part.media_type.as_deref()).mark(b'}');
    };
    match &part.content {
        Content::Text(text) => {
            out.key_text("kind", "text").key_text("text", text);
        }
        Content::Raw(bytes) => file(out, "bytes", &STANDARD.encode(bytes)),
        Content::Url(url) => file(out, "uri", url),
        Content::Data(json) if json.is_object() => {
            out.key_text("kind", "data").key("data").raw(json.bytes());
        }
        // 0.3 carries objects only; this wrapping is what both official SDKs do.
        Content::Data(json) => {
            out.key_text("kind", "data").key("data").mark(b'{').key("value").raw(json.bytes()).mark(b'}');
            out.key("metadata").mark(b'{').key_bool("data_part_compat", true).mark(b'}').mark(b'}');
            return;
        }
    }
    out.key_json("metadata", part.metadata.as_ref()).mark(b'}');
}

fn write_parts(out: &mut Out, parts: &[Part], dialect: Dialect) {
    out.key("parts").mark(b'[');
    for part in parts {
        write_part(out.item(), part, dialect);
    }
    out.mark(b']');
}

/// A message.
pub(crate) fn write_message(out: &mut Out, m: &Message, dialect: Dialect) {
    out.mark(b'{');
    kind(out, dialect, "message");
    out.key_text("messageId", &m.message_id).key_text("role", role_name(m.role, dialect));
    write_parts(out, &m.parts, dialect);
    out.key_opt("contextId", m.context_id.as_deref()).key_opt("taskId", m.task_id.as_deref());
    out.key_json("metadata", m.metadata.as_ref()).key_texts("extensions", &m.extensions);
    out.key_texts("referenceTaskIds", &m.reference_task_ids).mark(b'}');
}

fn write_status(out: &mut Out, status: &TaskStatus, dialect: Dialect) {
    out.key("status").mark(b'{').key_text("state", state_name(status.state, dialect));
    if let Some(message) = &status.message {
        write_message(out.key("message"), message, dialect);
    }
    if let Some(at) = status.timestamp {
        out.key_text("timestamp", &at.rfc3339());
    }
    out.mark(b'}');
}

fn write_artifact(out: &mut Out, a: &Artifact, dialect: Dialect) {
    out.mark(b'{').key_text("artifactId", &a.artifact_id);
    out.key_opt("name", a.name.as_deref()).key_opt("description", a.description.as_deref());
    write_parts(out, &a.parts, dialect);
    out.key_json("metadata", a.metadata.as_ref()).key_texts("extensions", &a.extensions).mark(b'}');
}

/// A bare task. Empty lists are left out: a list request without artifacts must not have the key.
pub(crate) fn write_task(out: &mut Out, task: &Task, dialect: Dialect) {
    out.mark(b'{');
    kind(out, dialect, "task");
    out.key_text("id", &task.id);
    context(out, task.context_id.as_deref(), dialect);
    write_status(out, &task.status, dialect);
    if !task.artifacts.is_empty() {
        out.key("artifacts").mark(b'[');
        for artifact in &task.artifacts {
            write_artifact(out.item(), artifact, dialect);
        }
        out.mark(b']');
    }
    if !task.history.is_empty() {
        out.key("history").mark(b'[');
        for message in &task.history {
            write_message(out.item(), message, dialect);
        }
        out.mark(b']');
    }
    out.key_json("metadata", task.metadata.as_ref()).mark(b'}');
}

/// 0.3 requires the key.
fn context(out: &mut Out, id: Option<&str>, dialect: Dialect) {
    let required = (dialect == Dialect::V03).then_some("");
    out.key_opt("contextId", id.or(required));
}

fn write_status_update(out: &mut Out, s: &StatusUpdate, dialect: Dialect) {
    out.mark(b'{');
    kind(out, dialect, "status-update");
    out.key_text("taskId", &s.task_id);
    context(out, s.context_id.as_deref(), dialect);
    write_status(out, &s.status, dialect);
    if dialect == Dialect::V03 {
        out.key_bool("final", s.last || s.status.state.ends_call());
    }
    out.key_json("metadata", s.metadata.as_ref()).mark(b'}');
}

fn write_artifact_update(out: &mut Out, a: &ArtifactUpdate, dialect: Dialect) {
    out.mark(b'{');
    kind(out, dialect, "artifact-update");
    out.key_text("taskId", &a.task_id);
    context(out, a.context_id.as_deref(), dialect);
    write_artifact(out.key("artifact"), &a.artifact, dialect);
    if a.append {
        out.key_bool("append", true);
    }
    if a.last_chunk {
        out.key_bool("lastChunk", true);
    }
    out.key_json("metadata", a.metadata.as_ref()).mark(b'}');
}

/// Writes `inner` under `name` in 1.0 and bare in 0.3.
fn wrapped(out: &mut Out, name: &str, dialect: Dialect, inner: impl FnOnce(&mut Out)) {
    match dialect {
        Dialect::V1 => {
            inner(out.mark(b'{').key(name));
            out.mark(b'}');
        }
        Dialect::V03 => inner(out),
    }
}

/// One stream event.
pub(crate) fn write_event(out: &mut Out, event: &StreamEvent, dialect: Dialect) {
    match event {
        StreamEvent::Task(t) => wrapped(out, "task", dialect, |out| write_task(out, t, dialect)),
        StreamEvent::Message(m) => wrapped(out, "message", dialect, |out| write_message(out, m, dialect)),
        StreamEvent::Status(s) => {
            wrapped(out, "statusUpdate", dialect, |out| write_status_update(out, s, dialect));
        }
        StreamEvent::Artifact(a) => {
            wrapped(out, "artifactUpdate", dialect, |out| write_artifact_update(out, a, dialect));
        }
    }
}

/// The result of a send.
pub(crate) fn write_reply(out: &mut Out, reply: &Reply, dialect: Dialect) {
    match reply {
        Reply::Task(t) => wrapped(out, "task", dialect, |out| write_task(out, t, dialect)),
        Reply::Message(m) => wrapped(out, "message", dialect, |out| write_message(out, m, dialect)),
    }
}

/// A page of tasks (1.0 only).
pub(crate) fn write_page(out: &mut Out, page: &TaskPage) {
    out.mark(b'{').key("tasks").mark(b'[');
    for task in &page.tasks {
        write_task(out.item(), task, Dialect::V1);
    }
    out.mark(b']').key_text("nextPageToken", &page.next_page_token);
    out.key_number("pageSize", page.page_size.into()).key_number("totalSize", page.total_size.into());
    out.mark(b'}');
}

impl Json {
    /// A JSON object with one number or text, as metadata of an update.
    pub(crate) fn object_of(key: &str, value: &serde_json::Value) -> Self {
        let mut out = Out::default();
        out.mark(b'{').key(key).raw(value.to_string().as_bytes()).mark(b'}');
        Self::trusted(out.finish())
    }
}
