//! What is said is on disk: seen from the kernel's side, by the system calls of the one process.

use std::{collections::HashMap, fs, path::Path, process::Command, time::Duration};

use agent::Effect;
use harness::{Act, Shape, System, TestAgent};
use serde_json::json;
use testkit::{unique_name, wait_for};

/// What a traced process did, as far as this test cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    /// Read a start of a client.
    Asked,
    /// A sync of the executor's database file came back.
    Synced,
    /// Sent a call to the agent.
    Called,
    /// Wrote an answer with the result to a client.
    Answered,
}

/// Three executions one after another, each waited for: the call leaves after a sync, and the answer after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_or_acknowledged_before_it_is_synced_to_disk() {
    assert!(Command::new("strace").arg("-V").output().is_ok(), "strace is missing: apt-get install strace");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls");
    let shown = file.to_string_lossy().into_owned();
    let calls = "trace=fsync,fdatasync,read,recvfrom,write,writev,sendto,sendmsg";
    let strace = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-q",
        "-s",
        "1024",
        "-o",
        shown.as_str(),
        "-e",
        calls,
        "-e",
        "signal=none",
    ];
    let system = tokio::task::block_in_place(|| System::start_by(&strace, Shape::OneProcess, &[]));
    let _logs = system.shown_on_failure();
    let api = system.api();
    let agent = TestAgent::start(&api, Effect::Idempotent, |_| Act::Answer(json!("it is done"))).await;
    let name = unique_name("traced");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    api.run(&name, &json!({})).await;

    let before = fs::metadata(&file).map_or(0, |m| m.len());
    let runs = 3;
    for _ in 0..runs {
        let got = api.post(&format!("/workflows/{name}/execute?wait=60s"), &json!({"input": {}})).await;
        assert_eq!(got.expect(200)["status"], "completed");
    }
    let all = wait_for("the trace to be written", Duration::from_secs(30), async || {
        let seen = read(&file, before);
        (seen.iter().filter(|did| **did == Did::Answered).count() >= runs).then_some(seen)
    })
    .await;
    let asked: Vec<usize> = (0..all.len()).filter(|n| all[*n] == Did::Asked).collect();
    assert_eq!(asked.len(), runs, "{all:?}");
    for &from in &asked {
        let after =
            |from: usize, what: Did| all[from..].iter().position(|did| *did == what).map(|n| from + n);
        let called = after(from, Did::Called).expect("the agent is called");
        let answered = after(from, Did::Answered).expect("the client is answered");
        assert!(all[from..called].contains(&Did::Synced), "called before it was on disk: {all:?}");
        assert!(all[called..answered].contains(&Did::Synced), "acknowledged before it was on disk: {all:?}");
    }
}

/// Reads a trace from a byte on. A call that another thread interrupts is written in two lines, the second of which
/// names no file: it counts when it ends, for the file of the first.
fn read(file: &Path, from: u64) -> Vec<Did> {
    let bytes = fs::read(file).unwrap_or_default();
    let text =
        String::from_utf8_lossy(&bytes[usize::try_from(from).unwrap().min(bytes.len())..]).into_owned();
    // The head of the first request on a connection comes in two reads.
    let start = "/execute?wait=60s HTTP/1.1";
    let mut open: HashMap<&str, bool> = HashMap::new();
    let mut all = Vec::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let begun = call.starts_with("fsync(") || call.starts_with("fdatasync(");
        let ours = call.contains("executor");
        let did = if begun && call.ends_with("<unfinished ...>") {
            open.insert(thread, ours);
            None
        } else if begun {
            (ours && call.ends_with("= 0")).then_some(Did::Synced)
        } else if call.starts_with("<... fsync resumed>") || call.starts_with("<... fdatasync resumed>") {
            (open.remove(thread) == Some(true) && call.ends_with("= 0")).then_some(Did::Synced)
        } else if call.contains(start) {
            Some(Did::Asked)
        } else if call.contains("SendMessage") || call.contains("SendStreamingMessage") || is_call(call) {
            Some(Did::Called)
        } else if is_send(call) && call.contains("HTTP/1.1 200") && call.contains(r#"\"completed\""#) {
            Some(Did::Answered)
        } else {
            None
        };
        all.extend(did);
    }
    all
}

fn is_send(call: &str) -> bool {
    ["write(", "writev(", "sendto(", "sendmsg("].iter().any(|name| call.starts_with(name))
}

/// A request to an agent: the gateway itself sends none.
fn is_call(call: &str) -> bool {
    is_send(call) && call.contains("\"POST / HTTP/1.1")
}
