//! The program as its users meet it: what it prints and how it ends. Offline, except for a port where nobody answers.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test says by failing what was not there")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const GOOD: &str = "\
name: greet
version: \"1.0\"
tasks:
  - id: hello
    capability: greet
  - id: goodbye
    capability: greet
    depends_on: [hello]
";

const BAD: &str = "\
name: greet
version: \"1.0\"
tasks:
  - id: hello
    capability: greet
    depend_on: [goodbye]
  - id: goodbye
    capability: greet
    depends_on: [nobody]
";

fn orchestra(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_orchestra"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("good.yaml", GOOD), ("bad.yaml", BAD), ("odd.json", "{\"name\": ")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// An address where nobody answers.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_way_to_end_has_its_exit_code() {
    let dir = files();
    let server = nobody();
    for (args, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["validate", "good.yaml"], 0),
        (&["plan", "good.yaml"], 0),
        (&["fmt", "--check", "good.yaml"], 0),
        (&["config"], 0),
        (&["completions", "zsh"], 0),
        (&[], 2),
        (&["frobnicate"], 2),
        (&["run", "good.yaml", "--input", "{"], 2),
        (&["run", "good.yaml", "--set", "novalue"], 2),
        (&["serve", "--role", "scheduler"], 2),
        (&["serve", "--role", "planner"], 2),
        (&["config", "--set", "executor.shardz=1"], 2),
        (&["dev", "--set", "executor.shards=none"], 2),
        (&["workflows", "delete", "greet"], 2),
        (&["validate", "missing.yaml"], 3),
        (&["agents", "register", "missing.json"], 3),
        (&["executions", "input", "ID", "TASK", "missing.json"], 3),
        (&["validate", "bad.yaml"], 4),
        (&["validate", "good.yaml", "bad.yaml"], 4),
        (&["fmt", "odd.json"], 4),
        (&["plan", "bad.yaml"], 4),
        (&["--server", &server, "run", "bad.yaml"], 4),
        (&["--server", &server, "workflows", "create", "bad.yaml"], 4),
        (&["--server", &server, "run", "good.yaml"], 5),
        (&["--server", &server, "capacity"], 5),
        (&["--server", &server, "health"], 5),
        (&["--server", "nonsense", "agents", "list"], 2),
    ] {
        let ended = orchestra(dir.path(), args);
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {}", text(&ended.stderr));
        assert!(!text(&ended.stderr).contains("panicked"), "{args:?}");
    }
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let dir = files();
    let server = nobody();
    for (args, wants) in [
        (
            &["--server", &server, "capacity"][..],
            &["nothing answers at http://127.0.0.1:", "`orchestra dev`"][..],
        ),
        (&["serve", "--role", "planner"], &["SQLite", "orchestra serve --role all"]),
        (&["config", "--set", "executor.shardz=1"], &["executor.shardz", "executor.shards"]),
        (&["workflows", "delete", "greet"], &["every version of greet", "--yes"]),
        (&["validate", "missing.yaml"], &["cannot read missing.yaml"]),
        (&["run", "good.yaml", "--input", "{"], &["--input is not JSON", "quote it"]),
    ] {
        let said = text(&orchestra(dir.path(), args).stderr);
        for want in wants {
            assert!(said.contains(want), "{args:?}: {said}");
        }
    }
}

#[test]
fn findings_point_at_the_lines_of_the_file() {
    let dir = files();
    let ended = orchestra(dir.path(), &["validate", "bad.yaml"]);
    let said = text(&ended.stderr);
    for want in [
        "error[unknown-key]: `depend_on` is not known here\n --> bad.yaml:6:5\n  |\n6 |     depend_on: [goodbye]\n  |     ^^^^^^^^^\n  = help: did you mean `depends_on`?",
        "--> bad.yaml:9:18",
        "bad.yaml: invalid: 2 errors",
    ] {
        assert!(said.contains(want), "{said}");
    }
    assert!(ended.stdout.is_empty());
    let good = orchestra(dir.path(), &["validate", "good.yaml"]);
    assert_eq!(text(&good.stdout), "good.yaml: ok greet@1.0 (canonical form, 2 tasks)\n");
}

#[test]
fn programs_get_one_json_or_yaml_document() {
    let dir = files();
    let ended = orchestra(dir.path(), &["validate", "good.yaml", "bad.yaml", "-o", "json"]);
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((said[0]["valid"].as_bool(), said[1]["valid"].as_bool()), (Some(true), Some(false)));
    assert_eq!(said[1]["findings"][0]["code"], "unknown-key");
    assert_eq!(said[1]["findings"][0]["line"], 6);

    let yaml = text(&orchestra(dir.path(), &["validate", "good.yaml", "-o", "yaml"]).stdout);
    assert!(yaml.contains("valid: true"), "{yaml}");

    let refused = orchestra(dir.path(), &["--server", &nobody(), "capacity", "-o", "json"]);
    let said: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(
        (said["error"]["code"].as_str(), said["error"]["exit_code"].as_u64()),
        (Some("unavailable"), Some(5))
    );

    let config =
        orchestra(dir.path(), &["config", "--set", "database.url=postgres://u:secret@h/d", "-o", "json"]);
    let said: Value = serde_json::from_slice(&config.stdout).unwrap();
    assert_eq!(said["database.url"]["value"], "postgres://u:****@h/d");
    assert_eq!(said["database.url"]["origin"], "flag --set database.url");
}

#[test]
fn a_plan_shows_levels_and_the_critical_path_without_a_server() {
    let dir = files();
    let said = text(&orchestra(dir.path(), &["plan", "good.yaml"]).stdout);
    assert!(said.starts_with("greet@1.0: 2 tasks on 2 levels\ncritical path  hello → goodbye\n"), "{said}");
    assert!(said.contains("1  goodbye  hello  capability greet  once"), "{said}");
}

#[test]
fn fmt_rewrites_white_space_only_and_check_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    let untidy = "name: a   # kept\ntasks:\n- id: t\n  capability: c\n\n\n\n";
    std::fs::write(&file, untidy).unwrap();
    let checked = orchestra(dir.path(), &["fmt", "--check", "a.yaml"]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), untidy);
    assert!(orchestra(dir.path(), &["fmt", "a.yaml"]).status.success());
    let tidy = "name: a   # kept\ntasks:\n  - id: t\n    capability: c\n";
    assert_eq!(std::fs::read_to_string(&file).unwrap(), tidy);
    assert!(orchestra(dir.path(), &["fmt", "--check", "a.yaml"]).status.success());
}

#[test]
fn every_example_is_valid_and_formatted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let (mut names, mut folders) = (Vec::new(), vec![examples.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(end) if end == "yaml" => {
                    names.push(path.strip_prefix(&examples).unwrap().to_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
    }
    names.sort();
    for one in ["chain.yaml", "types/loop.yaml", "patterns/swarm.yaml", "development/pipeline.yaml"] {
        assert!(names.iter().any(|name| name == one), "{names:?}");
    }
    for command in [&["validate"][..], &["fmt", "--check"]] {
        let args: Vec<&str> = command.iter().copied().chain(names.iter().map(String::as_str)).collect();
        let ended = orchestra(&examples, &args);
        assert!(ended.status.success(), "{args:?}: {}", text(&ended.stderr));
    }
}
