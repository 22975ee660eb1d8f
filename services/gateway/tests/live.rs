//! Live streams over WebSocket and server-sent events: order, resumption, ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod common;

use std::time::Duration;

use base::ErrorCode;
use common::{
    Gateway, eventually,
    executor::{FakeExecutor, batch, event, some_id},
};
use eventsource_stream::Eventsource as _;
use futures::{SinkExt as _, StreamExt as _};
use proto::executor::{internal::v1::Member, v1 as wire};
use runtime::config::PeerAddress;
use serde_json::Value;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::CloseFrame},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that a socket receives until it is closed.
async fn all(door: &Gateway, path: &str) -> (Vec<Value>, CloseFrame) {
    let url = format!("ws://{}{path}", door.http());
    let (mut socket, _) = connect_async(url).await.unwrap();
    let mut messages = vec![];
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => messages.push(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => return (messages, frame.unwrap()),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|m| m["seq"].as_u64()).collect()
}

#[tokio::test]
async fn a_socket_tells_every_event_in_order_and_why_it_closes() {
    let door = Gateway::start().await;
    let watch = door.executor.next_watch();
    watch.send(batch(vec![event(1, "workflow.status_changed"), event(2, "agent.assigned")], false)).unwrap();
    let progress = wire::Progress {
        task_id: "a".into(),
        item: -1,
        progress: 0.5,
        text: "half".into(),
        ..Default::default()
    };
    watch.send(Ok(wire::WatchResponse { progress: vec![progress], ..Default::default() })).unwrap();
    watch.send(batch(vec![event(3, "task.completed")], true)).unwrap();
    let (messages, close) = all(&door, &format!("/ws/executions/{}", some_id())).await;
    let kinds: Vec<&str> = messages.iter().map(|m| m["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["workflow.status_changed", "agent.assigned", "task.progress", "task.completed"]);
    for message in &messages {
        door.valid("Event", message, "a message");
    }
    assert_eq!((seqs(&messages), &messages[0]["data"]["n"]), (vec![1, 2, 3], &1.into()));
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, "the execution has ended"));
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_when_its_owner_moves() {
    let door = Gateway::start().await;
    let first = door.executor.next_watch();
    let second = door.executor.next_watch();
    let third = door.executor.next_watch();
    first.send(batch(vec![event(5, "task.started")], false)).unwrap();
    drop(first);
    // The new owner repeats what it is not sure about; an event may give several messages.
    second.send(batch(vec![event(5, "task.started"), event(6, "x"), event(6, "y")], false)).unwrap();
    second.send(Err(tonic::Status::unavailable("killed"))).unwrap();
    third.send(batch(vec![event(7, "task.completed")], true)).unwrap();
    let (messages, close) = all(&door, &format!("/ws/executions/{}?after=4", some_id())).await;
    assert_eq!((seqs(&messages), u16::from(close.code)), (vec![5, 6, 6, 7], 1000));
    assert_eq!(door.executor.log().opened, ["4", "5", "6"]);
}

#[tokio::test]
async fn server_sent_events_tell_the_same_and_resume_by_their_id() {
    let door = Gateway::start().await;
    let watch = door.executor.next_watch();
    watch.send(batch(vec![event(8, "task.started"), event(9, "x"), event(9, "y")], true)).unwrap();
    let path = format!("/api/v1/orchestra/executions/{}/events", some_id());
    let response = door.open(&path, &[("last-event-id", "7"), ("accept", "text/event-stream")]).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events: Vec<_> = response.bytes_stream().eventsource().map(Result::unwrap).collect().await;
    let shown: Vec<(&str, &str)> = events.iter().map(|e| (e.event.as_str(), e.id.as_str())).collect();
    // The id stays where it was in the middle of an event's messages: a resumption repeats, and misses nothing.
    assert_eq!(shown, [("task.started", "8"), ("x", "8"), ("y", "9"), ("stream.ended", "9")]);
    assert_eq!(door.executor.log().opened, ["7"]);
    let last: Value = serde_json::from_str(&events[3].data).unwrap();
    door.valid("Event", &last, "the last event");
    assert_eq!(last["data"]["code"], 1000);
}

#[tokio::test]
async fn what_is_not_there_is_refused_before_a_stream_opens() {
    let door = Gateway::start().await;
    for path in ["/ws/executions/00000000-0000-0000-0000-000000000000", "/ws/workflows/missing"] {
        let refused = connect_async(format!("ws://{}{path}", door.http())).await.unwrap_err();
        let Error::Http(response) = refused else { panic!("{refused:?}") };
        assert_eq!(response.status(), 404, "{path}");
    }
    assert_eq!(door.get("/api/v1/workflows/missing/events").await.status, 404);
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_open_a_socket() {
    let door = Gateway::start().await;
    let mut request =
        format!("ws://{}/ws/executions/{}", door.http(), some_id()).into_client_request().unwrap();
    request.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    let refused = connect_async(request).await.unwrap_err();
    let Error::Http(response) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), 403);
    assert!(door.executor.log().opened.is_empty());
}

