//! Settings: one typed tree, layered from defaults, a file, the environment and flags.
//!
//! [`Config::load`] reads the layers; every value keeps its origin, so that `orchestra config` can show it.

mod alias;
mod args;
mod error;
mod layers;
mod leaf;
mod reference;
mod rules;
mod settings;
mod tree;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use self::{
    layers::{Given, Known},
    tree::{Refusal, Section as _},
};

pub use alias::{ALIASES, Alias, Unit};
pub use args::ConfigArgs;
pub use error::{ConfigError, ConfigErrors, Layer};
pub use leaf::{Backoff, Bytes, CacheStrategy, Leaf, LogFormat, PeerAddress, Secret, SecretUrl};
pub use reference::reference;
pub use settings::{
    BusSettings, CacheSettings, DatabaseSettings, ExecutorSettings, GatewaySettings, HookSettings,
    NodeSettings, PeerSettings, PlannerSettings, Ports, ProviderSettings, RegistrySettings, RetrySettings,
    ScheduleSettings, ServerSettings, SessionSettings, Settings, TelemetrySettings, TopicSettings,
};
pub use tree::Entry;

/// Names of files that are read from the working directory when none is named.
pub const DEFAULT_FILES: &[&str] = &["orchestra.toml", "orchestra.yaml", "orchestra.yml"];

/// Where the layers come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file that must exist.
    pub file: Option<PathBuf>,
    /// Folder in which a default file is looked for when `file` is unset. Unset: none is looked for.
    pub folder: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// `(flag as typed, setting or alias, value)`, the last one wins.
    pub flags: Vec<(String, String, String)>,
}

impl Sources {
    /// The process's environment and working directory. `ORCHESTRA_CONFIG` names a file, unless `file` does.
    pub fn process(file: Option<PathBuf>, flags: Vec<(String, String, String)>) -> Self {
        let env: Vec<_> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let named = env.iter().find(|(k, v)| k == "ORCHESTRA_CONFIG" && !v.is_empty());
        let file = file.or_else(|| named.map(|(_, v)| PathBuf::from(v)));
        Self { file, folder: Some(PathBuf::from(".")), env, flags }
    }
}

/// The effective settings and where each came from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    origins: BTreeMap<String, Layer>,
}

impl Config {
    /// Reads all layers and checks every rule. All errors are reported together.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut config = Self::default();
        let known = Known { leaves: config.entries().into_iter().map(|e| e.path).collect() };
        let env: BTreeMap<&str, &str> = sources.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let mut errors = Vec::new();
        let mut file_layer = Vec::new();
        if let Some(file) = sources.file.clone().or_else(|| default_file(sources.folder.as_deref())) {
            layers::read_file(&file, &known, &mut file_layer, &mut errors);
        }
        let (mut env_layer, mut flag_layer) = (Vec::new(), Vec::new());
        layers::read_env(&sources.env, &known, &mut env_layer, &mut errors);
        layers::read_flags(&sources.flags, &known, &mut flag_layer, &mut errors);
        for layer in [file_layer, env_layer, flag_layer] {
            layers::contradictions(&layer, &mut errors);
            for given in layer {
                config.apply(given, &env, &mut errors);
            }
        }
        for mut broken in config.settings.broken_rules() {
            broken.layer = config.origin(&broken.key).clone();
            errors.push(broken);
        }
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// Settings made by a program, with `Program` as the origin of what differs from the default.
    pub fn from_settings(settings: Settings) -> Self {
        let mut config = Self { settings, origins: BTreeMap::new() };
        let defaults = Self::default().entries();
        let changed = config.entries().into_iter().zip(defaults).filter(|(a, b)| a.value != b.value);
        config.origins = changed.map(|(a, _)| (a.path, Layer::Program)).collect();
        config
    }

    fn apply(&mut self, given: Given, env: &BTreeMap<&str, &str>, errors: &mut Vec<ConfigError>) {
        let Given { path, mut value, layer } = given;
        let wrong = |rule: String, remedy: String| ConfigError {
            layer: layer.clone(),
            key: path.clone(),
            rule,
            remedy,
        };
        if let Err(rule) = layers::substitute(&mut value, env) {
            errors.push(wrong(rule, "set the variable, or write `$$` for a dollar sign".into()));
            return;
        }
        let segments: Vec<&str> = path.split('.').collect();
        match self.settings.set(&segments, &value) {
            Ok(()) => {
                self.origins.insert(path, layer);
            }
            Err(Refusal::Rule(rule)) => {
                let default = self.default_of(&path);
                errors.push(wrong(
                    format!("{rule}, not {}", leaf::mask_url(&leaf::plain(&value))),
                    format!("the default is {default}"),
                ));
            }
            // Layers hold known paths only; a gap in that is still better told than lost.
            Err(Refusal::Unknown) => errors.push(wrong("is not a setting".into(), "remove it".into())),
        }
    }

    fn default_of(&self, path: &str) -> String {
        let defaults = Self::default().entries();
        defaults.iter().find(|e| e.path == path).map_or_else(String::new, |e| leaf::plain(&e.value))
    }

    /// Every setting with its effective value (unmasked).
    pub fn entries(&self) -> Vec<Entry> {
        let mut out = Vec::new();
        self.settings.entries("", &mut out);
        out
    }

    /// Every setting with its effective value, passwords in URLs masked.
    pub fn masked_entries(&self) -> Vec<Entry> {
        let mut entries = self.entries();
        for entry in &mut entries {
            if let serde_json::Value::String(text) = &mut entry.value {
                *text = leaf::mask_url(text);
            }
        }
        entries
    }

    /// Where the value of the setting at `path` came from.
    pub fn origin(&self, path: &str) -> &Layer {
        self.origins.get(path).unwrap_or(&Layer::Default)
    }

    /// The effective tree as TOML, each value with its origin; passwords in URLs are `****` when `masked`.
    pub fn render(&self, masked: bool) -> String {
        let mut out = String::new();
        let mut section = String::new();
        for entry in self.entries() {
            let (head, key) = entry.path.split_once('.').unwrap_or(("", &entry.path));
            if head != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{gap}[{head}]");
                section = head.to_owned();
            }
            let value = match &entry.value {
                serde_json::Value::Null => "\"none\"".to_owned(),
                serde_json::Value::String(text) if masked => {
                    serde_json::Value::from(leaf::mask_url(text)).to_string()
                }
                other => other.to_string(),
            };
            let line = format!("{key} = {value}");
            let _ = writeln!(out, "{line:<48} # {}", self.origin(&entry.path));
        }
        out
    }
}

fn default_file(folder: Option<&Path>) -> Option<PathBuf> {
    let folder = folder?;
    DEFAULT_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}
