//! Reads each layer into a flat list of (setting, value, origin); a later one wins.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    alias::{self, Unit},
    error::{ConfigError, Layer},
    leaf::plain,
};

/// A value that some layer gives to a setting.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub path: String,
    pub value: Value,
    pub layer: Layer,
}

/// Largest settings file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Names known to the reader of a layer.
pub(crate) struct Known {
    pub leaves: Vec<String>,
}

impl Known {
    fn is_leaf(&self, path: &str) -> bool {
        self.leaves.iter().any(|l| l == path)
    }
    fn is_section(&self, path: &str) -> bool {
        self.leaves.iter().any(|l| l.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
    }
    pub(crate) fn unknown(&self, layer: Layer, name: &str) -> ConfigError {
        let first = name.split('.').next().unwrap_or(name);
        if alias::NOT_YET.contains(&first) || alias::NOT_YET.contains(&name) {
            return ConfigError {
                layer,
                key: name.into(),
                rule: "belongs to a service that this build does not have".into(),
                remedy: "remove it".into(),
            };
        }
        let names = self.leaves.iter().map(String::as_str).chain(alias::ALIASES.iter().map(|a| a.name));
        let remedy = match alias::nearest(name, names) {
            Some(near) => format!("did you mean {near}?"),
            None => "`orchestra config` lists every setting".into(),
        };
        ConfigError { layer, key: name.into(), rule: "is not a setting".into(), remedy }
    }
}

/// Reads a TOML, YAML or JSON file, by extension.
pub(crate) fn read_file(path: &Path, known: &Known, out: &mut Vec<Given>, errors: &mut Vec<ConfigError>) {
    let wrong = |rule: String, remedy: &str| ConfigError {
        layer: Layer::File(path.to_owned(), String::new()),
        key: "file".into(),
        rule,
        remedy: remedy.into(),
    };
    let tree = match parse_file(path) {
        Ok(Value::Object(tree)) => tree,
        Ok(Value::Null) => return,
        Ok(_) => {
            errors.push(wrong("must be a table of settings".into(), "see docs/configuration.md"));
            return;
        }
        Err((rule, remedy)) => {
            errors.push(wrong(rule, remedy));
            return;
        }
    };
    walk(path, "", tree, known, out, errors);
}

fn parse_file(path: &Path) -> Result<Value, (String, &'static str)> {
    let size = std::fs::metadata(path).map_err(|e| (format!("cannot be read: {e}"), "check the path"))?.len();
    if size > FILE_BYTES_MAX {
        return Err((format!("has {size} bytes, more than {FILE_BYTES_MAX}"), "is this the right file?"));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|e| (format!("cannot be read: {e}"), "check the path and its permissions"))?;
    let first_line = |e: String| e.trim_end().replace('\n', " ");
    match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|e| (first_line(e.to_string()), "correct the TOML")),
        Some("yaml" | "yml") => {
            serde_saphyr::from_str(&text).map_err(|e| (first_line(e.to_string()), "correct the YAML"))
        }
        Some("json") => {
            serde_json::from_str(&text).map_err(|e| (first_line(e.to_string()), "correct the JSON"))
        }
        _ => Err(("has an unknown extension".into(), "name it .toml, .yaml or .json")),
    }
}

fn walk(
    file: &Path,
    prefix: &str,
    tree: Map<String, Value>,
    known: &Known,
    out: &mut Vec<Given>,
    errors: &mut Vec<ConfigError>,
) {
    for (key, value) in tree {
        let name = format!("{prefix}{key}");
        let layer = || Layer::File(PathBuf::from(file), name.clone());
        if known.is_leaf(&name) {
            out.push(Given { path: name.clone(), value, layer: layer() });
        } else if let Some(alias) = alias::find(&name).filter(|a| a.name == name) {
            out.push(Given { path: alias.path.into(), value: with_unit(value, alias.unit), layer: layer() });
        } else {
            let nested = known.is_section(&name)
                || alias::ALIASES.iter().any(|a| a.name.starts_with(&format!("{name}.")));
            match value {
                Value::Object(below) if nested => {
                    walk(file, &format!("{name}."), below, known, out, errors);
                }
                Value::Null if nested => {}
                _ if nested => errors.push(ConfigError {
                    layer: layer(),
                    key: name.clone(),
                    rule: "must be a table of settings".into(),
                    remedy: "see docs/configuration.md".into(),
                }),
                _ => errors.push(known.unknown(layer(), &name)),
            }
        }
    }
}