#[tokio::test]
async fn a_socket_stays_alive_by_pings_and_takes_no_large_message() {
    let door = Gateway::with(|s| {
        s.gateway.websocket_ping_interval = Duration::from_millis(100);
        s.gateway.websocket_message_max = runtime::config::Bytes::kib(1);
    })
    .await;
    let _open = door.executor.next_watch();
    let (mut socket, _) =
        connect_async(format!("ws://{}/ws/executions/{}", door.http(), some_id())).await.unwrap();
    for _ in 0..3 {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert!(message.is_ping(), "{message:?}");
    }
    socket.send(Message::text("x".repeat(5000))).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, async {
        while let Some(Ok(message)) = socket.next().await {
            assert!(!message.is_text());
        }
    });
    ended.await.expect("a client that breaks the limit is cut off");
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_with_a_time() {
    let door = Gateway::with(|s| s.gateway.websocket_max = 1).await;
    let open = door.executor.next_watch();
    let path = format!("/api/v1/executions/{}/events", some_id());
    let first = door.open(&path, &[]).await;
    assert_eq!(first.status(), 200);
    let refused = door.get(&path).await;
    assert_eq!((refused.status, &refused.json()["code"]), (429, &"resource_exhausted".into()));
    drop(first);
    drop(open);
    // The place is free again once the first has gone.
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let again = door.executor.next_watch();
        again.send(batch(vec![], true)).unwrap();
        let response = door.open(&path, &[]).await;
        if response.status() == 200 {
            break;
        }
        assert!(tokio::time::Instant::now() < until);
    }
}

#[tokio::test]
async fn a_slow_client_is_dropped_and_the_execution_is_not_held_up() {
    let door = Gateway::with(|s| {
        s.gateway.websocket_backlog_max = 4;
        s.gateway.websocket_ping_interval = Duration::from_millis(200);
    })
    .await;
    let watch = door.executor.next_watch();
    let large = "x".repeat(1 << 20);
    let (mut socket, _) =
        connect_async(format!("ws://{}/ws/executions/{}", door.http(), some_id())).await.unwrap();
    // Far more than socket buffers hold, and nobody reads.
    for seq in 1..=64 {
        let data_json = format!("{{\"text\":\"{large}\"}}");
        watch.send(batch(vec![wire::ExecutionEvent { data_json, ..event(seq, "x") }], false)).unwrap();
    }
    eventually("the gateway lets go of the stream", || watch.is_closed()).await;
    let mut read = 0;
    while let Some(Ok(message)) = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() {
        read += usize::from(message.is_text());
    }
    assert!(read < 64, "{read} messages");
}

#[tokio::test]
async fn a_draining_gateway_tells_its_subscribers_to_resume_elsewhere() {
    let door = Gateway::start().await;
    let watch = door.executor.next_watch();
    watch.send(batch(vec![event(1, "x")], false)).unwrap();
    let (mut socket, _) =
        connect_async(format!("ws://{}/ws/executions/{}", door.http(), some_id())).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().is_text());
    let drained = tokio::spawn(door.running.drain());
    let close = loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            _ => continue,
        }
    };
    assert_eq!(u16::from(close.code), 1012);
    assert!(drained.await.unwrap(), "nothing was cut off");
}

