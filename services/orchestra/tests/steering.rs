//! Running executions steered from the command line, against `orchestra dev` in a folder of its own.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test says by failing what was not there")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Process, free_port, wait_for_blocking};

const PATIENCE: Duration = Duration::from_secs(60);

const STEERED: &str = "\
name: steered
version: \"1\"
vars: {round: 1}
tasks:
  - id: go
    wait: {signal: {name: release, schema: {type: object, required: [n], properties: {n: {type: integer}}}}}
  - id: ask
    depends_on: [go]
    approval:
      title: Ship ${ tasks.go.output.n }?
      form: {type: object, required: [note], properties: {note: {type: string, description: For the parcel}}}
  - {id: gate, depends_on: [ask], wait: {step: true}}
  - id: done
    depends_on: [gate]
    transform:
      n: ${ tasks.go.output.n }
      note: ${ tasks.ask.output.form.note }
      round: ${ vars.round }
      who: ${ input.who }
";

/// The same, with one task more and another wait instead of the gate.
const BETTER: &str = "\
name: steered
version: \"1\"
vars: {round: 1}
tasks:
  - id: go
    wait: {signal: {name: release, schema: {type: object, required: [n], properties: {n: {type: integer}}}}}
  - id: ask
    depends_on: [go]
    approval:
      title: Ship ${ tasks.go.output.n }?
      form: {type: object, required: [note], properties: {note: {type: string, description: For the parcel}}}
  - {id: done, depends_on: [ask], transform: {n: \"${ tasks.go.output.n }\"}}
  - {id: more, depends_on: [done], transform: {twice: \"${ tasks.done.output.n * 2 }\"}}
";

struct Dev {
    folder: tempfile::TempDir,
    http: u16,
    grpc: u16,
    // Ends when it is dropped.
    _process: Process,
}

/// How a command ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

impl Dev {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("steered.yaml", STEERED), ("better.yaml", BETTER)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (http, grpc) = (free_port(), free_port());
        let mut process = Process::new("dev", folder.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra"));
        command.args([
            "dev",
            "--data",
            "data",
            "--port",
            &http.to_string(),
            "--grpc-port",
            &grpc.to_string(),
            "--set",
            "executor.stuck_after=100ms",
            // Itself, as another engine.
            "--set",
            &format!("providers.orchestra_address=http://127.0.0.1:{grpc}"),
        ]);
        command.current_dir(folder.path());
        process.start(command);
        let dev = Self { folder, http, grpc, _process: process };
        wait_for_blocking("orchestra dev to be ready", PATIENCE, || is_ready(dev.http).then_some(()));
        dev
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn say(&self, args: &[&str]) -> Said {
        let ended = Command::new(env!("CARGO_BIN_EXE_orchestra"))
            .args(["--server", &format!("http://127.0.0.1:{}", self.grpc)])
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: ended.status.code().unwrap_or(-1), out: text(ended.stdout), err: text(ended.stderr) }
    }

    fn json(&self, args: &[&str]) -> Value {
        self.say(&[args, &["-o", "json"]].concat()).json()
    }

    /// What is refused with this exit code says this.
    fn refused(&self, args: &[&str], code: i32, wants: &[&str]) {
        let said = self.say(args);
        assert_eq!(said.code, code, "{args:?}: {}{}", said.out, said.err);
        for want in wants {
            assert!(said.err.contains(want), "{args:?}: no {want:?} in {}", said.err);
        }
    }

    fn begin(&self) -> String {
        let started = self.json(&["run", "steered.yaml", "--set", "who=ann"]);
        started["execution_id"].as_str().unwrap().to_owned()
    }

    /// Waits until it is stuck for this reason.
    fn until_stuck(&self, id: &str, reason: &str) -> Value {
        wait_for_blocking(reason, PATIENCE, || {
            let seen = self.json(&["executions", "query", id]);
            let stuck = seen["stuck"].as_array().unwrap().iter().any(|r| r["reason"] == reason);
            stuck.then_some(seen)
        })
    }

    fn until_ended(&self, id: &str) -> Value {
        wait_for_blocking("its end", PATIENCE, || {
            let seen = self.json(&["executions", "get", id]);
            let open = ["planning", "executing"].iter().any(|status| seen["status"] == *status);
            (!open).then_some(seen)
        })
    }
}

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.write_all(b"GET /ready HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n")?;
        let mut head = [0; 16];
        let read = socket.read(&mut head)?;
        Ok(String::from_utf8_lossy(&head[..read]).into_owned())
    };
    ask().is_ok_and(|head| head.split(' ').nth(1) == Some("200"))
}

#[test]
fn an_execution_is_steered_from_signal_to_end_by_the_commands_that_it_shows() {
    let dev = Dev::start();
    let id = &dev.begin();
    dev.until_stuck(id, "signal");
    let shown = dev.say(&["executions", "get", id]);
    for want in ["signal  task go: release since", &format!("orchestra executions signal {id} release JSON")]
    {
        assert!(shown.out.contains(want), "{}", shown.out);
    }
    let stuck = &dev.json(&["executions", "get", id])["stuck"][0];
    assert_eq!((&stuck["reason"], &stuck["command"]), (&json!("signal"), &json!("signal")));

    // A signal: its payload fits the schema of its name.
    dev.refused(
        &["executions", "signal", id, "release", "{\"n\": \"one\"}"],
        2,
        &["payload", "/n", "integer"],
    );
    dev.refused(&["executions", "signal", id, "release"], 2, &["null is not of type \"object\""]);
    dev.say(&["executions", "signal", id, "release", "{\"n\": 7}", "--id", "s-1", "-o", "json"]).json();
    dev.until_stuck(id, "approval");

    // Variables.
    assert_eq!(dev.json(&["executions", "vars", "get", id]), json!({"round": 1}));
    dev.say(&["executions", "vars", "set", id, "round=2", "label=big one", "-o", "json"]).json();
    assert_eq!(dev.json(&["executions", "vars", "get", id]), json!({"round": 2, "label": "big one"}));
    assert_eq!(dev.say(&["executions", "vars", "get", id, "label"]).out, "big one\n");
    dev.refused(
        &["executions", "vars", "get", id, "rond"],
        3,
        &["no variable \"rond\"", "did you mean round?"],
    );

    // An approval: found, shown with its form, answered.
    let open = &dev.json(&["approvals", "list", "--who", "anybody"])["items"];
    assert_eq!((&open[0]["execution_id"], &open[0]["task_id"]), (&json!(id), &json!("ask")));
    assert_eq!(open[0]["title"], "Ship 7?");
    let shown = dev.say(&["approvals", "show", id]).out;
    assert!(
        shown.contains("Ship 7?") && shown.contains("note") && shown.contains("For the parcel"),
        "{shown}"
    );
    dev.refused(&["approvals", "answer", id, "--set", "note=3"], 2, &["the form breaks its schema", "/note"]);
    dev.refused(&["approvals", "approve", id, "aks"], 3, &["no task \"aks\"", "nearest: ask"]);
    dev.say(&["approvals", "answer", id, "--set", "note=fragile", "--comment", "go", "-o", "json"]).json();
    dev.until_stuck(id, "step");
    dev.refused(&["approvals", "approve", id], 3, &["asks for no approval now"]);

    // A step of an operator, and the end.
    dev.say(&["executions", "step", id, "-o", "json"]).json();
    let ended = dev.until_ended(id);
    let output = json!({"n": 7, "note": "fragile", "round": 2, "who": "ann"});
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &output), "{ended:#}");
    assert!(ended.get("stuck").is_none());
    dev.refused(&["executions", "signal", id, "release", "{\"n\": 1}"], 1, &["completed"]);
    dev.refused(&["executions", "step", id], 1, &["completed"]);

    // A fork takes over what was done before the step, with another field of the input.
    let forked = dev.json(&["executions", "fork", id, "gate", "--set", "who=bob", "--key", "f"]);
    let fork = forked["execution_id"].as_str().unwrap();
    assert_eq!(
        dev.json(&["executions", "fork", id, "gate", "--set", "who=bob", "--key", "f"])["existing"],
        true
    );
    dev.until_stuck(fork, "step");
    dev.say(&["executions", "grant", fork, "gate", "-o", "json"]).json();
    let output = &dev.until_ended(fork)["output"];
    assert_eq!((&output["note"], &output["who"]), (&json!("fragile"), &json!("bob")), "{output}");
}

