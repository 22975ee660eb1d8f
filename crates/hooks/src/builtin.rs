//! The pure halves of the built-in functions.

use std::collections::BTreeMap;

use base::{AgentId, Tenant};
use serde_json::{Value, json};

use crate::{Answer, Builtin, Decision, net};

/// The `name=value` arguments of a built-in function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(BTreeMap<String, String>);

impl Args {
    /// Reads them, with the rules of `function`.
    ///
    /// # Errors
    /// The rule that is broken, and the names that there are.
    pub fn read(function: Builtin, args: &[String]) -> Result<Self, String> {
        let mut read = BTreeMap::new();
        for arg in args {
            let (name, value) = arg.split_once('=').ok_or_else(|| format!("{arg:?} must be name=value"))?;
            if !function.args().contains(&name) {
                let known = function.args().join(", ");
                return Err(format!("{name:?} is no argument of {}; there are: {known}", function.as_str()));
            }
            if read.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        let args = Self(read);
        args.check(function).map(|()| args)
    }

    fn check(&self, function: Builtin) -> Result<(), String> {
        let need = |name: &str| match self.get(name) {
            Some(value) if !value.is_empty() => Ok(()),
            _ => Err(format!("{} needs {name}=…", function.as_str())),
        };
        let one_of = |name: &str, words: &[&str]| match self.get(name) {
            Some(word) if !words.contains(&word) => {
                Err(format!("{name} must be one of {}", words.join(", ")))
            }
            _ => Ok(()),
        };
        match function {
            Builtin::FileValidation => {
                self.number::<u64>("max_bytes")?;
                one_of("format", &["bytes", "text", "json", "yaml"])?;
                self.one_place()
            }
            Builtin::Formatter if self.get("field").is_some() => {
                need("language")?;
                self.one_place()
            }
            Builtin::Formatter => self.one_place(),
            Builtin::SecurityCheck => need("allow"),
            Builtin::MemoryUpdate => need("key"),
            Builtin::Notify => need("url").and_then(|()| net::check_url(self.get("url").unwrap_or_default())),
            Builtin::AssignAgent => {
                let cost = self.number::<f64>("max_cost")?;
                if cost.is_some_and(|c| !c.is_finite() || c < 0.0) {
                    return Err("max_cost must be 0 or more".into());
                }
                one_of("prefer", &["cost", "score"])
            }
            Builtin::SearchCacheLookup
            | Builtin::SearchCacheFill
            | Builtin::SessionSave
            | Builtin::SessionRestore => Ok(()),
        }
    }

    fn one_place(&self) -> Result<(), String> {
        match (self.get("path"), self.get("field")) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err(
                "give path=PLACE (where the document names a file) or field=PLACE (where it holds a text)"
                    .into(),
            ),
        }
    }

    /// An argument.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A list, separated by commas.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let text = self.get(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
    }

    /// A number.
    ///
    /// # Errors
    /// It is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let read = |text: &str| text.parse().map_err(|_| format!("{name} must be a number"));
        self.get(name).map(read).transpose()
    }
}

/// The value at a dotted place of the document: `input.path`, `task.output.files.0`.
pub fn at<'a>(document: &'a Value, place: &str) -> Option<&'a Value> {
    place.split('.').try_fold(document, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

/// What a checked file must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRules<'a> {
    /// Largest size.
    pub bytes_max: u64,
    /// Allowed extensions, without dot; empty = any.
    pub types: Vec<&'a str>,
    /// `bytes`, `text` (UTF-8), `json` or `yaml`; `None` = by extension, else text.
    pub format: Option<&'a str>,
}

/// The extension of a path, in small letters.
pub fn extension(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, e)| e.to_ascii_lowercase())
}

/// Checks a file's name and size, before it is read.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(rules: &FileRules<'_>, path: &str, bytes: u64) -> Result<(), String> {
    if bytes > rules.bytes_max {
        return Err(format!("{path} has {bytes} bytes, at most {} are allowed", rules.bytes_max));
    }
    let found = extension(path);
    if rules.types.is_empty() || found.as_deref().is_some_and(|e| rules.types.contains(&e)) {
        return Ok(());
    }
    Err(format!("{path} is not of an allowed type: {}", rules.types.join(", ")))
}

