//! `orchestra compare` with the example agent that plays every part of the patterns.

use std::{
    path::Path,
    process::{Command, Output},
};

use harness::{Api, PATIENCE, Process, binary};
use serde_json::{Value, json};
use testkit::{unique_name, wait_for};

alone_on_both_shapes! {
    patterns_are_compared_by_a_measure_that_the_user_chose
}

async fn panel(api: &Api, folder: &Path) -> Process {
    let id = unique_name("panel");
    let mut command = Command::new(binary("panel-agent"));
    command.args(["--id", &id, "--register", api.base()]);
    let mut process = Process::new("panel", folder);
    process.start(command);
    wait_for("the panel to register", PATIENCE, async || {
        (api.get(&format!("/agents/{id}")).await.status == 200).then_some(())
    })
    .await;
    process
}

fn compare(api: &Api, args: &[&str]) -> Output {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/patterns");
    let mut command = Command::new(binary("orchestra"));
    command.args(["--server", api.grpc(), "compare"]).args(args).current_dir(examples).env("NO_COLOR", "1");
    tokio::task::block_in_place(|| command.output().unwrap())
}

async fn patterns_are_compared_by_a_measure_that_the_user_chose(api: Api) {
    let folder = tempfile::tempdir().unwrap();
    let mut panel = panel(&api, folder.path()).await;
    let goal = ["--set", "goal=red boats at sea", "--repeat", "2"];

    // Two definitions, judged by an agent.
    let files = ["pair.yaml", "race.yaml", "--judge", "scoring", "-o", "json"];
    let ended = compare(&api, &[&files[..], &goal].concat());
    let said: Value = serde_json::from_slice(&ended.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ended.stderr)));
    assert!(ended.status.success(), "{said:#}");
    assert_eq!((&said["quality"], &said["judge"]), (&json!("judge.score"), &json!("scoring")));
    for (place, name) in [(0, "pair-example"), (1, "race-example")] {
        let compared = &said["candidates"][place];
        let summary = &compared["summary"];
        assert_eq!((&compared["name"], &summary["completed"]), (&json!(name), &json!(2)), "{compared:#}");
        assert!(summary["quality"]["median"].as_f64().is_some_and(|q| (0.0..=1.0).contains(&q)), "{summary}");
        assert!(summary["calls"]["median"].as_f64() >= Some(1.0), "{summary}");
        assert!(summary["time_ms"]["min"].as_f64() <= summary["time_ms"]["max"].as_f64(), "{summary}");
        let run = &compared["runs"][1];
        let known = api.execution(run["execution_id"].as_str().unwrap()).await;
        assert_eq!(
            known["input"],
            json!({"goal": "red boats at sea"}),
            "every run is an execution of its own"
        );
    }
    // A pair takes turns; of a race the first good answer is enough.
    let calls = |place: usize| said["candidates"][place]["summary"]["calls"]["median"].as_f64().unwrap();
    assert!(calls(0) > calls(1) || calls(1) == 2.0, "{said:#}");

    // One definition with two patterns, measured by an expression.
    let pair = "pair: {author: optimist, reviewer: judge}";
    let race = "race: {contestants: [optimist, pessimist]}";
    let patterns = ["debate.yaml", "--pattern", pair, "--pattern", race, "--quality", "size(output)"];
    let ended = compare(&api, &[&patterns[..], &goal].concat());
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{text}{}", String::from_utf8_lossy(&ended.stderr));
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["NAME", "pair", "race"], "{text}");

    // What cannot be judged is said, and the rest is shown.
    let odd = ["race.yaml", "--quality", "output.nothing", "--repeat", "1", "--set", "goal=x"];
    let ended = compare(&api, &odd);
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("race-example"), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("output.nothing"), "{ended:?}");
    panel.signal("TERM");
    assert_eq!(tokio::task::block_in_place(|| panel.wait()), None, "it ends by itself");
}
