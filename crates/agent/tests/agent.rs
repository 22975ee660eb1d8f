//! An agent as others see it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test says by failing what was not there")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use a2a::{
    A2aClient, CallError, Endpoint, FaultKind, Json,
    card::Override,
    client::{CallOptions, End, Mode, Notice},
    model::{Message, Part, Role, SendRequest},
};
use agent::{Agent, Call, Effect, Failure, ServeOptions, Skill, Usage};
use axum::{Router, extract::State, http::StatusCode, routing};
use serde_json::{Value, json};

fn shouter() -> Agent {
    let shout = Skill::new("shout", "Writes in capitals")
        .input_schema(
            json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}),
        )
        .output_schema(json!({"type": "object"}))
        .effect(Effect::Irreversible)
        .version("2")
        .takes(Duration::from_millis(5), Duration::from_secs(1))
        .tags(&["text"])
        .handler(|call: Call| async move {
            call.progress(0.5, "breathing in");
            let text = call.input()["text"].as_str().unwrap_or_default().to_uppercase();
            if text == "FAIL" {
                return Err(Failure::failed("lost my voice"));
            }
            Ok(json!({"text": text, "task": call.task_id(), "position": call.position()}))
        });
    let ask = Skill::new("ask", "Asks back").handler(|call: Call| async move {
        let answer = call.ask("really?").await?;
        Ok(answer.text())
    });
    Agent::new("shouter", "Shouts")
        .agent_type("voice_agent")
        .capacity(3)
        .tags(&["loud"])
        .skill(shout)
        .skill(ask)
}

fn message(id: &str, skill: &str, input: Value) -> SendRequest {
    let metadata = json!({
        "orchestra.capability": skill, "orchestra.effect_key": "e1", "orchestra.execution_id": "x1",
        "orchestra.task": {"id": "t1", "name": "Task", "index": 2, "count": 3},
    });
    let message = Message {
        message_id: id.into(),
        role: Role::User,
        parts: vec![Part::text("do it"), Part::data(Json::from_value(&input))],
        metadata: Some(Json::from_value(&metadata)),
        ..Message::default()
    };
    SendRequest { message, history_length: Some(0), ..SendRequest::default() }
}

async fn way(url: &str) -> Endpoint {
    let card = A2aClient::default().fetch_card(url, &CallOptions::default()).await.unwrap();
    Endpoint::choose(&card, &Override::default()).unwrap()
}

async fn call(way: &Endpoint, request: &SendRequest) -> Result<End, CallError> {
    let mut ignore = |_: Notice| ();
    let client = A2aClient::default();
    Ok(client.call(way, request, Mode::Stream, &CallOptions::default(), &mut ignore).await?.end)
}

#[tokio::test]
async fn an_agent_of_a_few_lines_works_and_logs_each_effect_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("calls.jsonl");
    let options = ServeOptions { call_log: Some(log.clone()), ..ServeOptions::default() };
    let running = shouter().start(options).await.unwrap();
    let way = way(&running.url).await;
    for _ in 0..2 {
        match call(&way, &message("m1", "shout", json!({"text": "hey"}))).await.unwrap() {
            End::Completed { output } => {
                assert_eq!(*output.json().unwrap(), json!({"text": "HEY", "task": "t1", "position": [2, 3]}));
            }
            other => panic!("{other:?}"),
        }
    }
    let failed = call(&way, &message("m2", "shout", json!({"text": "fail"}))).await.unwrap();
    assert_eq!(failed, End::Failed { message: "lost my voice".into() });
    let lines: Vec<Value> = std::fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "a repeated message is one effect");
    assert_eq!(
        (&lines[0]["message_id"], &lines[0]["effect_key"], &lines[0]["task"], &lines[0]["index"]),
        (&json!("m1"), &json!("e1"), &json!("t1"), &json!(2))
    );
    assert_eq!(lines[0]["pid"], std::process::id());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_call_cost_is_told_with_its_end_however_it_ends() {
    let skill = Skill::new("think", "").handler(|call: Call| async move {
        call.used(Usage { tokens: 700, money_micros: 20 });
        call.progress(0.5, "thinking");
        call.used(Usage { tokens: 50, money_micros: 1 });
        match call.input()["end"].as_str() {
            Some("fail") => Err(Failure::failed("no idea")),
            Some("hang") => {
                call.cancelled().await;
                Err(Failure::failed("cancelled"))
            }
            _ => Ok(json!("42")),
        }
    });
    let free = Skill::new("free", "").handler(|_: Call| async move { Ok(json!(1)) });
    let agent = Agent::new("thinker", "").skill(skill).skill(free);
    let running = agent.start(ServeOptions::default()).await.unwrap();
    let way = way(&running.url).await;
    let (client, options) = (A2aClient::default(), CallOptions::default());
    let cost = Some(Usage { tokens: 750, money_micros: 21 });
    for mode in [Mode::Stream, Mode::Wait, Mode::Poll] {
        for (n, (skill, end, want)) in
            [("think", "", cost), ("think", "fail", cost), ("free", "", None)].into_iter().enumerate()
        {
            let request = message(&format!("{mode:?}-{n}"), skill, json!({"end": end}));
            let mut ignore = |_: Notice| ();
            let outcome = client.call(&way, &request, mode, &options, &mut ignore).await.unwrap();
            assert_eq!(outcome.usage, want, "{mode:?} {end} {:?}", outcome.end);
        }
    }
    let (named, mut names) = tokio::sync::mpsc::unbounded_channel();
    let mut name = None;
    // It has told its cost by the time that its progress is heard: nothing is awaited in between.
    let mut notify = |notice: Notice| match notice {
        Notice::Bound { agent_task_id, .. } => name = Some(agent_task_id),
        Notice::Progress { .. } => drop(name.take().map(|name| named.send(name))),
    };
    let request = message("cut", "think", json!({"end": "hang"}));
    let cut = async {
        let task = names.recv().await.unwrap();
        client.cancel(&way, &task, &options).await.unwrap()
    };
    let (outcome, cut) = tokio::join!(client.call(&way, &request, Mode::Stream, &options, &mut notify), cut);
    assert_eq!(outcome.unwrap().end, End::Canceled { message: String::new() });
    assert_eq!(Usage::of(cut.metadata.as_ref()), cost);
}

