//! Stage 4: code, with the tests that its acceptance criteria ask for.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path, process::Command};

use agent::Failure;
use serde_json::{Value, json};

use super::{
    Job, Shop, read,
    requirements::Requirement,
    tools::{self, tail},
    workspace,
};

/// Writes `src/<function>.rs` for the requirement of the task, compiles it by itself and runs its tests.
///
/// # Errors
/// When the code does not compile or a criterion does not hold: the compiler's or the test's words.
pub fn generate(shop: &Shop, job: &Job, input: &Value) -> Result<Value, Failure> {
    let requirement: Requirement = read(input, "requirement")?;
    let folder = workspace::given(shop, input)?.join("src");
    let name = &requirement.function;
    let file = folder.join(format!("{name}.rs"));
    let source = source(&requirement);
    (job.tell)(0.2, &format!("writing src/{name}.rs"));
    workspace::write(&file, source.as_bytes())?;
    (job.tell)(0.5, "testing");
    let tests = try_alone(shop, &file, name)?;
    Ok(json!({
        "file": file.to_string_lossy(), "function": name, "requirement": requirement.id,
        "lines": source.lines().count(), "tests": tests,
    }))
}

fn try_alone(shop: &Shop, file: &Path, name: &str) -> Result<usize, Failure> {
    let out = tempfile::tempdir().map_err(Failure::failed)?;
    let program = out.path().join(name);
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2021", "--test", "--crate-name", name, "-o"]).arg(&program).arg(file);
    let compiled = tools::run(&mut rustc, "", shop.tool_limit)?;
    if !compiled.ok {
        return Err(Failure::failed(format!("{name}.rs does not compile:\n{}", tail(&compiled.err, 20))));
    }
    let tested = tools::run(&mut Command::new(&program), "", shop.tool_limit)?;
    if !tested.ok {
        return Err(Failure::failed(format!("the tests of {name}.rs fail:\n{}", tail(&tested.out, 20))));
    }
    Ok(tested.out.lines().filter(|l| l.starts_with("test ") && l.ends_with("... ok")).count())
}

/// The module of a requirement: a documented function and one test for each criterion.
pub fn source(r: &Requirement) -> String {
    let mut out = format!("//! {}: {}\n\n/// {}\n", r.id, r.title, r.text);
    let _ = writeln!(out, "pub fn {}(text: &str) -> String {{\n    let text = text.to_owned();", r.function);
    for step in &r.steps {
        let _ = writeln!(out, "    let text = {};", step.rust());
    }
    out += "    text\n}\n\n#[cfg(test)]\nmod tests {\n";
    for c in &r.criteria {
        let test = c.id.to_lowercase().replace('.', "_");
        let _ = writeln!(
            out,
            "    #[test]\n    fn {test}() {{\n        assert_eq!(super::{}({:?}), {:?});\n    }}",
            r.function, c.given, c.expected
        );
    }
    out + "}\n"
}

/// Makes the functions in `src/` of the workspace one library, and a program that runs one of them on its standard input.
///
/// # Errors
/// When the workspace cannot be read or written, or the formatter refuses a file.
pub fn integrate(shop: &Shop, _job: &Job, input: &Value) -> Result<Value, Failure> {
    let root = workspace::given(shop, input)?;
    let src = root.join("src");
    let functions = functions(&src)?;
    if functions.is_empty() {
        return Err(Failure::failed("there is no function in src/"));
    }
    let package = package(&root)?;
    let mut library = "//! Functions over texts, each from a requirement.\n\n".to_owned();
    let mut arms = String::new();
    for name in &functions {
        let _ = writeln!(library, "pub mod {name};");
        let _ = writeln!(arms, "        {name:?} => {package}::{name}::{name}(&text),");
    }
    let program = format!(
        "//! `{package} FUNCTION` reads a text and writes what the function makes of it.\n\nuse std::io::Read;\n\nfn main() {{\n    \
         let name = std::env::args().nth(1).unwrap_or_default();\n    let mut text = String::new();\n    \
         if let Err(err) = std::io::stdin().read_to_string(&mut text) {{\n        eprintln!(\"standard input: {{err}}\");\n        \
         std::process::exit(1);\n    }}\n    let out = match name.as_str() {{\n{arms}        _ => {{\n            \
         eprintln!(\"usage: {package} {}\");\n            std::process::exit(2);\n        }}\n    }};\n    print!(\"{{out}}\");\n}}\n",
        functions.iter().cloned().collect::<Vec<_>>().join("|")
    );
    workspace::write(&src.join("lib.rs"), library.as_bytes())?;
    workspace::write(&src.join("main.rs"), program.as_bytes())?;
    Ok(json!({"workspace": root.to_string_lossy(), "package": package, "functions": functions}))
}

/// Modules of the library, by file name.
pub fn functions(src: &Path) -> Result<BTreeSet<String>, Failure> {
    let entries = fs::read_dir(src).map_err(|err| Failure::failed(format!("{}: {err}", src.display())))?;
    let names = entries.filter_map(|e| Some(e.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()));
    Ok(names.filter(|n| n != "lib" && n != "main").collect())
}

/// Name of the package in the workspace's `Cargo.toml`, as its crate is called.
pub fn package(root: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(root.join("Cargo.toml")).map_err(Failure::failed)?;
    let name = text.lines().find_map(|l| l.trim().strip_prefix("name")?.trim().strip_prefix('='));
    let name = name.map(|n| n.trim().trim_matches('"').replace('-', "_")).filter(|n| !n.is_empty());
    name.ok_or_else(|| Failure::failed("Cargo.toml names no package"))
}
