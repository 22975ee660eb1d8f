//! From text to a checked expression, and its evaluation.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr,
    common::ast::{Expr as Ast, SelectExpr},
};
use serde_json::Value;

use crate::{
    ExprError, ExprErrorKind, Limits, Node, Scope,
    convert::{held_to_cel, hold, to_json},
    meter,
    paths::{self, Path, Tree},
    scan,
};

/// A compiled expression. Cloning is cheap.
#[derive(Clone)]
pub struct Expr(Arc<Compiled>);

struct Compiled {
    source: String,
    ast: IdedExpr,
    references: Vec<Path>,
    tree: Tree,
    /// Set when the expression only reads one path: it is followed without the interpreter.
    path: Option<Path>,
    steps_max: u64,
    /// What the evaluation may take of the stack.
    stack_bytes: usize,
}

/// Functions and types, shared by all evaluations: building them costs more than most evaluations.
static ROOT: LazyLock<Result<Context<'static, 'static>, String>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    meter::declare(&mut env).map_err(|error| error.to_string())?;
    Ok(Context::with_env(Arc::new(env)))
});

impl Expr {
    /// Compiles `source` within the default [`Limits`].
    pub fn compile(source: &str) -> Result<Self, ExprError> {
        Self::compile_with(source, &Limits::DEFAULT)
    }

    /// Compiles `source` within `limits`.
    pub fn compile_with(source: &str, limits: &Limits) -> Result<Self, ExprError> {
        if source.trim().is_empty() {
            return Err(ExprError::new(ExprErrorKind::Syntax, "the expression is empty"));
        }
        scan::check(source, limits)?;
        let mut ast = match scan::plain_path(source.trim()) {
            Some(names) => select(&names),
            None => on_a_deep_stack(|| parse(source, limits))?,
        };
        let (references, path) = (paths::references(&ast), paths::as_path(&ast));
        check_functions(&ast)?;
        meter::instrument(&mut ast, limits)?;
        let tree = Tree::of(&references);
        let stack_bytes = (paths::depth(&ast) + 4) * LEVEL_STACK_BYTES;
        let (source, steps_max) = (source.to_owned(), limits.steps_max);
        Ok(Self(Arc::new(Compiled { source, ast, references, tree, path, steps_max, stack_bytes })))
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The paths it reads, sorted, each once. A path ends where it stops being plain members: `tasks.a.output[0].x`
    /// is `["tasks", "a", "output"]`.
    pub fn references(&self) -> &[Path] {
        &self.0.references
    }

    /// Evaluates to a JSON value.
    pub fn eval(&self, scope: &Scope) -> Result<Value, ExprError> {
        if let Some(path) = &self.0.path {
            return follow(scope, path);
        }
        let Ok(root) = &*ROOT else {
            return Err(ExprError::new(
                ExprErrorKind::Evaluation,
                "the expression language could not be set up",
            ));
        };
        let held: Vec<_> = self
            .0
            .tree
            .members
            .iter()
            .filter_map(|(name, below)| Some((name, hold(scope.get(name)?, below), below)))
            .collect();
        let mut context = root.new_inner_scope();
        for (name, held, below) in &held {
            context.add_variable_as_val(name.as_str(), held_to_cel(held, below));
        }
        let run = || match cel::Value::resolve_val(&self.0.ast, &context) {
            Ok(value) => to_json(value.as_ref()),
            Err(error) => Err(explain(&error)),
        };
        // The interpreter is third-party code fed by users: a defect in it must stay an error of this expression.
        let guarded = || catch_unwind(AssertUnwindSafe(|| meter::with_budget(self.0.steps_max, run)));
        match stacker::maybe_grow(self.0.stack_bytes, self.0.stack_bytes, guarded) {
            Ok(Some(result)) => result,
            Ok(None) => {
                let text = format!("the evaluation takes more than {} steps", self.0.steps_max);
                Err(ExprError::new(ExprErrorKind::Limit, text))
            }
            Err(_) => {
                Err(ExprError::new(ExprErrorKind::Evaluation, "the interpreter failed on this expression"))
            }
        }
    }

    /// Evaluates to true or false; any other value is an error.
    pub fn eval_bool(&self, scope: &Scope) -> Result<bool, ExprError> {
        match self.eval(scope)? {
            Value::Bool(b) => Ok(b),
            other => Err(ExprError::new(
                ExprErrorKind::Evaluation,
                format!("expected true or false, got {}", type_name(&other)),
            )),
        }
    }
}

fn explain(error: &ExecutionError) -> ExprError {
    use ExecutionError as E;
    match error {
        E::UndeclaredReference(name) => {
            ExprError::new(ExprErrorKind::Unknown, format!("there is no variable or function {name:?}"))
        }
        E::NoSuchKey(name) => ExprError::new(ExprErrorKind::Unknown, format!("there is no member {name:?}")),
        other => {
            // Errors print the values they are about; those may be as large as the data.
            let mut text = other.to_string();
            if let Some((cut, _)) = text.char_indices().nth(300) {
                text.truncate(cut);
                text.push('…');
            }
            ExprError::new(ExprErrorKind::Evaluation, text.replace(meter_names(&text), ""))
        }
    }
}

/// The counting functions are ours; their names mean nothing to the reader of an error.
fn meter_names(text: &str) -> &'static str {
    if text.contains("@copy") { "@copy" } else { "@loop" }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.0.source)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

/// The generated parser takes some 200 KB of stack per nested bracket in a debug build: more than a worker thread has.
const PARSER_STACK_BYTES: usize = 64 << 20;
/// Stack that the interpreter may take per level of the tree: measured below 64 KB in a debug build, doubled.
const LEVEL_STACK_BYTES: usize = if cfg!(debug_assertions) { 128 << 10 } else { 48 << 10 };

