//! The input of an execution, from the command line.

use clap::Args;
use serde_json::{Map, Value};

use crate::{exit::Failure, files};

/// Where the input comes from.
#[derive(Debug, Default, Args)]
pub(crate) struct InputArgs {
    /// Input as JSON.
    #[arg(long, short, value_name = "JSON", conflicts_with = "input_file")]
    input: Option<String>,
    /// File with the input, JSON or YAML; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    input_file: Option<String>,
    /// Sets one field of the input; a dot goes deeper. The value is JSON, or else a text. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl InputArgs {
    /// The input; without any of the flags an empty object.
    pub(crate) fn read(&self) -> Result<Value, Failure> {
        let input = match (&self.input, &self.input_file) {
            (Some(text), _) => given("--input", text)?,
            (None, Some(file)) => read_file(file)?,
            (None, None) => Value::Object(Map::new()),
        };
        self.read_onto(input)
    }
    /// None of the flags is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_none() && self.input_file.is_none() && self.set.is_empty()
    }
    /// Only fields are set: what else the input is stands elsewhere.
    pub(crate) fn only_sets(&self) -> bool {
        self.input.is_none() && self.input_file.is_none()
    }
    /// `input` with the fields that are set.
    pub(crate) fn read_onto(&self, input: Value) -> Result<Value, Failure> {
        with_sets(input, &self.set)
    }
}

/// The form that answers a question.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("filled").required(true).multiple(true))]
pub(crate) struct FormArgs {
    /// The form as JSON.
    #[arg(long, value_name = "JSON", conflicts_with = "form_file", group = "filled")]
    form: Option<String>,
    /// File with the form, JSON or YAML; `-` reads standard input.
    #[arg(long, value_name = "FILE", group = "filled")]
    form_file: Option<String>,
    /// Sets one field of the form; a dot goes deeper. The value is JSON, or else a text. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", group = "filled")]
    set: Vec<String>,
}

impl FormArgs {
    /// The form.
    pub(crate) fn read(&self) -> Result<Value, Failure> {
        let form = match (&self.form, &self.form_file) {
            (Some(text), _) => given("--form", text)?,
            (None, Some(file)) => read_file(file)?,
            (None, None) => Value::Object(Map::new()),
        };
        with_sets(form, &self.set)
    }
}

fn given(flag: &str, text: &str) -> Result<Value, Failure> {
    json(text).map_err(|e| {
        Failure::usage(format!("{flag} is not JSON: {e}")).remedy(format!("quote it: {flag} '{{\"a\": 1}}'"))
    })
}

fn with_sets(mut input: Value, sets: &[String]) -> Result<Value, Failure> {
    for assignment in sets {
        let (key, text) = assignment.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--set {assignment}: write KEY=VALUE, for example --set question='Why?'"))
        })?;
        set(&mut input, key, value(text))?;
    }
    Ok(input)
}

/// A value on the command line: JSON, or else a text.
pub(crate) fn value(text: &str) -> Value {
    json(text).unwrap_or_else(|_| Value::from(text))
}

fn json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// A JSON or YAML file as a value.
pub(crate) fn read_file(file: &str) -> Result<Value, Failure> {
    let text = files::read(file)?;
    let not_json = match json(&text) {
        Ok(value) => return Ok(value),
        Err(cause) => cause,
    };
    if file.ends_with(".json") {
        let place = format!("{file}:{}:{}", not_json.line(), not_json.column());
        return Err(Failure::usage(format!("{place}: is not JSON: {not_json}")));
    }
    serde_saphyr::from_str(&text)
        .map_err(|cause| Failure::usage(format!("{file}: is neither JSON ({not_json}) nor YAML: {cause}")))
}

fn set(input: &mut Value, key: &str, value: Value) -> Result<(), Failure> {
    let mut at = input;
    for part in key.split('.') {
        if part.is_empty() {
            return Err(Failure::usage(format!("--set {key}: a name is empty")));
        }
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(map) => map.entry(part).or_insert(Value::Null),
            _ => {
                let said = format!("--set {key}: {part:?} cannot be set in something that is no object");
                return Err(Failure::usage(said));
            }
        };
    }
    *at = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args(input: Option<&str>, set: &[&str]) -> InputArgs {
        InputArgs {
            input: input.map(str::to_owned),
            input_file: None,
            set: set.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    #[test]
    fn fields_are_json_or_text_and_may_lie_deep() {
        for (input, set, want) in [
            (None, &[][..], json!({})),
            (Some("{\"a\": 1}"), &["b=2", "c=x=y"], json!({"a": 1, "b": 2, "c": "x=y"})),
            (
                None,
                &["q=Why not?", "deep.er=[1]", "deep.also=true"],
                json!({"q": "Why not?", "deep": {"er": [1], "also": true}}),
            ),
            (Some("[1]"), &[], json!([1])),
        ] {
            assert_eq!(args(input, set).read().unwrap(), want);
        }
    }

    #[test]
    fn what_cannot_be_set_names_the_field() {
        for (input, set, want) in [
            (Some("{"), &[][..], "--input is not JSON"),
            (None, &["novalue"], "--set novalue: write KEY=VALUE"),
            (Some("[1]"), &["a=1"], "--set a: \"a\" cannot be set"),
            (None, &["a..b=1"], "--set a..b: a name is empty"),
        ] {
            let said = args(input, set).read().unwrap_err().message;
            assert!(said.contains(want), "{said}");
        }
    }
}
