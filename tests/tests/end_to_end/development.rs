//! The development pipeline with its agent: requirements in, a checked release out.

use std::{path::Path, process::Command};

use harness::{Api, PATIENCE, Process, binary};
use serde_json::{Value, json};
use testkit::{unique_name, wait_for};

on_both_shapes! {
    requirements_become_a_release_that_meets_them
}

async fn team(api: &Api, folder: &Path) -> Process {
    let mut command = Command::new(binary("developer-agent"));
    let id = unique_name("developer");
    command.args(["--id", &id, "--register", api.base()]).arg("--work").arg(folder.join("work"));
    let mut process = Process::new("developer", folder);
    process.start(command);
    wait_for("the developer to register", PATIENCE, async || {
        (api.get(&format!("/agents/{id}")).await.status == 200).then_some(())
    })
    .await;
    process
}

async fn requirements_become_a_release_that_meets_them(api: Api) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("work")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/development").canonicalize().unwrap();
    let mut developer = team(&api, folder.path()).await;
    let text = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    api.define(&text("pipeline.yaml")).await;
    let target = folder.path().join("deployed");
    let input = json!({
        "requirements": text("requirements.md"), "technology": "rust", "project": root.join("textkit"), "target": target,
        "agents": [{"id": "developer", "capabilities": ["code_generation"]}],
    });
    let done = api.run("development_pipeline", &input).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!((&done["output"]["passed"], &done["output"]["score"]), (&json!(true), &json!(100)));
    assert_eq!(Api::task(&done, "coding")["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(Api::task(&done, "check")["state"], "completed");
    let release: Value = done["output"]["release"].clone();
    let current = std::fs::read_link(target.join("current")).unwrap();
    assert_eq!(current.file_name().and_then(|n| n.to_str()), release.as_str());
    developer.signal("TERM");
    assert_eq!(tokio::task::block_in_place(|| developer.wait()), None, "it ends by itself");
}
