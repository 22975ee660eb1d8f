//! Counts what an evaluation does and ends it at the limit.
//!
//! The interpreter has no counter of its own, so the tree is rewritten once, when it is compiled: what a loop runs
//! over goes through `@loop(range, nodes of the body)`, and what is copied or compared goes through `@copy(value)`.
//! No user can write these names. An expression without loops, literals and additions is left as it is.

use std::cell::Cell;

use cel::{
    Env, ExecutionError,
    common::{
        ast::{CallExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators},
        types::{CelBytes, CelInt, CelList, CelMap, CelMapKey, CelOptional, CelString, DYN_TYPE, INT_TYPE},
        value::{CowVal, Val},
    },
};

use crate::{ExprError, ExprErrorKind, Limits};

const LOOP: &str = "@loop";
const COPY: &str = "@copy";
/// Compiling a pattern costs about as much as this many steps.
const PATTERN_STEPS: u64 = 500;

thread_local! {
    /// Steps that are left; `None` once they did not suffice.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `work` with `steps` to spend; `None` when they did not suffice. Evaluations do not nest.
pub(crate) fn with_budget<T>(steps: u64, work: impl FnOnce() -> T) -> Option<T> {
    LEFT.with(|left| left.set(Some(steps)));
    let done = work();
    // The error of an exhausted budget may be absorbed inside of `||`, `&&` or `exists`, so the result does not tell.
    LEFT.with(|left| left.get().is_some()).then_some(done)
}

fn spend(steps: u64) -> Result<(), ExecutionError> {
    LEFT.with(|left| {
        left.set(left.get().and_then(|rest| rest.checked_sub(steps)));
        left.get().map(drop).ok_or_else(|| ExecutionError::function_error("evaluation", "no steps left"))
    })
}

/// Declares the two counting functions.
pub(crate) fn declare(env: &mut Env) -> Result<(), cel::DeclarationError> {
    env.add_overload(LOOP, "loop_dyn_int", vec![DYN_TYPE, INT_TYPE], |mut args| {
        let body = args.pop().and_then(|n| n.downcast_ref::<CelInt>().map(|n| *n.inner())).unwrap_or(1);
        let Some(range) = args.pop() else { return Err(ExecutionError::missing_argument_or_target()) };
        let rounds = range.as_sizer().map_or(1, |s| *s.size().inner()).max(1);
        spend(rounds.unsigned_abs().saturating_mul(body.unsigned_abs()))?;
        charge(range.as_ref())?;
        match range.downcast_ref::<CelMap>().map(ordered_keys) {
            Some(keys) => Ok(CowVal::Owned(keys)),
            None => Ok(range),
        }
    })?;
    env.add_overload(COPY, "copy_dyn", vec![DYN_TYPE], |mut args| {
        let Some(value) = args.pop() else { return Err(ExecutionError::missing_argument_or_target()) };
        charge(value.as_ref())?;
        Ok(value)
    })
}

/// What a loop over a map runs over: its keys, in their order. The interpreter's own order is random, and whoever
/// evaluates the same expression over the same data again (after a crash, on another replica) must get the same.
fn ordered_keys<'v>(map: &CelMap<'v>) -> Box<dyn Val + 'v> {
    let mut keys: Vec<&CelMapKey<'v>> = map.inner().keys().collect();
    keys.sort_by(|a, b| order(a).cmp(&order(b)));
    Box::new(CelList::from(keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect::<Vec<_>>()))
}

fn order<'a>(key: &'a CelMapKey<'_>) -> (u8, i128, &'a str) {
    match key {
        CelMapKey::Bool(b) => (0, i128::from(*b.inner()), ""),
        CelMapKey::Int(i) => (1, i128::from(*i.inner()), ""),
        CelMapKey::UInt(u) => (1, i128::from(*u.inner()), ""),
        CelMapKey::String(s) => (2, 0, s.inner()),
    }
}

/// Spends one step per element and per 16 bytes of text.
fn charge(value: &dyn Val) -> Result<(), ExecutionError> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        spend(1 + text.inner().len() as u64 / 16)
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        spend(1)?;
        list.inner().iter().try_for_each(|item| charge(item.as_ref()))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        spend(1)?;
        map.inner().iter().try_for_each(|(key, item)| {
            charge(key.inner())?;
            charge(item.as_ref())
        })
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        spend(1 + bytes.inner().len() as u64 / 16)
    } else if let Some(inner) = value.downcast_ref::<CelOptional>().and_then(CelOptional::inner) {
        charge(inner)
    } else {
        spend(1)
    }
}

/// Checks the tree against `limits` and puts the counters in.
pub(crate) fn instrument(expr: &mut IdedExpr, limits: &Limits) -> Result<(), ExprError> {
    Instrument { limits, loops: 0 }.visit(expr).map(drop)
}

struct Instrument<'a> {
    limits: &'a Limits,
    loops: usize,
}

