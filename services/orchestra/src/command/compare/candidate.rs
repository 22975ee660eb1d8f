//! What is compared: definitions, stored workflows, or one definition with several patterns.

use api::client::{Client, Source};
use serde_json::{Map, Value, json};

use crate::{
    command::validate,
    exit::{Exit, Failure},
    files, input,
    out::Out,
};

/// One of those that are compared, stored on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// As people see it.
    pub(super) name: String,
    /// `name@version`.
    pub(super) reference: String,
}

/// One that is not looked for yet.
#[derive(Debug)]
pub(super) enum Wanted {
    Stored(String),
    /// A definition, and the name of its file.
    File {
        name: String,
        source: String,
    },
    /// A definition that was made of a file and a pattern.
    Made {
        name: String,
        source: String,
    },
}

/// Reads the files and puts the patterns in.
pub(super) fn read(what: &[String], patterns: &[String]) -> Result<Vec<Wanted>, Failure> {
    if patterns.is_empty() {
        let one = |name: &String| {
            if !files::is_file(name) {
                return Ok(Wanted::Stored(name.clone()));
            }
            Ok(Wanted::File { name: name.clone(), source: files::read(name)? })
        };
        return what.iter().map(one).collect();
    }
    let [file] = what else {
        return Err(Failure::usage("--pattern takes one definition file: the patterns are put into it"));
    };
    if !files::is_file(file) {
        return Err(Failure::usage(format!(
            "--pattern takes a definition file, and {file} names a workflow"
        )));
    }
    let definition = input::read_file(file)?;
    let Value::Object(definition) = definition else {
        return Err(Failure::usage(format!("{file}: is no definition")));
    };
    patterns.iter().map(|pattern| with_pattern(&definition, pattern)).collect()
}

/// The definition with this pattern in place of its own pattern and tasks.
fn with_pattern(definition: &Map<String, Value>, given: &str) -> Result<Wanted, Failure> {
    let bad = || {
        Failure::usage(format!("--pattern {given:?}: write NAME, or NAME: {{PARAMETER: …}}"))
            .remedy("for example --pattern 'pair: {author: ann, reviewer: bob}'")
    };
    let read: Value = serde_saphyr::from_str(given).map_err(|_| bad())?;
    let (pattern, with) = match read {
        Value::String(name) => (name, json!({})),
        Value::Object(map) if map.len() == 1 => map.into_iter().next().ok_or_else(bad)?,
        _ => return Err(bad()),
    };
    if !(with.is_object() || with.is_null()) {
        return Err(bad());
    }
    let mut made = definition.clone();
    for key in ["tasks", "version", "type", "output"] {
        made.remove(key);
    }
    let named = made.get("name").and_then(Value::as_str).unwrap_or("definition");
    let plain: String = pattern.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // Without a version: that of its content, so that another try with other parameters is another version.
    let name = format!("compare-{named}-{plain}");
    made.insert("name".into(), name.into());
    made.insert("orchestration_pattern".into(), pattern.clone().into());
    made.insert("with".into(), if with.is_null() { json!({}) } else { with });
    Ok(Wanted::Made { name: pattern, source: Value::Object(made).to_string() })
}

/// Stores what is not stored yet. Names that would be the same get a number.
pub(super) async fn store(
    out: &Out,
    client: &Client,
    wanted: Vec<Wanted>,
) -> Result<Vec<Candidate>, Failure> {
    let mut all: Vec<Candidate> = Vec::with_capacity(wanted.len());
    for one in wanted {
        let (name, reference) = match one {
            Wanted::Stored(reference) => {
                let found = client.workflow(&reference).await?.reference();
                (reference, found)
            }
            Wanted::File { name, source } => {
                validate::before_sending(out, &name, &source)?;
                let defined = client.define(&Source::any(&source).named(&name)).await?;
                validate::after_storing(out, &name, &source, &defined.findings);
                (defined.workflow.name.clone(), defined.workflow.reference())
            }
            Wanted::Made { name, source } => {
                let defined = client.define(&Source::json(&source).named(&name)).await.map_err(|fault| {
                    let failure = Failure::from(fault);
                    let message = format!("with the pattern {name}: {}", failure.message);
                    let exit = if failure.findings.is_empty() { failure.exit } else { Exit::Invalid };
                    Failure { exit, message, ..failure }
                })?;
                (name, defined.workflow.reference())
            }
        };
        let taken = all
            .iter()
            .filter(|other| other.name == name || other.name.starts_with(&format!("{name} #")))
            .count();
        let name = if taken == 0 { name } else { format!("{name} #{}", taken + 1) };
        all.push(Candidate { name, reference });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pattern: &str) -> Result<Value, Failure> {
        let definition =
            json!({"name": "team", "version": "1", "agents": {"ann": {}}, "tasks": [{"id": "a"}]});
        let Value::Object(definition) = definition else { panic!("an object") };
        match with_pattern(&definition, pattern)? {
            Wanted::Made { source, .. } => Ok(serde_json::from_str(&source).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pattern_takes_the_place_of_tasks_and_has_parameters() {
        let pair = made("pair: {author: ann, reviewer: ann}").unwrap();
        assert_eq!(pair["with"], json!({"author": "ann", "reviewer": "ann"}));
        assert_eq!(
            (&pair["orchestration_pattern"], &pair["name"]),
            (&json!("pair"), &json!("compare-team-pair"))
        );
        assert!(pair.get("tasks").is_none() && pair.get("version").is_none() && pair["agents"].is_object());
        assert_eq!(made("race").unwrap()["with"], json!({}));
        assert_eq!(made("own@^1: ~").unwrap()["name"], "compare-team-own--1");
        for bad in ["[pair]", "{a: {}, b: {}}", "pair: 3", "{"] {
            assert!(made(bad).unwrap_err().message.contains("write NAME"), "{bad}");
        }
    }
}
