//! What hooks do: webhooks, agents, files.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hooks::{HookSpec, Trigger, sign};
use serde_json::{Value, json};
use workflow::Status;

use crate::kit::{SECRET, World, agent, spec, task};

/// What a webhook got, and the statuses it answers with, the last one for ever.
#[derive(Clone, Default)]
struct Hook {
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap, String) {
    hook.seen.lock().unwrap().push((headers, body));
    let mut answers = hook.answers.lock().unwrap();
    let status = if answers.len() > 1 { answers.remove(0) } else { answers.first().copied().unwrap_or(200) };
    let mut headers = HeaderMap::new();
    if status == 302 {
        headers.insert("location", "http://127.0.0.1:1/".parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers, json!({"message": "seen"}).to_string())
}

async fn serve(answers: &[u16]) -> (String, Hook) {
    let hook = Hook { answers: Arc::new(Mutex::new(answers.to_vec())), ..Hook::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(take)).with_state(hook.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, hook)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_repeated_until_it_is_taken() {
    let (url, hook) = serve(&[503, 429, 200]).await;
    let world = World::sqlite();
    let node = world.node().await;
    node.hook(spec("tell", Trigger::PostTask, &url, &[])).await;
    let view = node.run(json!({"a": 1})).await;
    let run = node.until_runs(1).await.remove(0);
    assert_eq!(
        (run.state.as_str(), run.message.as_str(), run.action.as_str()),
        ("completed", "seen", "webhook")
    );
    let seen = hook.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    for (headers, body) in &seen {
        let text = |name: &str| headers[name].to_str().unwrap();
        let timestamp: i64 = text(sign::TIMESTAMP_HEADER).parse().unwrap();
        assert_eq!(text(sign::SIGNATURE_HEADER), sign::signature(SECRET.as_bytes(), timestamp, body));
        assert_eq!(text(sign::RUN_HEADER), run.run_id.to_string(), "every try says which run it is");
        let told: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(told["execution"]["id"], view.id.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_refuses_is_not_repeated_and_redirects_are_not_followed() {
    for (status, words) in [(400, "answered 400"), (302, "redirects are not followed")] {
        let (url, hook) = serve(&[status]).await;
        let world = World::sqlite();
        let node = world.node().await;
        node.hook(spec("tell", Trigger::PostTask, &url, &[])).await;
        node.run(json!({})).await;
        let run = node.until_runs(1).await.remove(0);
        assert_eq!(run.state, "failed");
        assert!(run.message.contains(words), "{}", run.message);
        assert_eq!(hook.seen.lock().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_does_not_reach_the_inside() {
    let (url, hook) = serve(&[200]).await;
    let named = url.replace("127.0.0.1", "localhost");
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let urls = [
        &url,
        &named,
        &mapped,
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:9/",
        "http://10.0.0.1/",
    ];
    let mut world = World::sqlite();
    world.options.actions.webhooks.allow_private = false;
    let node = world.node().await;
    for (n, url) in urls.iter().enumerate() {
        node.hook(spec(&format!("hook {n}"), Trigger::PostTask, url, &[])).await;
    }
    node.run(json!({})).await;
    for run in node.until_runs(urls.len()).await {
        assert_eq!(run.state, "failed");
        assert!(run.message.contains("hooks.webhook_private"), "{}: {}", run.hook_name, run.message);
    }
    assert_eq!(hook.seen.lock().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_says_in_one_line_what_happened() {
    let (url, hook) = serve(&[200]).await;
    let world = World::sqlite();
    let node = world.node().await;
    let args = format!("url={url}");
    let notify = spec("chat", Trigger::Notification, "builtin:notify", &[&args]);
    node.hook(HookSpec { when: "event.data.status == 'completed'".into(), ..notify }).await;
    node.run(json!({})).await;
    node.until_runs(1).await;
    let seen = hook.seen.lock().unwrap().clone();
    let told: Value = serde_json::from_slice(&seen[0].1).unwrap();
    assert!(told["text"].as_str().unwrap().ends_with("workflow.status_changed · completed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_asked_by_capability() {
    let mut world = World::sqlite();
    world.fleet.push(agent("judge", 1.0, "judge", &[]));
    world.agents.script(|request, input| match request.agent.id().as_str() {
        "judge" if input["input"]["risky"] == true => {
            Ok(json!({"decision": "abort", "message": "too risky"}))
        }
        "judge" => Ok(json!({"decision": "allow", "score": 3})),
        _ => Ok(json!({"done": true})),
    });
    let node = world.node().await;
    node.hook(spec("ask", Trigger::PreTask, "agent:judge", &[])).await;
    assert_eq!(node.run(json!({"risky": false})).await.status(), Status::Completed);
    let view = node.run(json!({"risky": true})).await;
    assert_eq!(view.status(), Status::Failed);
    assert!(view.causes().last().unwrap().message.contains("too risky"));
    let agents: Vec<_> = world.agents.calls().into_iter().map(|(_, agent)| agent).collect();
    assert_eq!(agents, ["judge", "worker", "judge"]);
    assert!(node.engine.in_flight().is_empty(), "the slots are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_checked_and_formatted_below_their_root_only() {
    let folder = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir_in(folder.path()).unwrap();
    std::fs::write(folder.path().join("above.json"), "{}").unwrap();
    std::fs::write(root.path().join("good.json"), "{}").unwrap();
    std::fs::write(root.path().join("bad.json"), "{").unwrap();
    std::fs::write(root.path().join("list.txt"), "b\na\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.path().join("link.json")).unwrap();
    let mut world = World::sqlite();
    world.options.actions.files_root = Some(root.path().to_path_buf());
    let sort = ["/usr/bin/sort", "-o", "/dev/stdout"].map(String::from).to_vec();
    world.options.actions.formatters.insert("txt".into(), sort);
    world.fleet = vec![agent("editor", 1.0, "patch", &["edit"])];
    world.tasks(json!([task("t", "patch")]));
    let node = world.node().await;
    node.hook(spec(
        "check",
        Trigger::PreEdit,
        "builtin:file_validation",
        &["path=input.file", "max_bytes=100"],
    ))
    .await;
    for (file, words) in [
        ("good.json", None),
        ("bad.json", Some("is not JSON")),
        ("link.json", Some("outside")),
        ("../above.json", Some("outside")),
        ("none.json", Some("cannot be read")),
    ] {
        let view = node.run(json!({"file": file})).await;
        match words {
            None => assert_eq!(view.status(), Status::Completed),
            Some(words) => {
                let cause = view.causes().last().unwrap().message.clone();
                assert!(cause.contains(words), "{file}: {cause}");
            }
        }
    }
    let text =
        spec("format", Trigger::PostEdit, "builtin:formatter", &["field=task.output.text", "language=txt"]);
    node.hook(text).await;
    let before = node.runs().await.len();
    node.run(json!({"file": "good.json", "text": "b\na\n"})).await;
    let runs = node.until_runs(before + 2).await;
    let run = runs.iter().find(|r| r.hook_name == "format").unwrap();
    assert_eq!(run.state, "completed", "{}", run.message);
    assert!(run.settings.contains("a\\nb\\n"), "{}", run.settings);
}
