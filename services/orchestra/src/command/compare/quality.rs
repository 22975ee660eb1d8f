//! The measure of quality that the user chose.

use api::client::{Client, Source};
use expr::{Expr, Scope};
use serde_json::{Value, json};

use crate::exit::Failure;

/// What counts when only a judge is named.
pub(super) const OF_JUDGE: &str = "judge.score";

/// A CEL expression, and whether it needs a judge.
#[derive(Debug)]
pub(super) struct Quality {
    expr: Expr,
    /// A capability.
    judge: Option<String>,
}

impl Quality {
    pub(super) fn new(expression: Option<&str>, judge: Option<&str>) -> Result<Self, Failure> {
        let text = expression.unwrap_or(OF_JUDGE);
        let expr = Expr::compile(text).map_err(|e| {
            let (_, column) = e.line_column(text);
            Failure::usage(format!("--quality, column {column}: {e}"))
        })?;
        for root in expr.references().iter().filter_map(|path| path.first()) {
            match root.as_str() {
                "input" | "output" => {}
                "judge" if judge.is_some() => {}
                "judge" => {
                    return Err(Failure::usage("--quality reads `judge`: name its capability with --judge"));
                }
                other => {
                    let said = format!("--quality knows no `{other}`: it sees `input`, `output` and `judge`");
                    return Err(Failure::usage(said));
                }
            }
        }
        Ok(Self { expr, judge: judge.map(str::to_owned) })
    }

    /// Stores the workflow that asks the judge; its reference.
    pub(super) async fn store_judge(&self, client: &Client) -> Result<Option<String>, Failure> {
        let Some(capability) = &self.judge else { return Ok(None) };
        let plain: String =
            capability.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let definition = json!({
            "name": format!("compare-judge-{plain}"),
            "description": "Asks for the quality of an output; made by `orchestra compare`.",
            "tasks": [{"id": "judge", "capability": capability}],
            "output": "${ tasks.judge.output }",
        });
        let source = Source::json(definition.to_string()).named("the judge's workflow");
        Ok(Some(client.define(&source).await?.workflow.reference()))
    }

    /// The quality of an output.
    pub(super) fn of(&self, input: &Value, output: &Value, judge: Option<&Value>) -> Result<f64, String> {
        let mut scope = Scope::new().with("input", input.clone()).with("output", output.clone());
        if let Some(judge) = judge {
            scope.set("judge", judge.clone());
        }
        let found = self.expr.eval(&scope).map_err(|e| format!("{}: {e}", self.expr.source()))?;
        match &found {
            Value::Number(number) => number.as_f64().filter(|n| n.is_finite()),
            Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
            _ => None,
        }
        .ok_or_else(|| format!("{} gives {found}, which is no number, true or false", self.expr.source()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_is_a_number_or_yes_and_no() {
        let output = json!({"words": ["a", "b"], "good": true});
        for (text, want) in [
            ("size(output.words)", Ok(2.0)),
            ("output.good", Ok(1.0)),
            ("judge.score * 2.0", Ok(1.5)),
            ("double(size(output.words)) / double(size(input.goal))", Ok(0.5)),
            ("output.words", Err("is no number")),
            ("output.missing", Err("missing")),
        ] {
            let quality = Quality::new(Some(text), Some("scoring")).unwrap();
            let got = quality.of(&json!({"goal": "four"}), &output, Some(&json!({"score": 0.75})));
            match want {
                Ok(want) => assert_eq!(got, Ok(want), "{text}"),
                Err(want) => assert!(got.as_ref().is_err_and(|e| e.contains(want)), "{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_an_expression_cannot_see_is_said_before_anything_runs() {
        for (text, want) in [
            ("judge.score", "name its capability with --judge"),
            ("result.score", "knows no `result`"),
            ("output.(", "--quality, column"),
        ] {
            let said = Quality::new(Some(text), None).unwrap_err().message;
            assert!(said.contains(want), "{said}");
        }
        assert!(Quality::new(None, Some("scoring")).is_ok());
    }
}
