//! The examples of `docs/language.md` are definitions, and the page names every key and code.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use base::Severity;
use language::{
    Limits, Options, built_in_pattern_sources, built_in_patterns, compile, definition_schema,
    format_definition, parse_pattern, render,
};

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/language.md")).unwrap()
}

/// Every page below `folder`, but for what is built.
fn pages_below(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "documents" && !name.starts_with('.') {
            pages_below(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Every `yaml` snippet of the pages of the repository, and every file that a shell snippet writes with `<<'YAML'`, with
/// the page it stands on.
fn snippets() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut found, mut pages) = (Vec::new(), Vec::new());
    pages_below(&root, &mut pages);
    pages.sort();
    for path in pages {
        let page = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        for (begin, end) in [("```yaml\n", "```"), ("<<'YAML'\n", "\nYAML\n")] {
            let parts = page.split(begin).skip(1).map(|rest| rest.split(end).next().unwrap());
            found.extend(parts.map(|part| (name.clone(), part.to_owned())));
        }
    }
    found
}

/// Whether a snippet is a definition, by the keys in its first column.
fn is_definition(snippet: &str) -> bool {
    const KEYS: &[&str] = &[
        "tasks:",
        "stages:",
        "steps:",
        "nodes:",
        "workflow:",
        "chain:",
        "graph:",
        "provider:",
        "orchestration_pattern:",
    ];
    snippet.lines().any(|line| KEYS.iter().any(|key| line.starts_with(key)))
}

#[test]
fn every_definition_in_the_documentation_compiles() {
    let (mut definitions, mut patterns) = (0, 0);
    for (page, snippet) in snippets() {
        if snippet.starts_with("pattern:") {
            patterns += 1;
            let outcome = parse_pattern(&snippet, &Limits::default(), None);
            assert_eq!(outcome.findings, [], "{}", render(&outcome.findings, &page, &snippet));
        } else if is_definition(&snippet) {
            definitions += 1;
            let outcome = compile(&snippet, &Options::default());
            let surprising = outcome.findings.iter().find(|f| f.code != "no-effect-yet");
            assert_eq!(surprising, None, "{}", render(&outcome.findings, &page, &snippet));
            let plan = outcome.compiled.unwrap().plan;
            if let Err(error) = workflow::Compiled::new(plan) {
                panic!("{page}: the plan does not run: {error}\n{snippet}");
            }
        } else {
            // Nothing is left out by accident: what is neither says what it is.
            let told = snippet.starts_with("# settings") || snippet.starts_with("# an excerpt");
            assert!(told, "{page}: neither a definition nor a pattern:\n{snippet}");
        }
    }
    assert!(definitions >= 38 && patterns >= 1, "{definitions} {patterns}");
    let on = |page: &str| snippets().iter().any(|(name, _)| name == page);
    assert!(on("README.md") && on("docs/language.md") && on("docs/patterns.md"));
}

#[test]
fn every_built_in_pattern_has_its_parameters_and_an_example_in_the_reference() {
    let page = page();
    for pattern in built_in_patterns() {
        let (_, section) = page.split_once(&format!("\n### {}\n", pattern.name)).unwrap();
        let section = section.split("\n### ").next().unwrap();
        assert!(section.contains(&format!("orchestration_pattern: {}\n", pattern.name)), "{}", pattern.name);
        for parameter in &pattern.parameters {
            assert!(section.contains(&format!("| `{}` |", parameter.name)), "{}", parameter.name);
        }
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
        ["fault_tolerance.circuit_breaker", "compliance", "constraints.complianceRequired", "task_queue"]
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

#[test]
fn every_pattern_and_type_has_an_example_without_findings() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/");
    let mut names: Vec<String> = built_in_patterns().iter().map(|p| format!("patterns/{}", p.name)).collect();
    let types = ["pipeline", "fanout", "scatter-gather", "conditional", "loop", "event-driven"];
    names.extend(types.map(|name| format!("types/{name}")));
    names.extend(["sequential", "parallel", "dag"].map(str::to_owned));
    for name in names {
        let source =
            std::fs::read_to_string(format!("{root}{name}.yaml")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let outcome = compile(&source, &Options::default());
        assert_eq!(outcome.findings, [], "{}", render(&outcome.findings, &name, &source));
        let plan = outcome.compiled.unwrap().plan;
        if let Err(error) = workflow::Compiled::new(plan) {
            panic!("{name}: {error}");
        }
    }
}

/// Every YAML file below `folder` that is a definition.
fn definitions_below(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            definitions_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_definition_below_examples_compiles_and_is_formatted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files = Vec::new();
    definitions_below(&root, &mut files);
    assert!(files.len() >= 70, "{}", files.len());
    for path in files {
        let (name, source) = (path.to_string_lossy(), std::fs::read_to_string(&path).unwrap());
        let outcome = compile(&source, &Options::default());
        assert!(outcome.compiled.is_some(), "{}", render(&outcome.findings, &name, &source));
        if name.contains("control-flow") {
            assert_eq!(outcome.findings, [], "{}", render(&outcome.findings, &name, &source));
        }
        assert_eq!(format_definition(&source, None).unwrap(), source, "{name}");
    }
}

#[test]
fn formatting_keeps_what_every_example_says() {
    let patterns =
        built_in_pattern_sources().iter().map(|source| ("pattern".to_owned(), (*source).to_owned()));
    let mut seen = 0;
    for (name, source) in
        snippets().into_iter().filter(|(_, s)| is_definition(s) || s.starts_with("pattern:")).chain(patterns)
    {
        let formatted = format_definition(&source, None).unwrap();
        assert_eq!(format_definition(&formatted, None).unwrap(), formatted, "{name}: twice changes nothing");
        if source.starts_with("pattern:") {
            let read = |text: &str| parse_pattern(text, &Limits::default(), None).pattern.unwrap().describe();
            assert_eq!(read(&formatted), read(&source), "{name}");
        } else {
            let hash = |text: &str| compile(text, &Options::default()).compiled.unwrap().content_hash;
            assert_eq!(hash(&formatted), hash(&source), "{name}");
        }
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn the_json_schema_accepts_every_example() {
    let schema = definition_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let check = |name: &str, source: &str| {
        // Read as the compiler reads it: the metadata of a definition keeps any value as it is.
        let value = yaml_value(source);
        let wrong: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}\n{source}");
    };
    let mut seen = 0;
    for (page, snippet) in
        snippets().into_iter().filter(|(_, s)| is_definition(s) && !s.starts_with("pattern:"))
    {
        check(&page, &snippet);
        seen += 1;
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    for dir in [
        "tests/data/s0",
        "tests/data/s1",
        "tests/data/s2",
        "tests/data/s3",
        "tests/data/s4",
        "../../examples",
    ] {
        for entry in std::fs::read_dir(format!("{root}{dir}")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "yaml" || e == "json") {
                check(&path.to_string_lossy(), &std::fs::read_to_string(&path).unwrap());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
    for (wrong, what) in [
        ("name: w\ntaks: []\n", "an unknown key"),
        ("name: w\ntasks: [{id: a, effect: harmless}]\n", "an unknown word"),
        ("name: w\ntasks: [{id: a, loop: {until: x, maxx: 3}}]\n", "an unknown key further in"),
        ("name: w\nlimits: {max_calls: many}\n", "a text where a number stands"),
    ] {
        assert!(!validator.is_valid(&yaml_value(wrong)), "{what}");
    }
}

/// A YAML or JSON text as a value, by way of the language's own reader: metadata is kept as it is.
fn yaml_value(source: &str) -> serde_json::Value {
    let indented: String = source.lines().map(|line| format!("    {line}\n")).collect();
    let holder = format!("name: holder\ntasks: [{{id: a}}]\nmetadata:\n  held:\n{indented}");
    let outcome = compile(&holder, &Options::default());
    outcome.compiled.unwrap_or_else(|| panic!("{:?}\n{holder}", outcome.findings)).plan.metadata["held"]
        .clone()
}
