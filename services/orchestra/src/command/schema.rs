//! `orchestra schema`.

use std::process::ExitCode;

use super::{Context, Done};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra schema > workflow.schema.json
  # yaml-language-server: $schema=workflow.schema.json      as the first line of a definition

The server has it at /api/v1/schemas/workflow.json.";

pub(crate) fn run(context: &Context) -> Done {
    let schema = language::definition_schema();
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    context.out.result(&schema, |out| out.line(text));
    Ok(ExitCode::SUCCESS)
}
