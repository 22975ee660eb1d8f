//! The main job with the example agents, as the demo runs it.

use std::{path::Path, process::Command};

use harness::{Api, PATIENCE, Process, binary};
use serde_json::json;
use testkit::wait_for;

on_both_shapes! {
    the_research_example_writes_its_report
}

async fn the_research_example_writes_its_report(api: Api) {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let mut agents = Vec::new();
    for id in ["supervisor", "researcher-1", "researcher-2", "researcher-3"] {
        let kind = id.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        let mut command = Command::new(binary(&format!("{kind}-agent")));
        command.args(["--id", id, "--register", api.base()]);
        let mut process = Process::new(id, folder.path());
        process.start(command);
        agents.push(process);
        wait_for(&format!("{id} to register"), PATIENCE, async || {
            (api.get(&format!("/agents/{id}")).await.status == 200).then_some(())
        })
        .await;
    }
    let text = std::fs::read_to_string(root.join("examples/multi_agent_research.yaml")).unwrap();
    api.define(&text).await;
    let input = json!({
        "question": "How does durable execution survive a crash, and when is it safe to repeat a call?",
        "folder": root.join("examples/documents"),
    });
    let done = api.run("multi_agent_research", &input).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    let report = done["output"].to_string();
    assert!(report.contains("durable-execution.md"), "the report names its sources: {report}");
    let research = Api::task(&done, "research");
    assert!(research["items"].as_array().is_some_and(|items| items.len() > 1), "{research:#}");
    for mut agent in agents {
        agent.signal("TERM");
        assert_eq!(tokio::task::block_in_place(|| agent.wait()), None, "it ends by itself");
    }
}