fn on_a_deep_stack<T>(work: impl FnOnce() -> Result<T, ExprError>) -> Result<T, ExprError> {
    // A panic of the parser, which is generated code that users feed, stays an error of this text.
    stacker::grow(PARSER_STACK_BYTES, || catch_unwind(AssertUnwindSafe(work)))
        .unwrap_or_else(|_| Err(ExprError::new(ExprErrorKind::Syntax, "the text is not an expression")))
}

fn parse(source: &str, limits: &Limits) -> Result<IdedExpr, ExprError> {
    let parser = cel::parser::Parser::new()
        .enable_ident_escape_syntax(true)
        .error_recovery_limit(3)
        .max_recursion_depth(u16::try_from(limits.depth_max).unwrap_or(u16::MAX - 1));
    let hidden = scan::hide_loop(source);
    let mut ast = parser.parse(hidden.as_deref().unwrap_or(source)).map_err(|errors| {
        let Some(first) = errors.errors.first() else {
            return ExprError::new(ExprErrorKind::Syntax, "the text is not an expression");
        };
        let (line, column) = first.pos;
        let offset = byte_offset(source, line, column);
        let message = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
        let kind = if message.contains("recursion") { ExprErrorKind::Limit } else { ExprErrorKind::Syntax };
        ExprError::new(kind, for_people(&message.replace(scan::LOOP, "loop"))).at(offset)
    })?;
    if hidden.is_some() {
        paths::rename(&mut ast, scan::LOOP, "loop");
    }
    if paths::depth(&ast) > limits.depth_max {
        let text = format!("the expression is deeper than {} levels", limits.depth_max);
        return Err(ExprError::new(ExprErrorKind::Limit, text));
    }
    Ok(ast)
}

/// The generated parser speaks of its tokens; people look for what is wrong.
fn for_people(message: &str) -> String {
    let quoted = |text: &str| {
        text.split_once('\'').and_then(|(_, rest)| rest.rsplit_once('\'')).map(|(word, _)| word.to_owned())
    };
    let (said, _) = message.split_once(" expecting").unwrap_or((message, ""));
    match quoted(said).as_deref() {
        Some("<EOF>") => "the expression ends too early".into(),
        Some(word) if message.starts_with("token recognition") && word.starts_with(['"', '\'']) => {
            "the text in quotes has no end".into()
        }
        Some(word) if message.contains("input") || message.starts_with("token recognition") => {
            format!("`{}` is not expected here", word.trim_end_matches("<EOF>"))
        }
        _ => message.to_owned(),
    }
}

/// The tree of `a.b.c`.
fn select(names: &[&str]) -> IdedExpr {
    let mut at = IdedExpr::default();
    for (n, name) in names.iter().enumerate() {
        let expr = match n {
            0 => Ast::Ident((*name).to_owned()),
            _ => Ast::Select(SelectExpr { operand: Box::new(at), field: (*name).to_owned(), test: false }),
        };
        at = IdedExpr { id: n as u64 + 1, expr };
    }
    at
}

/// The parser counts lines from 1 and columns, in characters, from 1.
fn byte_offset(source: &str, line: isize, column: isize) -> usize {
    let (Ok(line), Ok(column)) = (usize::try_from(line), usize::try_from(column)) else { return 0 };
    let mut start = 0;
    for text in source.split_inclusive('\n').take(line.saturating_sub(1)) {
        start += text.len();
    }
    let rest = &source[start..];
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

/// Functions of the language; macros (`has`, `all`, `exists`, `exists_one`, `map`, `filter`) are gone by now.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "type",
    "dyn",
    "duration",
    "timestamp",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

fn check_functions(ast: &IdedExpr) -> Result<(), ExprError> {
    let references = ast.references();
    let mut functions = references.functions();
    functions.sort_unstable();
    for name in functions {
        let operator = name.contains('_') && !name.chars().all(|c| c.is_alphanumeric() || c == '_')
            || name.starts_with('@')
            || name.starts_with('!')
            || name.starts_with('-');
        if !operator && !FUNCTIONS.contains(&name) {
            let text = format!("there is no function {name:?}; functions are {}", FUNCTIONS.join(", "));
            return Err(ExprError::new(ExprErrorKind::Unknown, text));
        }
    }
    Ok(())
}

/// Follows a path of members without the interpreter.
fn follow(scope: &Scope, path: &[String]) -> Result<Value, ExprError> {
    let unknown = |what: &str, name: &str| {
        Err(ExprError::new(ExprErrorKind::Unknown, format!("there is no {what} {name:?}")))
    };
    let Some((first, mut rest)) = path.split_first() else { return Ok(Value::Null) };
    let Some(mut node) = scope.get(first).cloned() else { return unknown("variable", first) };
    while !matches!(node, Node::Value(_)) {
        let Some((name, below)) = rest.split_first() else { return Ok((*node.to_json()).clone()) };
        match node.member(name) {
            Some(member) => node = member,
            None => return unknown("member", name),
        }
        rest = below;
    }
    let Node::Value(value) = &node else { return Ok(Value::Null) };
    let mut at: &Value = value;
    for name in rest {
        match at {
            Value::Object(members) => match members.get(name) {
                Some(member) => at = member,
                None => return unknown("member", name),
            },
            other => {
                let text = format!("{} has no member {name:?}", type_name(other));
                return Err(ExprError::new(ExprErrorKind::Evaluation, text));
            }
        }
    }
    Ok(at.clone())
}

pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