/// Checks a file's content.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check_content(rules: &FileRules<'_>, path: &str, content: &[u8]) -> Result<(), String> {
    let found = extension(path);
    let format = rules.format.unwrap_or(match found.as_deref() {
        Some("json") => "json",
        Some("yaml" | "yml") => "yaml",
        _ => "text",
    });
    if format == "bytes" {
        return Ok(());
    }
    let text = std::str::from_utf8(content)
        .map_err(|e| format!("{path} is not UTF-8 text: byte {} is wrong", e.valid_up_to()))?;
    match format {
        "json" => serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map(drop)
            .map_err(|e| format!("{path} is not JSON: {e}")),
        "yaml" => serde_saphyr::from_str::<serde::de::IgnoredAny>(text)
            .map(drop)
            .map_err(|e| format!("{path} is not YAML: {e}")),
        _ => Ok(()),
    }
}

/// Characters by which a shell does more than run one program.
const SHELL: &[char] = &[
    ';', '|', '&', '$', '`', '<', '>', '(', ')', '{', '}', '*', '?', '[', ']', '~', '\\', '"', '\'', '!', '#',
];

/// Whether a command (a text, or a list of program and arguments) runs an allowed program and nothing else. An allowed
/// name with a slash means exactly that path, one without means that name without a path.
///
/// # Errors
/// Why not.
pub fn check_command(command: &Value, allow: &[&str]) -> Result<(), String> {
    let program = match command {
        Value::String(text) => {
            if let Some(found) = text.chars().find(|c| SHELL.contains(c) || c.is_control()) {
                return Err(format!(
                    "the command holds {found:?}, which a shell would read as more than a word"
                ));
            }
            text.split_whitespace().next()
        }
        Value::Array(words) => {
            if words.iter().any(|word| !word.is_string()) {
                return Err("the command's words must be texts".into());
            }
            words.first().and_then(Value::as_str)
        }
        _ => return Err("the command must be a text or a list of texts".into()),
    };
    match program {
        None | Some("") => Err("the command is empty".into()),
        Some(program) if allow.contains(&program) => Ok(()),
        Some(program) => Err(format!("{program} is not an allowed program; allowed: {}", allow.join(", "))),
    }
}

/// An agent that could take a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The agent.
    pub agent: AgentId,
    /// Price of one call.
    pub cost: f64,
    /// 0 to 100.
    pub score: u8,
}

/// The agent to prefer: within `max_cost`, the cheapest and then the best, or the other way round by `prefer=score`.
pub fn assign(offers: &[Offer], args: &Args) -> Answer {
    let max = args.number::<f64>("max_cost").ok().flatten().unwrap_or(f64::INFINITY);
    let by_score = args.get("prefer") == Some("score");
    let fitting = offers.iter().filter(|offer| offer.cost <= max);
    let best = fitting.min_by(|a, b| {
        let (cost, score) = (a.cost.total_cmp(&b.cost), b.score.cmp(&a.score));
        let order = if by_score { score.then(cost) } else { cost.then(score) };
        order.then_with(|| a.agent.as_str().cmp(b.agent.as_str()))
    });
    match best {
        None => Answer {
            decision: Decision::Warn,
            message: format!("none of {} agents that can do it costs at most {max}", offers.len()),
            ..Answer::default()
        },
        Some(offer) => {
            let message = format!("{} costs {} and scores {}", offer.agent, offer.cost, offer.score);
            let mut answer = Answer::allow(message);
            answer.set.agent = Some(offer.agent.to_string());
            answer
        }
    }
}

/// The name of a search in the cache: the same input of the same capability of the same tenant.
pub fn search_key(tenant: &Tenant, capability: &str, input: &Value) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [tenant.as_str(), capability] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.update(input.to_string().as_bytes());
    hasher.finalize().into()
}

