//! What an expression reads: the names it starts from and the members it follows.

use std::collections::BTreeMap;

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators};

/// A variable and the members that are read from it: `tasks.research.output` is `["tasks", "research", "output"]`.
pub type Path = Vec<String>;

/// The paths of an expression as a tree; what is not in it is not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tree {
    /// The value as a whole is read.
    pub(crate) whole: bool,
    pub(crate) members: BTreeMap<String, Tree>,
}

impl Tree {
    fn add(&mut self, path: &[String]) {
        match path.split_first() {
            None => self.whole = true,
            Some((first, rest)) => self.members.entry(first.clone()).or_default().add(rest),
        }
    }
    pub(crate) fn of(paths: &[Path]) -> Self {
        let mut tree = Self::default();
        for path in paths {
            tree.add(path);
        }
        tree
    }
}

/// Every path that `expr` reads from outside, sorted, without doubles.
pub(crate) fn references(expr: &IdedExpr) -> Vec<Path> {
    let mut found = Vec::new();
    visit(expr, &mut Vec::new(), &mut found);
    found.sort();
    found.dedup();
    found
}

/// Levels of the tree.
pub(crate) fn depth(expr: &IdedExpr) -> usize {
    let mut deepest = 0;
    each_child(expr, &mut |child| deepest = depth(child).max(deepest));
    deepest + 1
}

fn each_child(expr: &IdedExpr, see: &mut dyn FnMut(&IdedExpr)) {
    let mut entry = |entry: &EntryExpr| match entry {
        EntryExpr::StructField(field) => see(&field.value),
        EntryExpr::MapEntry(entry) => {
            see(&entry.key);
            see(&entry.value);
        }
    };
    match &expr.expr {
        Ast::Map(map) => map.entries.iter().for_each(|e| entry(&e.expr)),
        Ast::Struct(s) => s.entries.iter().for_each(|e| entry(&e.expr)),
        Ast::List(list) => list.elements.iter().for_each(see),
        Ast::Select(select) => see(&select.operand),
        Ast::Call(call) => {
            call.target.iter().for_each(|target| see(target));
            call.args.iter().for_each(see);
        }
        Ast::Comprehension(c) => {
            [&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result].into_iter().for_each(see);
        }
        Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => {}
    }
}

/// Gives the variable `old` the name `new`.
pub(crate) fn rename(expr: &mut IdedExpr, old: &str, new: &str) {
    let entry = |entry: &mut EntryExpr| match entry {
        EntryExpr::StructField(field) => rename(&mut field.value, old, new),
        EntryExpr::MapEntry(entry) => {
            rename(&mut entry.key, old, new);
            rename(&mut entry.value, old, new);
        }
    };
    match &mut expr.expr {
        Ast::Ident(name) if name == old => new.clone_into(name),
        Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => {}
        Ast::Map(map) => map.entries.iter_mut().for_each(|e| entry(&mut e.expr)),
        Ast::Struct(s) => s.entries.iter_mut().for_each(|e| entry(&mut e.expr)),
        Ast::List(list) => list.elements.iter_mut().for_each(|element| rename(element, old, new)),
        Ast::Select(select) => rename(&mut select.operand, old, new),
        Ast::Call(call) => {
            call.target.iter_mut().for_each(|target| rename(target, old, new));
            call.args.iter_mut().for_each(|argument| rename(argument, old, new));
        }
        Ast::Comprehension(c) => {
            for part in
                [&mut c.iter_range, &mut c.accu_init, &mut c.loop_cond, &mut c.loop_step, &mut c.result]
            {
                rename(part, old, new);
            }
        }
    }
}

/// `a.b["c"]` as a path; `None` for anything else.
pub(crate) fn as_path(expr: &IdedExpr) -> Option<Path> {
    let mut path = Vec::new();
    let mut at = expr;
    loop {
        match &at.expr {
            Ast::Ident(name) => {
                path.push(name.strip_prefix('.').unwrap_or(name).to_owned());
                path.reverse();
                return Some(path);
            }
            Ast::Select(select) if !select.test => {
                path.push(select.field.clone());
                at = &select.operand;
            }
            Ast::Call(call) if call.func_name == operators::INDEX && call.target.is_none() => {
                let [container, index] = call.args.as_slice() else { return None };
                let Ast::Literal(LiteralValue::String(name)) = &index.expr else { return None };
                path.push(name.inner().to_owned());
                at = container;
            }
            _ => return None,
        }
    }
}

fn visit(expr: &IdedExpr, bound: &mut Vec<String>, found: &mut Vec<Path>) {
    if let Some(path) = as_path(expr) {
        if !bound.contains(&path[0]) {
            found.push(path);
        }
        return;
    }
    match &expr.expr {
        Ast::Comprehension(c) => {
            visit(&c.iter_range, bound, found);
            visit(&c.accu_init, bound, found);
            let before = bound.len();
            bound.push(c.accu_var.clone());
            bound.push(c.iter_var.clone());
            bound.extend(c.iter_var2.clone());
            for part in [&c.loop_cond, &c.loop_step, &c.result] {
                visit(part, bound, found);
            }
            bound.truncate(before);
        }
        Ast::Select(select) => match (select.test, as_path(&select.operand)) {
            // `has(a.b)` reads `a.b`.
            (true, Some(mut path)) => {
                path.push(select.field.clone());
                if !bound.contains(&path[0]) {
                    found.push(path);
                }
            }
            _ => visit(&select.operand, bound, found),
        },
        _ => each_child(expr, &mut |child| visit(child, bound, found)),
    }
}
