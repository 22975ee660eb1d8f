//! Hooks before a call.

use executor::app::StartRequest;
use hooks::{HookSpec, OnFailure, Trigger};
use serde_json::json;
use workflow::Status;

use crate::kit::{SOON, World, agent, lines, me, notes, says, spec, task};

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_failure_stops_the_call() {
    for world in [World::sqlite(), World::postgres().await] {
        let node = world.node().await;
        node.hook(says("guard", Trigger::PreTask, r#"echo '{"decision": "abort", "message": "not today"}'"#))
            .await;
        let view = node.run(json!({"a": 1})).await;
        assert_eq!(view.status(), Status::Failed);
        let cause = view.causes().last().unwrap();
        assert_eq!(cause.class.as_str(), "hook");
        assert!(cause.message.contains("guard") && cause.message.contains("not today"), "{}", cause.message);
        assert_eq!(world.agents.calls(), [], "the agent heard nothing");
        let runs = node.until_runs(1).await;
        let run = &runs[0];
        assert_eq!(
            (run.state.as_str(), run.decision.as_str(), run.message.as_str()),
            ("completed", "abort", "not today")
        );
        assert_eq!(run.task_id.as_deref(), Some("t"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_lets_the_call_go_and_what_the_hook_is_told_is_complete() {
    let world = World::sqlite();
    let node = world.node().await;
    let failing =
        HookSpec { on_failure: Some(OnFailure::Warn), ..spec("fails", Trigger::PreTask, "/bin/false", &[]) };
    node.hook(HookSpec { priority: 1, ..failing }).await;
    node.hook(spec("echo", Trigger::PreTask, "/bin/cat", &[])).await;
    let view = node.run(json!({"question": "why?"})).await;
    assert_eq!(view.status(), Status::Completed);
    assert_eq!(world.agents.calls().len(), 1);
    let runs = node.until_runs(2).await;
    assert_eq!(runs.iter().map(|r| r.hook_name.as_str()).collect::<Vec<_>>(), ["fails", "echo"]);
    assert_eq!((runs[0].state.as_str(), runs[0].decision.as_str()), ("failed", "warn"));
    let told: serde_json::Value = serde_json::from_str(&runs[1].output).unwrap();
    assert_eq!(told["input"], json!({"question": "why?"}));
    assert_eq!(told["task"]["id"], "t");
    assert_eq!(told["task"]["capability"], "work");
    assert_eq!(told["execution"]["workflow"], "w@1");
    assert_eq!(told["hook"]["run_id"], runs[1].run_id.to_string());
    assert_eq!(told["trigger"], "pre_task");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_in_order_and_after_a_critical_failure_only_those_that_always_run() {
    let world = World::sqlite();
    let node = world.node().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("order");
    let at = |priority, spec| HookSpec { priority, ..spec };
    node.hook(at(300, HookSpec { always_run: true, ..notes("always", Trigger::PreTask, &file) })).await;
    node.hook(at(200, notes("never", Trigger::PreTask, &file))).await;
    node.hook(at(-1, notes("first", Trigger::PreTask, &file))).await;
    node.hook(at(50, spec("breaks", Trigger::PreTask, "/bin/false", &[]))).await;
    let view = node.run(json!({})).await;
    assert_eq!(view.status(), Status::Failed);
    assert_eq!(lines(&file), ["first", "always"]);
    let mut states: Vec<_> = node.until_runs(4).await.into_iter().map(|r| (r.hook_name, r.state)).collect();
    states.sort();
    let want = [("always", "completed"), ("breaks", "failed"), ("first", "completed"), ("never", "skipped")];
    assert_eq!(states, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn search_edit_and_command_hooks_run_for_capabilities_with_that_tag() {
    let mut world = World::sqlite();
    world.fleet = vec![
        agent("finder", 1.0, "find", &["search"]),
        agent("editor", 1.0, "patch", &["edit"]),
        agent("shell", 1.0, "exec", &["command"]),
        agent("plain", 1.0, "work", &["other"]),
    ];
    let all = ["find", "patch", "exec", "work"].map(|capability| task(capability, capability));
    world.tasks(json!(all));
    let node = world.node().await;
    let triggers =
        [Trigger::PreSearch, Trigger::PreEdit, Trigger::PostEdit, Trigger::PreCommand, Trigger::PostCommand];
    for trigger in triggers {
        node.hook(spec(trigger.as_str(), trigger, "/bin/cat", &[])).await;
    }
    let view = node.run(json!({"x": 1})).await;
    assert_eq!(view.status(), Status::Completed);
    let mut ran: Vec<_> =
        node.until_runs(5).await.into_iter().map(|r| (r.trigger, r.task_id.unwrap())).collect();
    ran.sort();
    let want = [
        ("post_command", "exec"),
        ("post_edit", "patch"),
        ("pre_command", "exec"),
        ("pre_edit", "patch"),
        ("pre_search", "find"),
    ];
    assert_eq!(ran, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_allowed_is_refused() {
    let world = World::sqlite();
    let node = world.node().await;
    let bad = [
        ("command", spec("a", Trigger::PreCommand, "builtin:security_check", &["allow=git"])),
        ("command", spec("a", Trigger::PreTask, "/usr/bin/python3", &[])),
        ("command", spec("a", Trigger::PreTask, "builtin:memory_update", &["key=k"])),
        ("timeout_ms", HookSpec { timeout_ms: 0, ..spec("a", Trigger::PreTask, "/bin/cat", &[]) }),
    ];
    for (field, spec) in bad.into_iter().skip(1) {
        let refused = node.book().create(&me(), None, spec).await.unwrap_err();
        assert_eq!(refused.field, field, "{refused}");
    }
    // A command of the task itself.
    let mut guarded = World::sqlite();
    guarded.fleet = vec![agent("shell", 1.0, "exec", &["command"])];
    guarded.tasks(json!([task("t", "exec")]));
    let node = guarded.node().await;
    node.hook(spec("guard", Trigger::PreCommand, "builtin:security_check", &["allow=git,ls"])).await;
    assert_eq!(node.run(json!({"command": "git status"})).await.status(), Status::Completed);
    let view = node.run(json!({"command": "rm -rf /"})).await;
    assert_eq!(view.status(), Status::Failed);
    assert!(view.causes().last().unwrap().message.contains("rm is not an allowed program"));
    assert_eq!(guarded.agents.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_search_is_answered_from_the_cache() {
    let mut world = World::sqlite();
    world.fleet = vec![agent("finder", 1.0, "find", &["search"])];
    world.tasks(json!([task("t", "find")]));
    world.agents.script(|_, input| Ok(json!({"found": input["q"]})));
    let node = world.node().await;
    node.hook(spec("look", Trigger::PreSearch, "builtin:search_cache_lookup", &[])).await;
    node.hook(spec("fill", Trigger::PostTask, "builtin:search_cache_fill", &[])).await;
    let first = node.run(json!({"q": "a"})).await;
    node.until_runs(2).await;
    let second = node.run(json!({"q": "a"})).await;
    assert_eq!(first.output(), second.output());
    assert_eq!(world.agents.calls().len(), 1, "the second search called nobody");
    node.run(json!({"q": "b"})).await;
    assert_eq!(world.agents.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_chooses_the_agent_by_score_or_cost() {
    let mut world = World::sqlite();
    world.fleet = vec![agent("cheap", 1.0, "work", &[]), agent("dear", 5.0, "work", &[])];
    let node = world.node().await;
    node.run(json!({})).await;
    let choice = node.hook(says("choose", Trigger::PreTask, r#"echo '{"set": {"agent": "dear"}}'"#)).await;
    node.run(json!({})).await;
    node.book().delete(&me(), &choice.name, None).await.unwrap();
    node.hook(spec("assign", Trigger::PreTask, "builtin:assign_agent", &["max_cost=2"])).await;
    node.run(json!({})).await;
    let agents: Vec<_> = world.agents.calls().into_iter().map(|(_, agent)| agent).collect();
    assert_eq!(agents, ["cheap", "dear", "cheap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_gate_is_found_after_a_restart() {
    let world = World::sqlite();
    world.agents.script(|_, _| Err("away".into()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ran");
    let node = world.node().await;
    node.hook(notes("once", Trigger::PreTask, &file)).await;
    // The process ends after the hook and before the call.
    let block = folder.path().join("block");
    std::fs::write(&block, "").unwrap();
    let script = format!("while [ -e {} ]; do sleep 0.01; done", block.display());
    node.hook(HookSpec { priority: 200, ..says("wait", Trigger::PreTask, &script) }).await;
    let request = StartRequest { workflow: "w".into(), ..StartRequest::default() };
    node.app.start(&me(), request).await.unwrap();
    testkit::wait_for("the first hook", SOON, async || (!lines(&file).is_empty()).then_some(())).await;
    node.until_runs(1).await;
    node.die().await;
    std::fs::remove_file(&block).unwrap();
    let node = world.node().await;
    testkit::wait_for("the call", SOON, async || (!world.agents.calls().is_empty()).then_some(())).await;
    assert_eq!(lines(&file), ["once"], "a hook that had ended did not run again");
    drop(node);
}