/// What `notify` posts: a line of text, which chat webhooks show, and the document.
pub fn notice(document: &Value) -> Value {
    let text = |place: &str| at(document, place).and_then(Value::as_str).unwrap_or_default();
    let mut line = format!("execution {}: {}", text("execution.id"), text("event.type"));
    for place in ["event.data.status", "task.id", "task.status", "event.data.message"] {
        if !text(place).is_empty() {
            line.push_str(" · ");
            line.push_str(text(place));
        }
    }
    json!({"text": line, "document": document})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(function: Builtin, args: &[&str]) -> Result<Args, String> {
        Args::read(function, &args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_checked_when_the_hook_is_stored() {
        for (function, given, ok) in [
            (Builtin::SecurityCheck, &["allow=git,cargo", "field=input.command"][..], true),
            (Builtin::SecurityCheck, &[], false),
            (Builtin::SecurityCheck, &["allow=git", "allow=ls"], false),
            (Builtin::FileValidation, &["path=input.path", "max_bytes=10", "format=json"], true),
            (Builtin::FileValidation, &["path=input.path", "max_bytes=ten"], false),
            (Builtin::FileValidation, &["path=input.path", "format=xml"], false),
            (Builtin::FileValidation, &["path=a", "field=b"], false),
            (Builtin::Formatter, &["field=input.text"], false),
            (Builtin::Formatter, &["field=input.text", "language=rs"], true),
            (Builtin::Notify, &["url=ftp://x"], false),
            (Builtin::AssignAgent, &["max_cost=-1"], false),
            (Builtin::AssignAgent, &["max_cost=0.5", "prefer=score"], true),
            (Builtin::SearchCacheLookup, &["x"], false),
        ] {
            assert_eq!(args(function, given).is_ok(), ok, "{function:?} {given:?}");
        }
    }

    #[test]
    fn a_command_runs_an_allowed_program_and_nothing_else() {
        let allow = ["git", "/usr/bin/make"];
        for (command, ok) in [
            (json!("git status"), true),
            (json!("/usr/bin/make all"), true),
            (json!(["git", "commit", "-m", "a; b"]), true),
            (json!("/tmp/git status"), false),
            (json!("make all"), false),
            (json!("git status; rm -rf /"), false),
            (json!("git log | sh"), false),
            (json!("git $(id)"), false),
            (json!("git\nid"), false),
            (json!(""), false),
            (json!([]), false),
            (json!([1]), false),
            (json!({}), false),
        ] {
            assert_eq!(check_command(&command, &allow).is_ok(), ok, "{command}");
        }
    }

    #[test]
    fn files_are_checked_by_name_size_and_content() {
        let rules = |format| FileRules { bytes_max: 10, types: vec!["json", "rs"], format };
        assert!(check_name(&rules(None), "a/b.rs", 10).is_ok());
        assert!(check_name(&rules(None), "a/b.RS", 10).is_ok());
        assert!(check_name(&rules(None), "a/b.rs", 11).is_err());
        assert!(check_name(&rules(None), "a/b.sh", 1).is_err());
        assert!(check_name(&rules(None), "a.rs/b", 1).is_err());
        for (format, path, content, ok) in [
            (None, "x.json", &b"{\"a\": 1}"[..], true),
            (None, "x.json", b"{", false),
            (None, "x.rs", b"fn", true),
            (None, "x.rs", b"\xff", false),
            (Some("bytes"), "x.rs", b"\xff", true),
            (Some("yaml"), "x", b"a: [1, 2]", true),
            (Some("yaml"), "x", b"a: [1, 2", false),
        ] {
            assert_eq!(check_content(&rules(format), path, content).is_ok(), ok, "{path} {format:?}");
        }
    }

    #[test]
    fn the_agent_is_chosen_by_cost_or_by_score() {
        let offer = |id: &str, cost, score| Offer { agent: AgentId::new(id).unwrap(), cost, score };
        let offers = [offer("dear", 3.0, 99), offer("cheap", 1.0, 50), offer("good", 1.0, 80)];
        let chosen = |given: &[&str]| assign(&offers, &args(Builtin::AssignAgent, given).unwrap()).set.agent;
        assert_eq!(chosen(&[]).as_deref(), Some("good"));
        assert_eq!(chosen(&["prefer=score"]).as_deref(), Some("dear"));
        assert_eq!(chosen(&["prefer=score", "max_cost=2"]).as_deref(), Some("good"));
        assert_eq!(chosen(&["max_cost=0.5"]), None);
    }

    #[test]
    fn places_and_search_keys() {
        let document = json!({"input": {"files": ["a", "b"]}});
        assert_eq!(at(&document, "input.files.1"), Some(&json!("b")));
        assert_eq!(at(&document, "input.nothing.1"), None);
        let tenant = Tenant::default();
        let key = |capability: &str, input: Value| search_key(&tenant, capability, &input);
        assert_eq!(key("s", json!({"q": 1})), key("s", json!({"q": 1})));
        assert_ne!(key("s", json!({"q": 1})), key("s", json!({"q": 2})));
        assert_ne!(key("s", json!({"q": 1})), key("t", json!({"q": 1})));
        assert_ne!(search_key(&Tenant::new("acme").unwrap(), "s", &json!(1)), key("s", json!(1)));
    }

    #[test]
    fn a_notice_names_what_happened() {
        let document = json!({"execution": {"id": "E"}, "event": {"type": "workflow.status_changed", "data": {"status": "failed"}}});
        assert_eq!(notice(&document)["text"], "execution E: workflow.status_changed · failed");
    }
}