#[test]
fn a_plan_is_changed_after_a_dry_run_and_changed_back() {
    let dev = Dev::start();
    let id = &dev.begin();
    dev.until_stuck(id, "signal");
    let would = dev.json(&["executions", "change", id, "better.yaml", "--dry-run"]);
    assert_eq!((&would["added"], &would["removed"]), (&json!(["more"]), &json!(["gate"])), "{would}");
    assert_eq!((&would["changed"], &would["revision"]), (&json!(["done"]), &json!(0)));
    let versions = || dev.json(&["workflows", "versions", "steered"]).as_array().map(Vec::len);
    assert_eq!(versions(), Some(1));
    let text = dev.say(&["executions", "change", id, "better.yaml", "--reason", "no gate"]);
    assert_eq!(text.out, "+ more\n- gate\n~ done\n", "{}", text.err);
    assert!(text.err.contains(&format!("back: orchestra executions revert {id} 0")), "{}", text.err);
    assert_eq!(versions(), Some(1), "the plan is the execution's own");
    let known = dev.json(&["executions", "changes", id]);
    assert_eq!((&known[1]["reason"], &known[1]["tasks"]), (&json!("no gate"), &json!(4)), "{known}");
    let back = dev.json(&["executions", "revert", id, "0", "--dry-run"]);
    assert_eq!(back["removed"], json!(["more"]));
    dev.refused(&["executions", "revert", id, "7"], 3, &["revision"]);
    dev.refused(&["executions", "change", id, "nobody@1"], 3, &["nobody"]);

    // What has begun stays as it is.
    std::fs::write(dev.path().join("none.yaml"), "name: steered\ntasks: [{id: other, transform: {a: 1}}]\n")
        .unwrap();
    dev.refused(&["executions", "change", id, "none.yaml"], 1, &["go"]);
    dev.refused(&["executions", "change", id, "none.yaml", "--dry-run"], 1, &["refused:", "conflict"]);
    std::fs::write(dev.path().join("bad.yaml"), "name: steered\ntasks: [{id: a, wiat: 3s}]\n").unwrap();
    dev.refused(&["executions", "change", id, "bad.yaml"], 4, &["did you mean `wait`?"]);

    dev.say(&["executions", "signal", id, "release", "{\"n\": 4}", "-o", "json"]).json();
    dev.until_stuck(id, "approval");
    dev.refused(&["approvals", "answer", id, "--form", "{}"], 2, &["\"note\" is a required property"]);
    dev.say(&["approvals", "approve", id, "-o", "json"]).json();
    let ended = dev.until_ended(id);
    assert_eq!(ended["output"], json!({"twice": 8}), "{ended:#}");
}

