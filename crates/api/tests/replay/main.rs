//! Logs and definitions written by earlier builds: they load, and replay to the state they had then. What the fixtures are
//! and how more are recorded stands in `tests/fixtures/README.md`. A fixture is never recorded again: a new form of the log
//! gets a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod record;
mod told;

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use base::ExecutionId;
use bytes::Bytes;
use language::{Limits, Options, Pattern, Patterns, VersionRange, compile, parse_pattern, render};
use prost::Message as _;
use workflow::{Compiled, Event, State, fold, plan::Plan};

fn fixtures(form: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(form)
}

/// The files of a form with this extension.
fn files(form: &str, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(fixtures(form)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    found
}

/// The bytes of a log; the first 16 name the execution.
fn row(path: &PathBuf) -> (ExecutionId, Bytes) {
    let bytes = Bytes::from(fs::read(path).unwrap());
    (ExecutionId::from_slice(&bytes[..16]).unwrap(), bytes.slice(16..))
}

fn replays(form: &str, least: usize, told: fn(&[State]) -> String) {
    let logs = files(form, "log");
    for path in &logs {
        let plan: Plan =
            serde_json::from_slice(&fs::read(path.with_extension("plan.json")).unwrap()).unwrap();
        let plan = Arc::new(Compiled::new(plan).unwrap());
        let (id, row) = row(path);
        let log = api::log::decode_row(row.clone(), &|_| None)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let want = fs::read_to_string(path.with_extension("txt")).unwrap();
        assert_eq!(told(&thirds(id, &plan, &log)), want, "{}", path.display());
        let (again, large) = api::log::encode_row(&log, usize::MAX);
        assert!(large.is_empty());
        assert_eq!(again, row, "{}: written again it has the same bytes", path.display());
    }
    assert!(logs.len() >= least, "{form} has only {} logs", logs.len());
}

/// The state after each third of a log.
fn thirds(id: ExecutionId, plan: &Arc<Compiled>, log: &[Event]) -> [State; 3] {
    [log.len() / 3, log.len() * 2 / 3, log.len()]
        .map(|until| fold(id, plan.clone(), &log[..until.max(1)]).unwrap())
}

#[test]
fn logs_of_the_first_form_replay_as_they_did() {
    replays("log-v1", 13, told::first);
}

#[test]
fn logs_of_the_whole_language_replay_as_they_did() {
    replays("log-v2", record::scenes().len(), told::second);
}

/// Patterns that fixtures name.
#[derive(Default)]
struct Own(Vec<Arc<Pattern>>);

impl Patterns for Own {
    fn find(&self, name: &str, range: &VersionRange) -> Option<Arc<Pattern>> {
        self.0.iter().find(|p| p.name == name && range.holds(&p.version)).cloned()
    }
}

impl Own {
    fn with(mut self, source: &str) -> Self {
        let outcome = parse_pattern(source, &Limits::default(), Some(&self));
        let pattern =
            outcome.pattern.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "pattern", source)));
        self.0.push(Arc::new(pattern));
        self
    }
}

/// The plan of a definition.
fn planned(name: &str, source: &str, own: &Own) -> Plan {
    let outcome = compile(source, &Options { patterns: Some(own), ..Options::default() });
    outcome.compiled.unwrap_or_else(|| panic!("{}", render(&outcome.findings, name, source))).plan
}

#[test]
fn definitions_of_earlier_builds_compile_to_the_tasks_they_had() {
    let texts = files("log-v2", "pattern").into_iter().map(|path| fs::read_to_string(path).unwrap());
    let own = texts.fold(Own::default(), |own, source| own.with(&source));
    let definitions = files("log-v2", "yaml");
    for path in &definitions {
        let source = fs::read_to_string(path).unwrap();
        let stored: Plan =
            serde_json::from_slice(&fs::read(path.with_extension("plan.json")).unwrap()).unwrap();
        let plan = planned(&path.display().to_string(), &source, &own);
        let ids = |plan: &Plan| plan.tasks.iter().map(|t| t.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&plan), ids(&stored), "{}", path.display());
    }
    assert!(definitions.len() >= record::scenes().len());
}

/// The fields of the oneof of an event of the log, as its contract writes them.
fn facts_of_the_contract() -> BTreeSet<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/orchestra/log/v1/log.proto");
    let text = fs::read_to_string(path).unwrap();
    let event = text.split_once("message Event {").unwrap().1.split_once("\n}").unwrap().0;
    let fields =
        event.split_once("oneof kind {").unwrap().1.lines().filter_map(|line| line.split_once(" = "));
    fields.map(|(field, _)| field.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn every_fact_of_the_log_occurs_in_a_recorded_one() {
    let mut seen = BTreeSet::new();
    for path in files("log-v1", "log").iter().chain(&files("log-v2", "log")) {
        let row = proto::log::v1::Row::decode(row(path).1).unwrap();
        // The name of a message is the first word of its debug form.
        let name = |e: &proto::log::v1::Event| {
            format!("{:?}", e.kind.as_ref().unwrap()).split(['(', ' ', '{']).next().unwrap().to_owned()
        };
        seen.extend(row.events.iter().map(name));
    }
    let never: Vec<String> = facts_of_the_contract().difference(&seen).cloned().collect();
    assert_eq!(never, Vec::<String>::new(), "record a log with each of them (tests/fixtures/README.md)");
}

#[test]
fn every_construct_and_every_example_has_a_recorded_log() {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        record::record_what_is_missing();
    }
    let missing: Vec<String> = record::scenes()
        .into_iter()
        .map(|scene| scene.name)
        .filter(|name| !record::file(name, "log").exists())
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "record them with UPDATE_FIXTURES=1 (tests/fixtures/README.md)"
    );
}
