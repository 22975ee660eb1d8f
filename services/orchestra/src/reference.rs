//! `docs/cli.md`, made from the command line itself, so that it never lies.

use std::{fmt::Write as _, path::Path};

use clap::{Command, CommandFactory as _};

use crate::cli::Cli;

const HEAD: &str = "\
# Command line

<!-- Generated from the code: `UPDATE_DOCS=1 cargo test -p orchestra` rewrites this page. -->

`orchestra dev` runs everything in one process. `validate`, `fmt`, `plan FILE`, `config` and `completions` need no
server; all other commands talk to the public gRPC door (`--server`, `ORCHESTRA_SERVER`).

Results go to standard output, everything else to standard error. `-o json` and `-o yaml` print one document with the
field names of the REST API; a refusal is then one JSON object on standard error: `{\"error\": {code, message, remedy,
findings, exit_code}}`. Colours appear on a terminal only, never with `NO_COLOR` or `TERM=dumb`.

| exit code | meaning |
|---|---|
| 0 | done; with `--wait`, `--follow` and `watch`: the execution completed |
| 1 | the execution failed or was cancelled, or the server refused (taken, busy, full, wrong state) |
| 2 | the command line, a setting or a request is wrong |
| 3 | what was named does not exist |
| 4 | a definition has errors |
| 5 | the server cannot be reached, or is not ready |
| 6 | a deadline passed; the execution goes on |
| 130 | interrupted |

Every command takes:

- `-o, --output table|json|yaml`: the form of the result (`table`).
- `--server URL`, else `ORCHESTRA_SERVER`: the public gRPC address (`http://127.0.0.1:3014`).
";

const GLOBAL: &str = "Global options:";

/// The whole page.
fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut root = Cli::command();
    root.build();
    for command in root.get_subcommands().filter(|c| c.get_name() != "help") {
        section(&mut page, command, "orchestra", 2);
    }
    page
}

fn section(page: &mut String, command: &Command, parent: &str, depth: usize) {
    let name = format!("{parent} {}", command.get_name());
    let help = command.clone().bin_name(&name).term_width(110).render_help().to_string();
    // The global options stand at the top, once.
    let mut global = false;
    let help: Vec<&str> = help
        .lines()
        .map(str::trim_end)
        .filter(|line| {
            global = *line == GLOBAL || (global && !line.is_empty());
            !global
        })
        .collect();
    let _ = write!(page, "\n{} {name}\n\n```text\n{}\n```\n", "#".repeat(depth), help.join("\n").trim());
    for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
        section(page, inner, &name, depth + 1);
    }
}

#[test]
fn the_page_of_the_command_line_is_what_the_program_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/cli.md is old: run UPDATE_DOCS=1 cargo test -p orchestra");
}
