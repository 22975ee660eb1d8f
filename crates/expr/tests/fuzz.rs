//! No text and no data make the language panic or hang.

use expr::{Expr, Scope, Template};
use proptest::prelude::*;
use serde_json::json;

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "input",
        ".",
        "a",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "+",
        "-",
        "*",
        "/",
        "%",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ",",
        "'x'",
        "\"",
        "'",
        "1",
        "2.5",
        "0",
        "true",
        "null",
        ".map(x, ",
        ".filter(y, ",
        ".all(z, ",
        ".exists(x, ",
        "x",
        "y",
        " in ",
        "==",
        "<",
        ">=",
        "size(",
        "has(",
        "string(",
        "matches(",
        "`",
        "$",
        "${",
        "b'",
        "r'",
        "\\",
        "é",
        "\n",
        "//",
        "'''",
        "@copy(",
        "dyn(",
        "type(",
        "duration('1s')",
        "int(",
        ".?",
        "Msg{f: 1}",
        "optional.of(",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_an_expression_or_an_error(text in prop_oneof![any::<String>(), pieces()]) {
        let scope = Scope::new().with("input", json!({"a": [1, {"a": "é"}], "x": null})).with("a", json!([1, 2, 3]));
        if let Ok(expr) = Expr::compile(&text) {
            let _ = expr.eval(&scope);
        }
        if let Ok(template) = Template::compile(&json!({"k": text})) {
            let _ = template.render(&scope);
        }
    }

    #[test]
    fn integers_survive_the_round_trip(n in any::<i64>(), u in any::<u64>()) {
        let scope = Scope::new().with("v", json!({"n": n, "u": u}));
        prop_assert_eq!(Expr::compile("[v.n, v.u]").unwrap().eval(&scope).unwrap(), json!([n, u]));
        prop_assert_eq!(Expr::compile("v.n").unwrap().eval(&scope).unwrap(), json!(n));
    }
}