#[tokio::test]
async fn a_workflow_is_followed_on_every_executor_and_each_event_is_told_once() {
    let (a, b) = (FakeExecutor::elsewhere().await, FakeExecutor::elsewhere().await);
    for one in [&a, &b] {
        let members = [&a, &b].map(|m| Member {
            member_id: m.address.clone(),
            address: m.address.clone(),
            ..Default::default()
        });
        one.fake.log().members = members.to_vec();
    }
    let addresses = vec![a.address.clone(), b.address.clone()];
    let door = Gateway::with(|s| s.peers.executor = PeerAddress::At(addresses)).await;
    let (from_a, from_b) = (a.fake.next_watch(), b.fake.next_watch());
    let (mut socket, _) =
        connect_async(format!("ws://{}/ws/workflows/x?after=c0", door.http())).await.unwrap();
    from_a.send(batch(vec![event(1, "one")], false)).unwrap();
    let read = |text: Message| serde_json::from_str::<Value>(text.to_text().unwrap()).unwrap();
    let first = read(socket.next().await.unwrap().unwrap());
    assert_eq!((&first["type"], &first["cursor"]), (&"one".into(), &"c1".into()));
    from_b.send(batch(vec![event(1, "one"), event(2, "two")], false)).unwrap();
    assert_eq!(read(socket.next().await.unwrap().unwrap())["type"], "two");
    assert_eq!(
        (a.fake.log().opened.clone(), b.fake.log().opened.clone()),
        (vec!["c0".to_owned()], vec!["c0".to_owned()])
    );
    // One of them goes: both are asked again, from the last cursor on.
    let (again_a, again_b) = (a.fake.next_watch(), b.fake.next_watch());
    drop(from_a);
    again_a.send(batch(vec![event(2, "two"), event(3, "three")], false)).unwrap();
    let third = read(tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap());
    assert_eq!(third["type"], "three");
    assert_eq!(a.fake.log().opened.last().unwrap(), "c2");
    drop(again_b);
}

#[tokio::test]
async fn a_workflow_that_was_silent_until_its_stream_broke_misses_nothing() {
    let door = Gateway::start().await;
    let first = door.executor.next_watch();
    let (mut socket, _) = connect_async(format!("ws://{}/ws/workflows/x", door.http())).await.unwrap();
    // The executor says where the stream begins, and is gone before anything happens.
    let opening = wire::WatchResponse { cursor: "c7".into(), ..Default::default() };
    first.send(Ok(opening)).unwrap();
    let again = door.executor.next_watch();
    drop(first);
    again.send(batch(vec![event(1, "one")], false)).unwrap();
    let told = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(told.to_text().unwrap()).unwrap()["type"], "one");
    assert_eq!(door.executor.log().opened, ["", "c7"]);
}

#[tokio::test]
async fn a_refusal_in_the_middle_closes_with_its_code() {
    let door = Gateway::start().await;
    let watch = door.executor.next_watch();
    watch.send(batch(vec![event(1, "x")], false)).unwrap();
    watch.send(Err(api::Fault::new(ErrorCode::NotFound, "the execution was deleted").into())).unwrap();
    let (messages, close) = all(&door, &format!("/ws/executions/{}", some_id())).await;
    assert_eq!((messages.len(), u16::from(close.code)), (1, 1013));
    assert_eq!(close.reason.as_str(), "not_found: the execution was deleted");
}

#[tokio::test]
async fn user_events_are_followed_and_go_on_where_they_were() {
    use common::events::event as user_event;
    let door = Gateway::start().await;
    let fake = door.executor.log().events.clone();
    let (first, second) = (fake.next_watch(), fake.next_watch());
    let url = format!("ws://{}/ws/events?type=order:placed&topic=orders&from=3", door.http());
    let (mut socket, _) = connect_async(url).await.unwrap();
    let batch =
        |events: Vec<wire::Event>, cursor: &str| wire::WatchEventsResponse { events, cursor: cursor.into() };
    first.send(batch(vec![user_event("a", 4), user_event("b", 5)], "5")).unwrap();
    drop(first);
    second.send(batch(vec![user_event("c", 9)], "9")).unwrap();
    let mut ids = vec![];
    while ids.len() < 3 {
        if let Message::Text(text) =
            tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
        {
            let message: Value = serde_json::from_str(&text).unwrap();
            door.valid("UserEvent", &message, "a message");
            ids.push(message["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(ids, ["a", "b", "c"]);
    let asked: Vec<String> = fake.0.lock().unwrap().watches.iter().map(|w| w.from.clone()).collect();
    assert_eq!(asked, ["3", "5"]);
    let third = fake.next_watch();
    third.send(batch(vec![user_event("d", 10)], "10")).unwrap();
    let stream = door.open("/api/v1/events/stream?topic=orders", &[("last-event-id", "9")]).await;
    let mut events = stream.bytes_stream().eventsource();
    let told = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((told.event.as_str(), told.id.as_str()), ("order.placed", "10"));
    assert_eq!(fake.0.lock().unwrap().watches.last().unwrap().from, "9");
    drop(second);
}