#[tokio::test]
async fn a_wrong_input_or_skill_is_refused_with_its_field() {
    let running = shouter().start(ServeOptions::default()).await.unwrap();
    let way = way(&running.url).await;
    for (skill, input, field) in [
        ("shout", json!({"text": 7}), "input.text"),
        ("shout", json!({}), "input"),
        ("whisper", json!({}), "message.metadata.orchestra.capability"),
    ] {
        match call(&way, &message("m", skill, input)).await.unwrap_err() {
            CallError::Fault(fault) => {
                assert_eq!((fault.kind, fault.field.as_deref()), (FaultKind::InvalidParams, Some(field)));
            }
            other => panic!("{other}"),
        }
    }
    let asked = call(&way, &message("q", "ask", json!({}))).await.unwrap();
    assert_eq!(asked, End::InputRequired { prompt: "really?".into(), data: None });
}

#[tokio::test]
async fn the_card_tells_effects_and_schemas() {
    let running = shouter().start(ServeOptions::default()).await.unwrap();
    let card = A2aClient::default().fetch_card(&running.url, &CallOptions::default()).await.unwrap();
    let contract = card.contract();
    let shout = &contract.skills["shout"];
    assert_eq!((contract.agent_type.as_deref(), contract.capacity), (Some("voice_agent"), Some(3)));
    assert_eq!((shout.effect, shout.version.as_deref()), (Some(Effect::Irreversible), Some("2")));
    assert_eq!((shout.expected_ms, shout.max_ms), (Some(5), Some(1000)));
    assert_eq!(shout.input_schema.as_ref().unwrap()["required"], json!(["text"]));
}

#[derive(Default)]
struct Gateway {
    refusals: usize,
    seen: Vec<(String, Value)>,
}

type Shared = Arc<Mutex<Gateway>>;

/// Refuses the first registrations as a gateway that is not up yet does, then knows the agent from before.
async fn gateway() -> (String, Shared) {
    async fn post(State(shared): State<Shared>, body: String) -> StatusCode {
        let mut gateway = shared.lock().unwrap();
        gateway.refusals += 1;
        gateway.seen.push(("POST".into(), serde_json::from_str(&body).unwrap()));
        if gateway.refusals == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT }
    }
    async fn put(State(shared): State<Shared>, body: String) -> StatusCode {
        shared.lock().unwrap().seen.push(("PUT".into(), serde_json::from_str(&body).unwrap()));
        StatusCode::OK
    }
    async fn delete(State(shared): State<Shared>) -> StatusCode {
        shared.lock().unwrap().seen.push(("DELETE".into(), Value::Null));
        StatusCode::OK
    }
    let shared = Shared::default();
    let router = Router::new()
        .route("/api/v1/agents", routing::post(post))
        .route("/api/v1/agents/voice-1", routing::put(put).delete(delete))
        .with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, shared)
}

#[tokio::test]
async fn an_agent_registers_until_it_is_accepted_and_takes_itself_back() {
    let (url, shared) = gateway().await;
    let options = ServeOptions {
        register: Some(url),
        id: Some("voice-1".into()),
        capacity: Some(9),
        ..ServeOptions::default()
    };
    let mut running = shouter().start(options).await.unwrap();
    assert!(running.registered().await);
    let url = running.url.clone();
    running.stop().await.unwrap();
    let gateway = shared.lock().unwrap();
    let verbs: Vec<&str> = gateway.seen.iter().map(|(verb, _)| verb.as_str()).collect();
    assert_eq!(verbs, ["POST", "POST", "PUT", "DELETE"]);
    let definition = &gateway.seen[2].1;
    assert_eq!(definition["id"], "voice-1");
    assert_eq!(definition["endpoint"], url);
    assert_eq!((&definition["type"], &definition["capacity"]), (&json!("voice_agent"), &json!(9)));
    assert_eq!(definition["capabilities"][0]["effect"], "irreversible");
    assert_eq!(definition["capabilities"][0]["performance"]["responseTime"]["max"], 1000);
}

#[test]
fn the_registry_takes_the_definition_without_a_finding() {
    let definition = shouter().provider("us").definition("voice-1", "http://127.0.0.1:4000");
    let checked = catalog::AgentDefinition::from_value(&definition).unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    let capability = &checked.definition.capabilities[0];
    assert_eq!((capability.effect, capability.version.as_str()), (Some(Effect::Irreversible), "2"));
    assert_eq!(
        (checked.definition.capacity, checked.definition.agent_type.as_str()),
        (Some(3), "voice_agent")
    );
    assert_eq!(checked.definition.interface.and_then(|i| i.streaming), Some(true));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let running = shouter().start(ServeOptions::default()).await.unwrap();
    let listen = running.url.trim_start_matches("http://").parse().unwrap();
    let err = shouter().start(ServeOptions { listen, ..ServeOptions::default() }).await.err().unwrap();
    assert!(err.to_string().contains(&listen.to_string()), "{err}");
}
