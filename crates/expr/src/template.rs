//! JSON values whose texts hold `${ expression }`.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{Expr, ExprError, ExprErrorKind, Limits, Path, Scope, scan};

/// A compiled template. Cloning is cheap.
///
/// A text that is exactly one `${ … }` becomes the value of its expression, of any type; in a longer text each
/// `${ … }` is replaced by the value as text (texts as they are, everything else as JSON). `$${` stands for `${`.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Arc<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    /// Nothing to evaluate below.
    Fixed(Value),
    Value(Expr),
    Text(Vec<Piece>),
    List(Vec<Part>),
    Object(Vec<(String, Part)>),
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Value(Expr),
}

/// Deepest nesting of lists and objects in a template.
const DEPTH_MAX: usize = 100;

impl Template {
    /// Compiles `value` within the default [`Limits`]. The error's offset counts in the text that holds the
    /// expression.
    pub fn compile(value: &Value) -> Result<Self, ExprError> {
        Self::compile_with(value, &Limits::DEFAULT)
    }

    /// Compiles `value`, each expression within `limits`.
    pub fn compile_with(value: &Value, limits: &Limits) -> Result<Self, ExprError> {
        compile(value, limits, 0).map(|part| Self(Arc::new(part)))
    }

    /// The paths that its expressions read, sorted, each once.
    pub fn references(&self) -> Vec<Path> {
        let mut found = Vec::new();
        self.visit(&mut |expr| found.extend_from_slice(expr.references()));
        found.sort();
        found.dedup();
        found
    }

    /// Shows every expression to `see`.
    pub fn visit(&self, see: &mut dyn FnMut(&Expr)) {
        visit(&self.0, see);
    }

    /// Whether it holds no expression.
    pub fn is_fixed(&self) -> bool {
        matches!(*self.0, Part::Fixed(_))
    }

    /// The value with every expression evaluated.
    pub fn render(&self, scope: &Scope) -> Result<Value, ExprError> {
        render(&self.0, scope)
    }
}

fn compile(value: &Value, limits: &Limits, depth: usize) -> Result<Part, ExprError> {
    if depth > DEPTH_MAX {
        let text = format!("the template nests deeper than {DEPTH_MAX}");
        return Err(ExprError::new(ExprErrorKind::Limit, text));
    }
    let fixed = |part: &Part| matches!(part, Part::Fixed(_));
    match value {
        Value::String(text) => compile_text(text, limits),
        Value::Array(items) => {
            let parts: Vec<_> =
                items.iter().map(|item| compile(item, limits, depth + 1)).collect::<Result<_, _>>()?;
            let plain = parts.iter().all(fixed) && !has_escape(value);
            Ok(if plain { Part::Fixed(value.clone()) } else { Part::List(parts) })
        }
        Value::Object(members) => {
            let parts: Vec<_> = members
                .iter()
                .map(|(key, item)| Ok((key.clone(), compile(item, limits, depth + 1)?)))
                .collect::<Result<_, ExprError>>()?;
            let plain = parts.iter().all(|(_, part)| fixed(part)) && !has_escape(value);
            Ok(if plain { Part::Fixed(value.clone()) } else { Part::Object(parts) })
        }
        other => Ok(Part::Fixed(other.clone())),
    }
}

/// Whether a text below holds `$${`, which becomes `${`.
fn has_escape(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("$${"),
        Value::Array(items) => items.iter().any(has_escape),
        Value::Object(members) => members.values().any(has_escape),
        _ => false,
    }
}

fn compile_text(text: &str, limits: &Limits) -> Result<Part, ExprError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        if text[at..start].ends_with('$') {
            plain.push_str(&text[at..start]);
            plain.push('{');
            at = start + 2;
            continue;
        }
        plain.push_str(&text[at..start]);
        let end = closing(text, start + 2).ok_or_else(|| {
            ExprError::new(ExprErrorKind::Syntax, "`${` is not closed by `}`; write `$${` for a plain `${`")
                .at(start)
        })?;
        let source = &text[start + 2..end];
        let lead = source.len() - source.trim_start().len();
        let expr = Expr::compile_with(source.trim(), limits).map_err(|mut error| {
            error.offset += start + 2 + lead;
            error
        })?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Value(expr));
        at = end + 1;
    }
    plain.push_str(&text[at..]);
    if pieces.is_empty() {
        return Ok(Part::Fixed(plain.into()));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    match pieces.as_slice() {
        [Piece::Value(expr)] => Ok(Part::Value(expr.clone())),
        _ => Ok(Part::Text(pieces)),
    }
}

/// The `}` that closes what starts at `from`: braces inside of it are balanced, texts are skipped.
fn closing(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, from);
    while at < bytes.len() {
        match bytes[at] {
            b'"' | b'\'' => {
                at = scan::skip_text(bytes, at);
                continue;
            }
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

fn visit(part: &Part, see: &mut dyn FnMut(&Expr)) {
    match part {
        Part::Fixed(_) => {}
        Part::Value(expr) => see(expr),
        Part::Text(pieces) => {
            for piece in pieces {
                if let Piece::Value(expr) = piece {
                    see(expr);
                }
            }
        }
        Part::List(parts) => parts.iter().for_each(|part| visit(part, see)),
        Part::Object(parts) => parts.iter().for_each(|(_, part)| visit(part, see)),
    }
}

fn render(part: &Part, scope: &Scope) -> Result<Value, ExprError> {
    match part {
        Part::Fixed(value) => Ok(value.clone()),
        Part::Value(expr) => expr.eval(scope),
        Part::Text(pieces) => {
            let mut out = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.push_str(text),
                    Piece::Value(expr) => match expr.eval(scope)? {
                        Value::String(text) => out.push_str(&text),
                        other => out.push_str(&other.to_string()),
                    },
                }
            }
            Ok(out.into())
        }
        Part::List(parts) => parts.iter().map(|part| render(part, scope)).collect(),
        Part::Object(parts) => parts
            .iter()
            .map(|(key, part)| Ok((key.clone(), render(part, scope)?)))
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
    }
}
