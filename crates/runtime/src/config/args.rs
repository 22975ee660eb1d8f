//! The flags that every binary has for its settings.

use std::path::PathBuf;

use super::{Config, ConfigErrors, Sources};

/// Flags for settings, to be flattened into a command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Settings file (TOML, YAML or JSON). Default: orchestra.toml in the working directory, if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Sets one setting, e.g. `--set executor.shards=16`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true, value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Address that every listener binds to (server.host).
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub host: Option<String>,
    /// Log level or directives (telemetry.log_level).
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
    /// auto, pretty or json (telemetry.log_format).
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, e.g. executor.shards=16")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl ConfigArgs {
    /// Where the layers come from: these flags over the process's environment and files.
    pub fn sources(&self) -> Sources {
        let mut flags = Vec::new();
        for (flag, path, value) in [
            ("--host", "server.host", &self.host),
            ("--log-level", "telemetry.log_level", &self.log_level),
            ("--log-format", "telemetry.log_format", &self.log_format),
        ] {
            if let Some(value) = value {
                flags.push((flag.to_owned(), path.to_owned(), value.clone()));
            }
        }
        for (key, value) in &self.set {
            flags.push((format!("--set {key}"), key.clone(), value.clone()));
        }
        Sources::process(self.config.clone(), flags)
    }

    /// Reads all layers.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.sources())
    }
}
