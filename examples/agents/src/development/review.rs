//! Reading code as a reviewer would: without running it.

use std::fs;

use agent::Failure;
use serde_json::{Value, json};

use super::{Job, Shop, code, workspace};

const LINE_MAX: usize = 400;
const FUNCTION_MAX: usize = 60;
const FORBIDDEN: [(&str, &str); 4] = [
    ("unsafe ", "unsafe code"),
    (".unwrap()", "a panic instead of an error"),
    ("todo!(", "unfinished code"),
    ("std::process::Command", "starts programs"),
];

/// What speaks against a file, as `(line, words)`.
pub fn findings(source: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut since = None;
    let lines: Vec<&str> = code.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        for (word, why) in FORBIDDEN {
            if line.contains(word) && !line.trim_start().starts_with("//") {
                out.push((n + 1, format!("{}: {why}", word.trim())));
            }
        }
        if line.chars().count() > LINE_MAX {
            out.push((n + 1, format!("longer than {LINE_MAX} characters")));
        }
        if line.starts_with("pub fn ") {
            since = Some(n);
            let documented = n > 0 && lines[n - 1].starts_with("///");
            if !documented {
                out.push((n + 1, "a public function without documentation".into()));
            }
        }
        if *line == "}" && since.take().is_some_and(|start| n - start > FUNCTION_MAX) {
            out.push((n + 1, format!("a function of more than {FUNCTION_MAX} lines")));
        }
    }
    if !source.contains("#[test]") {
        out.push((1, "no test".into()));
    }
    out
}

/// Reads every function's file of the workspace: `{approved, files, findings: [{file, line, text}]}`.
///
/// # Errors
/// When the workspace cannot be read.
pub fn review(shop: &Shop, _job: &Job, input: &Value) -> Result<Value, Failure> {
    let src = workspace::given(shop, input)?.join("src");
    let functions = code::functions(&src)?;
    let mut found = Vec::new();
    for name in &functions {
        let file = format!("{name}.rs");
        let source = fs::read_to_string(src.join(&file)).map_err(Failure::failed)?;
        found.extend(
            findings(&source)
                .into_iter()
                .map(|(line, text)| json!({"file": file, "line": line, "text": text})),
        );
    }
    Ok(json!({"approved": found.is_empty(), "files": functions.len(), "findings": found}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reviewer_names_the_line_and_the_reason() {
        let clean =
            "/// Doc.\npub fn f() {\n}\n#[cfg(test)]\nmod tests { #[test] fn t() { Some(1).unwrap(); } }\n";
        assert_eq!(findings(clean), []);
        let bad = "pub fn f() {\n    x.unwrap();\n}\n";
        let lines: Vec<usize> = findings(bad).iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 1]);
    }
}