#[test]
fn a_task_waits_for_events_or_edges_and_runs_again() {
    let dev = Dev::start();
    let id = &dev.begin();
    dev.until_stuck(id, "signal");
    dev.refused(&["executions", "mode", id, "go", "--event", "orders"], 1, &["go"]);
    dev.say(&["executions", "mode", id, "gate", "--event", "orders", "-o", "json"]).json();
    dev.say(&["executions", "mode", id, "gate", "--graph", "-o", "json"]).json();
    dev.say(&["executions", "signal", id, "release", "{\"n\": 1}", "-o", "json"]).json();
    dev.until_stuck(id, "approval");
    dev.say(&["executions", "reset", id, "go", "--reason", "again", "-o", "json"]).json();
    dev.until_stuck(id, "signal");
    dev.refused(&["executions", "reset", id, "og"], 3, &["nearest: go"]);
    dev.say(&["executions", "signal", id, "release", "{\"n\": 2}", "-o", "json"]).json();
    dev.until_stuck(id, "approval");
    assert_eq!(dev.json(&["approvals", "show", id])["title"], "Ship 2?");
    dev.say(&["approvals", "reject", id, "--comment", "too big", "-o", "json"]).json();
    let ended = dev.until_ended(id);
    assert_eq!((&ended["status"], &ended["error_details"]["code"]), (&json!("failed"), &json!("rejected")));

    let nobody = "00000000-0000-7000-8000-000000000000";
    for args in [
        &["executions", "signal", nobody, "go"][..],
        &["executions", "query", nobody],
        &["executions", "changes", nobody],
        &["approvals", "show", nobody],
        &["executions", "fork", nobody],
    ] {
        dev.refused(args, 3, &[nobody]);
    }
    dev.refused(&["executions", "signal", "not-an-id", "go"], 2, &["not-an-id"]);
}

#[test]
fn what_stands_still_is_listed_by_reason_and_a_run_at_a_provider_is_signalled_and_queried_by_its_task() {
    let dev = Dev::start();
    let id = &dev.begin();
    let listed =
        |args: &[&str]| dev.json(&[&["executions", "list", "--stuck"], args].concat())["items"].clone();
    wait_for_blocking("it to be listed", PATIENCE, || {
        (listed(&["signal"])[0]["execution_id"] == **id).then_some(())
    });
    assert_eq!(listed(&[])[0]["stuck"][0]["task_id"], "go");
    assert_eq!(listed(&["approval,no_agent"]), json!([]));
    let shown = dev.say(&["executions", "list", "--stuck"]).out;
    assert!(shown.contains("FREED BY") && shown.contains("release since"), "{shown}");
    dev.refused(&["executions", "list", "--stuck", "bored"], 2, &["bored", "breaker_open"]);

    std::fs::write(
        dev.path().join("far.yaml"),
        "name: far\ntasks: [{id: there, provider: orchestra, workflow_type: steered, input: {who: eve}}]\n",
    )
    .unwrap();
    let started = dev.json(&["run", "far.yaml"]);
    let far = started["execution_id"].as_str().unwrap();
    let state = wait_for_blocking("the run there", PATIENCE, || {
        let said =
            dev.say(&["executions", "query", far, "--task", "there", "--query", "state", "-o", "json"]);
        (said.code == 0).then(|| said.json()).filter(|state| state["waits"][0]["kind"] == "signal")
    });
    assert_eq!(state["waits"][0]["what"], "release", "{state:#}");
    dev.json(&["executions", "signal", far, "release", "{\"n\": 3}", "--task", "there", "--id", "s"]);
    wait_for_blocking("the run there to go on", PATIENCE, || {
        let state = dev.json(&["executions", "query", far, "--task", "there", "--query", "state"]);
        (state["waits"][0]["kind"] == "approval").then_some(())
    });
    dev.refused(&["executions", "signal", id, "release", "--task", "go"], 1, &["is not done by a provider"]);
    dev.refused(&["executions", "query", far, "--task", "there"], 2, &["--query"]);
}
