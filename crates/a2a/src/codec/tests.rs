use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    Json,
    json::Out,
    model::{
        Artifact, ArtifactUpdate, Content, Message, Part, Reply, Role, StatusUpdate, StreamEvent, Task,
        TaskState, TaskStatus,
    },
};

fn written(write: impl FnOnce(&mut Out)) -> Bytes {
    let mut out = Out::default();
    write(&mut out);
    out.finish()
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(body)))
}

fn data(value: &Value) -> Part {
    Part::data(Json::from_value(value))
}

fn message(parts: Vec<Part>) -> Message {
    Message {
        message_id: "m1".into(),
        role: Role::User,
        parts,
        context_id: Some("c1".into()),
        ..Message::default()
    }
}

#[test]
fn every_part_has_its_shape_in_both_dialects_and_reads_back() {
    let named = Part { filename: Some("a.txt".into()), ..Part::raw("hi", "text/plain") };
    let link = Part { media_type: Some("image/png".into()), ..Part::url("http://x/y") };
    for (part, v1, v03) in [
        (Part::text("a\nb"), json!({"text": "a\nb"}), json!({"kind": "text", "text": "a\nb"})),
        (
            named,
            json!({"raw": "aGk=", "filename": "a.txt", "mediaType": "text/plain"}),
            json!({"kind": "file", "file": {"bytes": "aGk=", "name": "a.txt", "mimeType": "text/plain"}}),
        ),
        (
            link,
            json!({"url": "http://x/y", "mediaType": "image/png"}),
            json!({"kind": "file", "file": {"uri": "http://x/y", "mimeType": "image/png"}}),
        ),
        (data(&json!({"n": 1})), json!({"data": {"n": 1}}), json!({"kind": "data", "data": {"n": 1}})),
        (
            data(&json!([1, 2])),
            json!({"data": [1, 2]}),
            json!({"kind": "data", "data": {"value": [1, 2]}, "metadata": {"data_part_compat": true}}),
        ),
        (
            data(&Value::Null),
            json!({"data": null}),
            json!({"kind": "data", "data": {"value": null}, "metadata": {"data_part_compat": true}}),
        ),
    ] {
        let whole = message(vec![part]);
        for (dialect, want) in [(Dialect::V1, v1), (Dialect::V03, v03)] {
            let body = written(|out| write_message(out, &whole, dialect));
            assert_eq!(parsed(&body)["parts"][0], want, "{dialect:?}");
            let raw = serde_json::from_slice(&body).unwrap();
            assert_eq!(decode_message(&body, raw, dialect).unwrap(), whole, "{dialect:?}");
        }
    }
}

#[test]
fn every_state_and_role_has_its_name_in_both_dialects() {
    for &state in TaskState::ALL {
        for dialect in [Dialect::V1, Dialect::V03] {
            assert_eq!(state_from(state_name(state, dialect)), state);
        }
    }
    for (name, want) in [
        ("TASK_STATE_INPUT_REQUIRED", TaskState::InputRequired),
        ("input-required", TaskState::InputRequired),
        ("6", TaskState::InputRequired),
        ("3", TaskState::Completed),
        ("99", TaskState::Unspecified),
        ("", TaskState::Unspecified),
    ] {
        assert_eq!(state_from(name), want, "{name}");
    }
}

fn sample_task() -> Task {
    Task {
        id: "t1".into(),
        context_id: Some("c1".into()),
        status: TaskStatus {
            state: TaskState::Completed,
            message: Some(Message { role: Role::Agent, ..message(vec![Part::text("done")]) }),
            timestamp: base::Timestamp::parse_rfc3339("2026-01-02T03:04:05.678Z"),
        },
        artifacts: vec![Artifact {
            artifact_id: "a1".into(),
            name: Some("out".into()),
            parts: vec![data(&json!({"x": [1]}))],
            ..Artifact::default()
        }],
        history: vec![message(vec![Part::text("go")])],
        metadata: Some(Json::from_value(&json!({"k": "v"}))),
    }
}

#[test]
fn every_event_reads_back_in_both_dialects() {
    let status = StatusUpdate {
        task_id: "t1".into(),
        context_id: Some("c1".into()),
        status: TaskStatus { state: TaskState::Working, ..TaskStatus::default() },
        last: false,
        metadata: Some(Json::object_of("orchestra.progress", &json!(0.5))),
    };
    let grown = ArtifactUpdate {
        task_id: "t1".into(),
        context_id: Some("c1".into()),
        artifact: sample_task().artifacts.remove(0),
        append: true,
        last_chunk: true,
        metadata: None,
    };
    for event in [
        StreamEvent::Task(sample_task()),
        StreamEvent::Message(message(vec![Part::text("hello")])),
        StreamEvent::Status(status),
        StreamEvent::Artifact(grown),
    ] {
        for dialect in [Dialect::V1, Dialect::V03] {
            let body = written(|out| write_event(out, &event, dialect));
            assert_eq!(decode_event(&body, dialect).unwrap(), event, "{dialect:?}");
            assert_eq!(parsed(&body).get("kind").is_some(), dialect == Dialect::V03);
        }
    }
}

