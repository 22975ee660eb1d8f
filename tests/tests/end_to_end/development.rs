//! The development pipeline with its agent: requirements in, a checked release out.

use std::{path::Path, process::Command};

use ::api::client::{Client, CompleteWorkflow};
use harness::{Api, PATIENCE, Process, binary};
use serde_json::{Value, json};
use testkit::{unique_name, wait_for};

on_both_shapes! {
    requirements_become_a_release_and_one_that_fails_its_check_is_rolled_back
}

async fn team(api: &Api, folder: &Path) -> Process {
    let mut command = Command::new(binary("developer-agent"));
    let id = unique_name("developer");
    command
        .args(["--id", &id, "--register", api.base(), "--registry", api.grpc()])
        .arg("--work")
        .arg(folder.join("work"));
    let mut process = Process::new("developer", folder);
    process.start(command);
    wait_for("the developer to register", PATIENCE, async || {
        (api.get(&format!("/agents/{id}")).await.status == 200).then_some(())
    })
    .await;
    process
}

/// What the pipeline is started with.
fn input(folder: &Path, requirements: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/development").canonicalize().unwrap();
    json!({
        "requirements": requirements, "technology": "rust", "project": root.join("textkit"),
        "target": folder.join("deployed"),
        "agents": [{"id": "developer", "capabilities": ["code_generation"]}],
    })
}

fn example(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/development").join(file))
        .unwrap()
}

async fn requirements_become_a_release_and_one_that_fails_its_check_is_rolled_back(api: Api) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("work")).unwrap();
    let mut developer = team(&api, folder.path()).await;
    api.define(&example("pipeline.yaml")).await;
    let done = api.run("development_pipeline", &input(folder.path(), &example("requirements.md"))).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!((&done["output"]["passed"], &done["output"]["score"]), (&json!(true), &json!(100)));
    assert_eq!(Api::task(&done, "coding")["items"].as_array().map(Vec::len), Some(4));
    assert_eq!(Api::task(&done, "check")["state"], "completed");
    let current = || std::fs::read_link(folder.path().join("deployed/current")).unwrap();
    let good = current();
    assert_eq!(good.file_name().and_then(|n| n.to_str()), done["output"]["release"].as_str());

    // Another release, which is larger than it may be.
    let more = "\n## Shouting\nThe function `shout` should shout: uppercase.\n\n- Example: `a` gives `A`\n";
    let mut second = input(folder.path(), &(example("requirements.md") + more));
    second["max_bytes"] = json!(10);
    let undone = api.run("development_pipeline", &second).await;
    assert_eq!(undone["status"], "compensated", "{undone:#}");
    assert_eq!(current(), good, "the release before is current again");
    let releases = std::fs::read_dir(folder.path().join("deployed/releases")).unwrap().count();
    assert_eq!(releases, 2, "both were deployed");

    // The same in one call, with nothing named but the requirements.
    let client = Client::connect(api.grpc()).await.unwrap();
    let wanted = CompleteWorkflow {
        technology: Some("rust".into()),
        ..CompleteWorkflow::of(example("requirements.md"))
    };
    let done = client.execute_complete_workflow(&wanted).await.unwrap();
    assert_eq!((done.status.as_str(), done.passed, done.score), ("completed", true, 100.0), "{done:#?}");
    assert_eq!(done.plan["tasks"].as_array().map(Vec::len), Some(8), "{}", done.plan);
    assert_eq!((done.changes.len(), done.analysis["level"].is_string()), (4, true));
    assert_eq!(done.check["release"].as_str(), done.release.as_deref());
    assert!(done.deployment["target"].as_str().is_some_and(|target| target.ends_with("work/deployed")));
    assert!(done.hours > 0.0 && done.report.starts_with('#'));
    let cobol = CompleteWorkflow { technology: Some("cobol".into()), ..wanted };
    let refused = client.execute_complete_workflow(&cobol).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.field.as_str()),
        (base::ErrorCode::InvalidArgument, "input/technology")
    );
    developer.signal("TERM");
    assert_eq!(tokio::task::block_in_place(|| developer.wait()), None, "it ends by itself");
}