impl Instrument<'_> {
    /// Returns how many steps the tree below costs when it is run once.
    fn visit(&mut self, expr: &mut IdedExpr) -> Result<u64, ExprError> {
        match &mut expr.expr {
            Ast::Unspecified => Err(ExprError::new(ExprErrorKind::Syntax, "an operand is missing")),
            Ast::Ident(_) | Ast::Literal(_) => Ok(1),
            Ast::Struct(s) => {
                Err(ExprError::new(ExprErrorKind::Unknown, format!("there is no type {:?}", s.type_name)))
            }
            Ast::Select(select) => Ok(1 + self.visit(&mut select.operand)?),
            Ast::List(list) => {
                let mut steps = 1;
                for element in &mut list.elements {
                    steps += self.visit(element)?;
                    copied(element);
                }
                Ok(steps)
            }
            Ast::Map(map) => {
                let mut steps = 1;
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        steps += self.visit(&mut entry.key)? + self.visit(&mut entry.value)?;
                        copied(&mut entry.value);
                    }
                }
                Ok(steps)
            }
            Ast::Comprehension(c) => {
                let mut steps = 1 + self.visit(&mut c.iter_range)? + self.visit(&mut c.accu_init)?;
                self.loops += 1;
                if self.loops > self.limits.loops_max {
                    return Err(ExprError::new(
                        ExprErrorKind::Limit,
                        format!("loops nest deeper than {}", self.limits.loops_max),
                    ));
                }
                let accumulator = c.accu_var.clone();
                let body = self.visit(&mut c.loop_cond)? + self.visit_step(&mut c.loop_step, &accumulator)?;
                self.loops -= 1;
                steps += self.visit(&mut c.result)?;
                let range = std::mem::take(&mut c.iter_range);
                let body = i64::try_from(body).unwrap_or(i64::MAX);
                let body =
                    IdedExpr { id: range.id, expr: Ast::Literal(LiteralValue::Int(CelInt::from(body))) };
                c.iter_range = call(LOOP, vec![range, body]);
                Ok(steps)
            }
            Ast::Call(_) => self.visit_call(expr),
        }
    }

    /// The step of a loop: `accumulator + [x]` keeps its shape, which the interpreter runs without copying.
    fn visit_step(&mut self, expr: &mut IdedExpr, accumulator: &str) -> Result<u64, ExprError> {
        let is_accumulator = |e: &IdedExpr| matches!(&e.expr, Ast::Ident(name) if name == accumulator);
        match &mut expr.expr {
            Ast::Call(c) if c.func_name == operators::CONDITIONAL && c.args.len() == 3 => {
                let mut steps = 1;
                for arg in &mut c.args {
                    steps += self.visit_step(arg, accumulator)?;
                }
                Ok(steps)
            }
            Ast::Call(c)
                if c.func_name == operators::ADD
                    && c.target.is_none()
                    && c.args.first().is_some_and(is_accumulator) =>
            {
                Ok(2 + c.args.last_mut().map_or(Ok(0), |added| self.visit(added))?)
            }
            _ => self.visit(expr),
        }
    }

    fn visit_call(&mut self, expr: &mut IdedExpr) -> Result<u64, ExprError> {
        let Ast::Call(c) = &mut expr.expr else { return Ok(1) };
        let mut steps = 1;
        if c.func_name == "matches" {
            steps += PATTERN_STEPS;
            self.check_pattern(c)?;
        }
        if let Some(target) = &mut c.target {
            steps += self.visit(target)?;
        }
        for arg in &mut c.args {
            steps += self.visit(arg)?;
        }
        let adds = c.func_name == operators::ADD;
        if self.loops > 0 && !adds && looks_at_everything(&c.func_name) {
            c.target.iter_mut().for_each(|target| copied(target));
            c.args.iter_mut().for_each(copied);
        }
        if adds {
            copied(expr);
        }
        Ok(steps)
    }

    fn check_pattern(&self, c: &CallExpr) -> Result<(), ExprError> {
        let bad = |message: String| Err(ExprError::new(ExprErrorKind::Syntax, message));
        let Some(Ast::Literal(LiteralValue::String(pattern))) = c.args.last().map(|arg| &arg.expr) else {
            return bad("the pattern of matches() must be a text literal".into());
        };
        match regex::RegexBuilder::new(pattern.inner()).size_limit(self.limits.pattern_bytes_max).build() {
            Ok(_) => Ok(()),
            Err(regex::Error::CompiledTooBig(_)) => Err(ExprError::new(
                ExprErrorKind::Limit,
                format!("the pattern compiles to more than {} bytes", self.limits.pattern_bytes_max),
            )),
            Err(error) => bad(format!("the pattern of matches() is wrong: {error}")),
        }
    }
}

/// Operators that look at a bounded part of their operands only.
fn looks_at_everything(function: &str) -> bool {
    !matches!(
        function,
        operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE
            | operators::INDEX
            | operators::OPT_INDEX
            | operators::OPT_SELECT
            | operators::NOT_STRICTLY_FALSE
            | "size"
    )
}

fn call(function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    let id = args.first().map_or(0, |arg| arg.id);
    IdedExpr { id, expr: Ast::Call(CallExpr { func_name: function.to_owned(), target: None, args }) }
}

/// Puts `@copy(…)` around everything but literals.
fn copied(expr: &mut IdedExpr) {
    if !matches!(expr.expr, Ast::Literal(_)) {
        let inner = std::mem::take(expr);
        *expr = call(COPY, vec![inner]);
    }
}
