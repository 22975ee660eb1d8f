//! The stages of the development pipeline one after another, on the project of `examples/development`, with the real
//! compiler.
#![allow(clippy::unwrap_used, reason = "a broken expectation is a failed test")]

use std::{fs, path::Path, time::Duration};

use example_agents::development::{
    Job, Shop, code, deployment, planning, requirements, review, validation, workspace,
};
use serde_json::{Value, json};

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("development")
}

fn job() -> Job {
    Job { execution: "e1".into(), tell: Box::new(|_, _| {}) }
}

#[test]
fn requirements_become_a_checked_release_and_a_bad_one_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let shop =
        Shop { work: folder.path().join("work"), registry: None, tool_limit: Duration::from_secs(300) };
    fs::create_dir_all(&shop.work).unwrap();
    let target = folder.path().join("deployed");
    let text = fs::read_to_string(examples().join("requirements.md")).unwrap();
    let analysis = requirements::analyse(&json!({"requirements": text, "technology": "rust"})).unwrap();
    let plan = planning::plan(&analysis).unwrap();
    let prepared =
        workspace::prepare(&shop, &job(), &json!({"project": examples().join("textkit")})).unwrap();
    let workspace = prepared["workspace"].clone();

    let wanted = plan["tasks"].as_array().unwrap().iter().filter_map(|t| t.get("requirement"));
    for requirement in wanted {
        let input = json!({"workspace": workspace, "requirement": requirement});
        let written = code::generate(&shop, &job(), &input).unwrap();
        assert_eq!(written["tests"], requirement["criteria"].as_array().unwrap().len());
    }
    code::integrate(&shop, &job(), &json!({"workspace": workspace})).unwrap();
    let reviewed = review::review(&shop, &job(), &json!({"workspace": workspace})).unwrap();
    assert_eq!(reviewed, json!({"approved": true, "files": 5, "findings": []}));

    let input = json!({"workspace": workspace, "requirements": analysis["requirements"]});
    let validated = validation::validate(&shop, &job(), &input).unwrap();
    assert_eq!(validated["passed"], true, "{validated:#}");
    assert_eq!(validated["score"], 100);

    let input = json!({"workspace": workspace, "target": target, "report": validated["report"]});
    let first = deployment::deploy(&shop, &job(), &input).unwrap();
    assert_eq!(deployment::deploy(&shop, &job(), &input).unwrap()["release"], first["release"]);
    let mut check =
        json!({"target": target, "program": first["program"], "requirements": analysis["requirements"]});
    assert_eq!(deployment::check(&shop, &job(), &check).unwrap()["checked"], 5);

    fs::write(
        Path::new(workspace.as_str().unwrap()).join("src/trimmed.rs"),
        "//! R0\n\n/// D.\npub fn trimmed(text: &str) -> String {\n    text.to_owned()\n}\n",
    )
    .unwrap();
    let second = deployment::deploy(&shop, &job(), &input).unwrap();
    assert_eq!(second["previous"], first["release"]);
    check["program"] = second["program"].clone();
    check["max_bytes"] = json!(10);
    assert!(deployment::check(&shop, &job(), &check).unwrap_err().to_string().contains("10 are allowed"));
    let back = json!({"target": target, "release": second["release"], "previous": second["previous"]});
    assert_eq!(deployment::roll_back(&shop, &job(), &back).unwrap()["current"], first["release"]);
    let again: Value = deployment::roll_back(&shop, &job(), &back).unwrap();
    assert_eq!(again["current"], first["release"], "a repeat changes nothing");
}

#[test]
fn code_that_breaks_a_criterion_is_refused_with_the_words_of_its_test() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop { work: folder.path().into(), registry: None, tool_limit: Duration::from_secs(300) };
    let prepared =
        workspace::prepare(&shop, &job(), &json!({"project": examples().join("textkit")})).unwrap();
    let text = "## A\nThe function `cut` must cut: trim.\n- Example: ` a ` gives `b`\n";
    let analysis = requirements::analyse(&json!({"requirements": text})).unwrap();
    let input = json!({"workspace": prepared["workspace"], "requirement": analysis["requirements"][0]});
    let refused = code::generate(&shop, &job(), &input).unwrap_err().to_string();
    assert!(refused.contains("the tests of cut.rs fail") && refused.contains("r1_1"), "{refused}");
    let outside = json!({"workspace": "/etc", "requirement": analysis["requirements"][0]});
    assert!(code::generate(&shop, &job(), &outside).unwrap_err().to_string().contains("outside"));
}
