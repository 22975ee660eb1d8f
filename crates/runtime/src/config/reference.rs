//! The settings reference, generated from the tree.

use std::fmt::Write as _;

use super::{Config, alias::ALIASES, leaf::plain, tree::Entry};

const HEAD: &str = "# Settings

<!-- Generated from the code: `UPDATE_DOCS=1 cargo test -p orchestra-runtime` rewrites this page. -->

One typed tree for all services. Layers, each winning over the one before:

1. defaults
2. a file: `--config FILE`, else `ORCHESTRA_CONFIG`, else `orchestra.toml` (or `.yaml`) in the working directory;
   TOML, YAML or JSON by extension, at most 1 MiB
3. the environment: `ORCHESTRA__EXECUTOR__SHARDS=64` sets `executor.shards`; the names under
   [Names from elsewhere](#names-from-elsewhere) work as they stand
4. flags: `--set executor.shards=64`, `--host`, `--log-level`, `--log-format`

`${VAR}` inside a value is replaced by the environment variable and is an error when it is not set; `$$` is a dollar
sign. Unknown keys are errors, and so are two names of one layer that give one setting different values.
`orchestra config` prints the effective tree with the origin of each value; passwords are masked.

Durations carry a unit (`250ms`, `30s`, `5m`, `24h`, `7d`); sizes are bytes or carry one (`64KB`, `8MB`; 1 KB is 1024).
`none` unsets what can be unset.
";

const ALIASES_HEAD: &str = "
## Names from elsewhere

Accepted in the environment and at the top of a file (a dot is nesting in a file, `_` in the environment). A bare
number counts the unit named here; with a unit (`30s`) it is taken as it is. An empty variable counts as not set.

| name | setting | bare number |
|---|---|---|
";

/// The page `docs/configuration.md`.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    let mut section = String::new();
    for entry in Config::default().entries() {
        let (head, key) = entry.path.split_once('.').unwrap_or(("", &entry.path));
        if head != section {
            let _ = write!(out, "\n## {head}\n\n| setting | default | meaning |\n|---|---|---|\n");
            section = head.to_owned();
        }
        let _ = writeln!(out, "| `{key}` | {} | {} |", shown_default(&entry), meaning(&entry));
    }
    out.push_str(ALIASES_HEAD);
    for alias in ALIASES {
        let unit = alias.unit.suffix().unwrap_or("–");
        let _ = writeln!(out, "| `{}` | `{}` | {unit} |", alias.name, alias.path);
    }
    out
}

fn shown_default(entry: &Entry) -> String {
    match &entry.value {
        serde_json::Value::Null => "unset".into(),
        serde_json::Value::Array(items) if items.is_empty() => "empty".into(),
        value => format!("`{}`", plain(value)),
    }
}

fn meaning(entry: &Entry) -> String {
    let range = entry.range.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
    let doc = entry.doc.replace('|', "\\|");
    format!("{doc} *{}{range}*", entry.kind.replace('|', "\\|"))
}
