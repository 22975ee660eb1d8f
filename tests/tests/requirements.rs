//! The map of demands names tests that there are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeSet, fs, path::Path};

/// Names of functions in the Rust files below `folder`.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).map(|rest| rest.chars().take_while(is_of_a_name).collect());
            found.extend(names);
        }
    }
}

fn is_of_a_name(c: &char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_'
}

#[test]
fn every_test_that_the_map_of_requirements_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut known = BTreeSet::new();
    for folder in ["crates", "services", "examples", "tests"] {
        functions(&root.join(folder), &mut known);
    }
    let map = fs::read_to_string(root.join("docs/requirements.md")).unwrap();
    // Names of tests are sentences; settings and fields are shorter.
    let sentence = |name: &&str| name.chars().all(|c| is_of_a_name(&c)) && name.matches('_').count() >= 4;
    let named: Vec<&str> = map.split('`').skip(1).step_by(2).filter(sentence).collect();
    let missing: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(named.len() > 200, "only {} names of tests were found in the page", named.len());
    assert!(missing.is_empty(), "docs/requirements.md names tests that are not there: {missing:#?}");
}
