//! Executions of a session see what earlier ones left: variables and conversation, saved once, whatever dies in between.

use base::{ErrorCode, Tenant};
use executor::{
    app::StartRequest,
    engine::Command,
    sessions::{SessionOptions, Sessions},
};
use proto::{common::v1::PageRequest, executor::v1 as pb};
use serde_json::{Value, json};
use store::{Journal as _, sessions::SessionStore};
use tonic::Request;
use workflow::Status;

use crate::{
    agents::Act,
    kit::{Node, SOON, World, calls, request, task},
};

fn sessions_of(node: &Node, world: &World, options: SessionOptions) -> Sessions {
    let store = SessionStore::new(node.journal.tables());
    Sessions::new(store, node.engine.clone(), world.clock.clone(), options)
}

/// A node that keeps sessions, but does not look for what ended by itself.
async fn node(world: &World) -> (Node, Sessions) {
    let mut node = world.node().await;
    let sessions = sessions_of(&node, world, SessionOptions::default());
    node.app = node.app.with_sessions(sessions.clone());
    (node, sessions)
}

fn in_session(workflow: &str, session: &str, input: Value) -> StartRequest {
    StartRequest { session_id: session.into(), ..request(workflow, input) }
}

/// A workflow that counts: it reads `n` of its session and leaves one more, and the question it was asked.
fn counting() -> Value {
    json!({
        "schema": 2,
        "tasks": [task("t", json!({"input": {"template": {"n": "${ 1 }"}}}))],
        "session": {
            "save": {"n": "${ ('n' in session.vars ? session.vars.n : 0) + 1 }", "seen": "${ size(session.history) }"},
            "history": 10,
        },
    })
}

async fn shown(sessions: &Sessions, id: &str) -> pb::Session {
    use proto::executor::v1::session_service_server::SessionService as _;
    let door = executor::sessions::SessionDoor::new(sessions.clone());
    let asked = pb::GetSessionRequest { session_id: id.into() };
    door.get_session(Request::new(asked)).await.unwrap().into_inner()
}

async fn var(sessions: &Sessions, id: &str, name: &str) -> Option<Value> {
    let found = shown(sessions, id).await.variables.into_iter().find(|v| v.name == name)?;
    serde_json::from_str(&found.value_json).ok()
}

async fn turns(sessions: &Sessions, id: &str) -> Vec<(String, Value)> {
    use proto::executor::v1::session_service_server::SessionService as _;
    let door = executor::sessions::SessionDoor::new(sessions.clone());
    let page = Some(PageRequest { page_size: 1000, page_token: String::new() });
    let asked = pb::ListSessionTurnsRequest { session_id: id.into(), page };
    let turns = door.list_session_turns(Request::new(asked)).await.unwrap().into_inner().turns;
    turns.into_iter().map(|t| (t.role, serde_json::from_str(&t.parts_json).unwrap())).collect()
}