/// Reads `ORCHESTRA__SECTION__KEY` and the sources' own names; other variables are not ours.
pub(crate) fn read_env(
    env: &[(String, String)],
    known: &Known,
    out: &mut Vec<Given>,
    errors: &mut Vec<ConfigError>,
) {
    for (name, text) in env {
        let layer = Layer::Env(name.clone());
        let value = Value::from(text.clone());
        if let Some(path) = name.strip_prefix("ORCHESTRA__") {
            let path = path.to_ascii_lowercase().replace("__", ".");
            if known.is_leaf(&path) {
                out.push(Given { path, value, layer });
            } else {
                errors.push(known.unknown(layer, &path));
            }
        } else if let Some(alias) = alias::find(name) {
            // An empty variable is how shells and compose files write "not set".
            if !text.is_empty() {
                out.push(Given { path: alias.path.into(), value: with_unit(value, alias.unit), layer });
            }
        }
    }
}

/// Reads `(flag, name or alias, value)`.
pub(crate) fn read_flags(
    flags: &[(String, String, String)],
    known: &Known,
    out: &mut Vec<Given>,
    errors: &mut Vec<ConfigError>,
) {
    for (flag, name, text) in flags {
        let layer = Layer::Flag(flag.clone());
        let value = Value::from(text.clone());
        match (known.is_leaf(name), alias::find(name)) {
            (true, _) => out.push(Given { path: name.clone(), value, layer }),
            (_, Some(a)) => out.push(Given { path: a.path.into(), value: with_unit(value, a.unit), layer }),
            _ => errors.push(known.unknown(layer, name)),
        }
    }
}

/// Two names of one layer that set the same setting to different values: nobody can say which is meant.
pub(crate) fn contradictions(given: &[Given], errors: &mut Vec<ConfigError>) {
    let mut seen: BTreeMap<&str, &Given> = BTreeMap::new();
    for next in given {
        let Some(first) = seen.insert(&next.path, next) else { continue };
        if plain(&first.value) != plain(&next.value) && !matches!(next.layer, Layer::Flag(_)) {
            errors.push(ConfigError {
                layer: next.layer.clone(),
                key: next.path.clone(),
                rule: format!("is set to another value by {}", first.layer),
                remedy: "keep one of them".into(),
            });
        }
    }
}

/// Gives a bare number the unit of its alias.
fn with_unit(value: Value, unit: Unit) -> Value {
    let Some(suffix) = unit.suffix() else { return value };
    let text = match &value {
        Value::Number(n) => n.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return value,
    };
    // `${VAR}` gets its unit as well: the alias says what the number counts.
    let bare = text.parse::<f64>().is_ok() || (text.starts_with("${") && text.ends_with('}'));
    if bare { Value::from(format!("{text}{suffix}")) } else { Value::from(text) }
}

/// Replaces `${VAR}` by the variable's value and `$$` by `$`, in every text of `value`.
pub(crate) fn substitute(value: &mut Value, env: &BTreeMap<&str, &str>) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('$') => {
            *text = substitute_text(text, env)?;
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| substitute(item, env)),
        _ => Ok(()),
    }
}

fn substitute_text(text: &str, env: &BTreeMap<&str, &str>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let end = tail.find('}').ok_or("has `${` without `}` (write `$$` for a dollar sign)")?;
            let name = &tail[..end];
            let value = env.get(name).ok_or_else(|| format!("names ${{{name}}}, which is not set"))?;
            out.push_str(value);
            rest = &tail[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}
