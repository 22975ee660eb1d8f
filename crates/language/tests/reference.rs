//! The examples of `docs/language.md` are definitions, and the page names every key and code.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use base::Severity;
use language::{Options, compile, render};

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/language.md")).unwrap()
}

#[test]
fn every_example_of_the_reference_compiles() {
    let page = page();
    let examples: Vec<&str> =
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 7);
    for example in examples {
        let outcome = compile(example, &Options::default());
        assert!(outcome.compiled.is_some(), "{}", render(&outcome.findings, "language.md", example));
        let surprising = outcome.findings.iter().find(|f| f.code != "no-effect-yet");
        assert_eq!(surprising, None);
    }
}

#[test]
fn the_kept_keys_are_all_reported() {
    let page = page();
    let example = page.split("```yaml\n").find(|part| part.starts_with("name: kept_for_later")).unwrap();
    let outcome = compile(example.split("```").next().unwrap(), &Options::default());
    let paths: Vec<_> = outcome.findings.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "coordination.type",
            "coordination.event_driven",
            "coordination.graph_based",
            "fault_tolerance.circuit_breaker",
            "fault_tolerance.saga_pattern",
            "compliance",
            "constraints.complianceRequired",
            "memory",
            "task_queue"
        ]
    );
    assert!(outcome.findings.iter().all(|f| f.severity == Severity::Warning));
}

#[test]
fn the_reference_names_every_code() {
    let page = page();
    let mut files = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut codes = std::collections::BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        // Codes are the kebab-case literals that reports are made with.
        for literal in source.split('"').skip(1).step_by(2) {
            let kebab = literal.contains('-') && literal.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            if kebab && source.contains(&format!("(\"{literal}\"")) && !literal.starts_with('-') {
                codes.insert(literal.to_owned());
            }
        }
    }
    assert!(codes.len() > 20, "{codes:?}");
    for code in codes {
        assert!(page.contains(&format!("`{code}`")), "{code} is not in docs/language.md");
    }
}

#[test]
fn formatting_touches_white_space_only() {
    let messy = "\n\nname:   w   \n\n\n\ntasks:\n- id: a   # first\n  # about the input\n  input:\n          text: |\n             one\n               two\n\n             three\n          list:\n              -   x\n              - - y\n                - z\n- id: b\n  depends_on: [a]\n\n\n";
    let want = "name:   w\n\ntasks:\n  - id: a   # first\n    # about the input\n    input:\n      text: |\n        one\n          two\n\n        three\n      list:\n        - x\n        - - y\n          - z\n  - id: b\n    depends_on: [a]\n";
    let formatted = language::format_definition(messy, None).unwrap();
    assert_eq!(formatted, want);
    assert_eq!(language::format_definition(&formatted, None).unwrap(), formatted);
    let json = language::format_definition("{\"name\":\"w\",\"tasks\":[{\"id\":\"a\"}]}", None).unwrap();
    assert!(json.starts_with("{\n  \"name\": \"w\""), "{json}");
    assert_eq!(language::format_definition("a: [", None).unwrap_err()[0].code, "syntax");
}