#[test]
fn a_send_result_is_wrapped_in_1_0_and_bare_in_0_3() {
    let reply = Reply::Task(sample_task());
    let v1 = written(|out| write_reply(out, &reply, Dialect::V1));
    let v03 = written(|out| write_reply(out, &reply, Dialect::V03));
    assert_eq!(parsed(&v1)["task"]["status"]["state"], "TASK_STATE_COMPLETED");
    assert_eq!(parsed(&v03)["status"]["state"], "completed");
    assert_eq!(parsed(&v03)["kind"], "task");
    assert_eq!(parsed(&v03)["history"][0]["role"], "user");
    assert_eq!(decode_event(&v1, Dialect::V1).unwrap(), StreamEvent::Task(sample_task()));
    assert_eq!(decode_event(&v03, Dialect::V03).unwrap(), StreamEvent::Task(sample_task()));
}

#[test]
fn readers_are_lenient_where_peers_differ() {
    let odd = Bytes::from(
        r#"{"kind":"task","id":"t","contextId":"c","artifacts":null,"history":[],"unknown":{"a":1},
            "status":{"state":"working","timestamp":"2026-01-02T03:04:05.678449+00:00","message":null}}"#,
    );
    let task = decode_task(&odd, Dialect::V03).unwrap();
    assert_eq!(
        (task.status.state, task.status.timestamp.unwrap().millis()),
        (TaskState::Working, 1_767_323_045_678)
    );
    let numbered = Bytes::from(r#"{"id":"t","status":{"state":2,"timestamp":""},"metadata":null}"#);
    let task = decode_task(&numbered, Dialect::V1).unwrap();
    assert_eq!((task.status.state, task.status.timestamp, task.metadata), (TaskState::Working, None, None));
    let url_safe =
        Bytes::from(r#"{"message":{"messageId":"m","role":2,"parts":[{"raw":"_-8","text":null}]}}"#);
    match decode_event(&url_safe, Dialect::V1).unwrap() {
        StreamEvent::Message(m) => {
            assert_eq!(m.parts[0].content, Content::Raw(Bytes::from_static(&[0xff, 0xef])));
            assert_eq!(m.role, Role::Agent);
        }
        _ => panic!("a message was sent"),
    }
}

#[test]
fn what_breaks_the_shape_names_its_field() {
    for (dialect, body, want) in [
        (Dialect::V1, r#"{"message":{"parts":[{"kind":"file"}]}}"#, "message.parts[0]: has none of"),
        (
            Dialect::V1,
            r#"{"message":{"parts":[{"text":"a","url":"b"}]}}"#,
            "message.parts[0]: has more than one",
        ),
        (Dialect::V1, r#"{"message":{"parts":[{"raw":"*"}]}}"#, "message.parts[0].raw: not base64"),
        (Dialect::V1, r#"{}"#, "result: needs exactly one of"),
        (Dialect::V1, r#"{"task":{"id":"t"}}"#, "task.status: is missing"),
        (Dialect::V1, r#"{"task":{"status":{}}}"#, "task.id: is missing"),
        (Dialect::V1, r#"{"statusUpdate":{"taskId":"t"}}"#, "statusUpdate.status: is missing"),
        (Dialect::V03, r#"{"kind":"nonsense"}"#, "result.kind: is none of"),
        (
            Dialect::V03,
            r#"{"kind":"message","parts":[{"kind":"video"}]}"#,
            "message.parts[0]: kind \"video\"",
        ),
        (Dialect::V03, r#"{"kind":"message","parts":[{"kind":"file","file":{}}]}"#, "parts[0].file: needs"),
        (Dialect::V03, r#"[1]"#, "invalid type"),
        (Dialect::V1, r#"{"task":"#, "EOF"),
    ] {
        let err = decode_event(&Bytes::from(body), dialect).unwrap_err().to_string();
        assert!(err.contains(want), "{body}: {err}");
    }
}

#[test]
fn a_page_always_has_its_token_and_no_empty_artifacts() {
    let bare = Task { artifacts: vec![], history: vec![], ..sample_task() };
    let page =
        crate::model::TaskPage { tasks: vec![bare], page_size: 50, total_size: 1, ..Default::default() };
    let body = written(|out| write_page(out, &page));
    let value = parsed(&body);
    assert_eq!(value["nextPageToken"], "");
    assert!(value["tasks"][0].get("artifacts").is_none());
    assert_eq!(decode_page(&body).unwrap(), page);
}