async fn members(sessions: &Sessions, id: &str) -> Vec<pb::SessionExecution> {
    use proto::executor::v1::session_service_server::SessionService as _;
    let door = executor::sessions::SessionDoor::new(sessions.clone());
    let asked = pb::ListSessionExecutionsRequest { session_id: id.into(), page: None };
    door.list_session_executions(Request::new(asked)).await.unwrap().into_inner().executions
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_sees_what_the_one_before_left_even_when_nobody_looked_in_between() {
    for world in World::both().await {
        world.agents.script(|_, nth| Act::Answer(json!(format!("answer {nth}"))));
        world.plans.put("count", counting());
        let (node, sessions) = node(&world).await;
        for n in 1..=3u64 {
            let view = node.run(in_session("count", "s", json!(format!("question {n}")))).await;
            assert_eq!(view.status(), Status::Completed, "{:?}", view.causes());
        }
        sessions.look().await.unwrap();
        assert_eq!(var(&sessions, "s", "n").await, Some(json!(3)));
        assert_eq!(
            var(&sessions, "s", "seen").await,
            Some(json!(4)),
            "the third saw two questions and two answers"
        );
        let said: Vec<String> = turns(&sessions, "s").await.iter().map(|(r, p)| format!("{r} {p}")).collect();
        assert_eq!(said.len(), 6);
        assert_eq!(said[4], r#"user [{"text":"question 3"}]"#);
        assert_eq!(said[5], r#"agent [{"text":"answer 3"}]"#);
        let seen = members(&sessions, "s").await;
        assert_eq!(seen.len(), 3);
        assert!(
            seen.iter().all(|m| m.status == "completed" && !m.saved_at.is_empty() && m.note.is_empty()),
            "{seen:?}"
        );
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_before_a_crash_is_saved_after_it_and_only_once() {
    for world in World::both().await {
        world.plans.put("count", counting());
        let (node, _) = node(&world).await;
        let id = node.start(in_session("count", "s", json!(1))).await.unwrap().id;
        node.completed(id).await;
        node.die().await;

        let (node, sessions) = self::node(&world).await;
        assert_eq!(var(&sessions, "s", "n").await, None, "nobody saved it yet");
        let rounds = (0..4).map(|_| {
            let sessions = sessions.clone();
            tokio::spawn(async move { sessions.look().await })
        });
        for round in futures::future::join_all(rounds).await {
            round.unwrap().unwrap();
        }
        sessions.save(&Tenant::default(), id).await.unwrap();
        assert_eq!(var(&sessions, "s", "n").await, Some(json!(1)));
        assert_eq!(turns(&sessions, "s").await.len(), 2, "not once for each that looked");
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_saves_an_end_at_once() {
    let world = World::sqlite();
    world.plans.put("count", counting());
    let (node, sessions) = node(&world).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sweeping =
        tokio::spawn(executor::sessions::sweep(sessions.clone(), async move { drop(stopped.await) }));
    node.run(in_session("count", "s", json!(1))).await;
    testkit::wait_for("the save", SOON, async || {
        members(&sessions, "s").await.iter().all(|m| !m.saved_at.is_empty()).then_some(())
    })
    .await;
    drop(stop);
    sweeping.await.unwrap();
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_at_the_same_time_join_their_changes() {
    for world in World::both().await {
        world.agents.script(|seen, _| Act::Wait(json!(seen.task)));
        world.agents.open(false);
        let plan =
            |save: Value| json!({"schema": 2, "tasks": [task("t", json!({}))], "session": {"save": save}});
        world.plans.put("one", plan(json!({"shared": {"a": 1}, "log": ["one"], "word": "one"})));
        world.plans.put("two", plan(json!({"shared": {"b": 2}, "log": ["two"], "word": "two"})));
        let (node, sessions) = node(&world).await;
        let first = node.start(in_session("one", "s", json!(1))).await.unwrap().id;
        let second = node.start(in_session("two", "s", json!(2))).await.unwrap().id;
        calls(&world.agents, 2).await;
        world.agents.open(true);
        for id in [first, second] {
            node.completed(id).await;
        }
        sessions.look().await.unwrap();
        assert_eq!(
            var(&sessions, "s", "shared").await,
            Some(json!({"a": 1, "b": 2})),
            "both members are there"
        );
        let last = var(&sessions, "s", "word").await.unwrap();
        assert!(last == "one" || last == "two", "the last writer's");
        let seen = members(&sessions, "s").await;
        let joined = seen.iter().filter(|m| m.note.contains("others had changed")).count();
        assert_eq!(joined, 1, "{seen:?}");
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_complete_leaves_its_place_in_the_list_alone() {
    let world = World::sqlite();
    world.plans.put("count", counting());
    world.agents.script(|_, _| Act::Bind);
    let (node, sessions) = node(&world).await;
    let id = node.start(in_session("count", "s", json!(1))).await.unwrap().id;
    sessions.look().await.unwrap();
    assert!(members(&sessions, "s").await[0].saved_at.is_empty(), "it runs");
    node.command(id, Command::Terminate { reason: "enough".into() }).await.unwrap();
    node.ended(id).await;
    sessions.look().await.unwrap();
    let seen = members(&sessions, "s").await;
    assert_eq!(seen[0].status, "terminated");
    assert!(seen[0].note.contains("did not complete"), "{seen:?}");
    assert_eq!((shown(&sessions, "s").await.variables_count, turns(&sessions, "s").await.len()), (0, 0));
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_keep_what_was_there_and_say_so_and_old_turns_go() {
    let world = World::sqlite();
    world.plans.put(
        "large",
        json!({"schema": 2, "tasks": [task("t", json!({}))], "session": {"save": {"blob": "${ input.blob }"}}}),
    );
    let mut node = world.node().await;
    let options = SessionOptions { vars_bytes_max: 100, turns_max: 3, ..SessionOptions::default() };
    let sessions = sessions_of(&node, &world, options);
    node.app = node.app.with_sessions(sessions.clone());
    node.run(in_session("large", "s", json!({"blob": "small"}))).await;
    node.run(in_session("large", "s", json!({"blob": "x".repeat(500)}))).await;
    sessions.look().await.unwrap();
    assert_eq!(var(&sessions, "s", "blob").await, Some(json!("small")));
    let seen = members(&sessions, "s").await;
    assert!(seen[1].note.contains("sessions.vars_size_max"), "{seen:?}");
    let session = shown(&sessions, "s").await;
    assert_eq!((session.turns, session.turns_dropped), (3, 1));
    let said = turns(&sessions, "s").await;
    assert_eq!(said.iter().map(|(role, _)| role.as_str()).collect::<Vec<_>>(), ["agent", "user", "agent"]);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_names_its_session_by_an_expression_and_a_start_by_its_id() {
    let world = World::sqlite();
    let mut plan = counting();
    plan["session"]["id"] = json!("'user:' + input.user");
    world.plans.put("own", plan);
    world.plans.put("plain", json!({"tasks": [task("t", json!({}))]}));
    let (node, sessions) = node(&world).await;
    node.run(request("own", json!({"user": "ada"}))).await;
    node.run(in_session("own", "other", json!({"user": "ada"}))).await;
    node.run(in_session("plain", "user:ada", json!({"user": "ada"}))).await;
    node.run(request("plain", json!({}))).await;
    sessions.look().await.unwrap();
    assert_eq!(members(&sessions, "user:ada").await.len(), 2);
    assert_eq!(members(&sessions, "other").await.len(), 1);
    assert_eq!(turns(&sessions, "user:ada").await.len(), 4);
    for (start, field) in [
        (request("own", json!({})), "session_id"),
        (in_session("plain", "not an id", json!(1)), "session_id"),
    ] {
        let refused = node.start(start).await.unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::InvalidArgument, field), "{refused}");
    }
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_in_another_session_is_another_request() {
    let world = World::sqlite();
    let (node, sessions) = node(&world).await;
    let keyed = |session: &str| StartRequest { key: "k".into(), ..in_session("one", session, json!(1)) };
    let first = node.start(keyed("a")).await.unwrap();
    assert!(node.start(keyed("a")).await.unwrap().existing);
    assert_eq!(node.start(keyed("b")).await.unwrap_err().code, ErrorCode::AlreadyExists);
    node.completed(first.id).await;
    sessions.look().await.unwrap();
    assert_eq!(sessions.member(&Tenant::default(), first.id).await.unwrap().unwrap().session_id, "a");
    assert_eq!(turns(&sessions, "a").await.len(), 2);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_in_a_deleted_session_is_not_looked_for_again() {
    let world = World::sqlite();
    world.plans.put("count", counting());
    let (node, sessions) = node(&world).await;
    let id = node.start(in_session("count", "s", json!(1))).await.unwrap().id;
    node.completed(id).await;
    let store = SessionStore::new(node.journal.tables());
    assert!(store.delete(&Tenant::default(), "s").await.unwrap());
    sessions.look().await.unwrap();
    assert!(store.get(&Tenant::default(), "s").await.unwrap().is_none(), "it does not come back");
    node.run(in_session("count", "s", json!(2))).await;
    sessions.look().await.unwrap();
    assert_eq!(var(&sessions, "s", "n").await, Some(json!(1)), "a new beginning");
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_a_workflow_sets_reach_the_next_execution_as_they_stand() {
    let world = World::sqlite();
    let set = json!({"id": "note", "kind": {"set": {"vars": {"last": "${ input.word }", "before": "${ has(vars.last) ? vars.last : 'none' }"}}}});
    let mut tell = task("tell", json!({"after": [0]}));
    tell["input"] = json!({"template": {"before": "${ vars.before }"}});
    world.agents.script(|seen, _| Act::Answer(seen.input.clone()));
    world.plans.put("note", json!({"schema": 2, "tasks": [set, tell], "session": {}}));
    let (node, sessions) = node(&world).await;
    let before = async |word: &str| {
        let view = node.run(in_session("note", "s", json!({"word": word}))).await;
        assert_eq!(view.status(), Status::Completed, "{:?}", view.causes());
        view.output().unwrap().json().unwrap()["before"].clone()
    };
    assert_eq!(before("one").await, "none");
    assert_eq!(before("two").await, "one");
    let told: Vec<_> = world.agents.calls().into_iter().map(|c| c.session.unwrap()).collect();
    assert_eq!((&*told[1].0, &told[1].1["last"]), ("s", &json!("one")), "its agent was told what it loaded");
    sessions.look().await.unwrap();
    assert_eq!(var(&sessions, "s", "last").await, Some(json!("two")));
    node.die().await;
}
