//! A careful formatter: it touches white space only, and proves afterwards that nothing else changed.

use base::Finding;

use crate::{
    Format, Limits,
    report::Report,
    text::{self, tree::Node},
};

/// Spaces of one level.
const INDENT: usize = 2;

/// Formats a definition: no trailing spaces, one final newline, at most one empty line in a row, steps of two spaces,
/// list items indented under their key. Comments, quotes and order stay. JSON is printed with two spaces.
///
/// # Errors
/// The findings of the parser when the text is no YAML or JSON.
pub fn format_definition(source: &str, format: Option<Format>) -> Result<String, Vec<Finding>> {
    let limits = Limits::default();
    let parse = |text: &str, format| {
        let mut report = Report::default();
        let node = text::parse(text, format, &limits, &mut report);
        match node {
            Some(node) if !report.has_errors() => Ok(node),
            _ => Err(report.finish()),
        }
    };
    let before = parse(source, format)?;
    if format.unwrap_or_else(|| Format::of(source)) == Format::Json
        && parse(source, Some(Format::Json)).is_ok()
    {
        let mut out = serde_json::to_string_pretty(&before.value()).unwrap_or_else(|_| source.to_owned());
        out.push('\n');
        return Ok(out);
    }
    // What re-indenting cannot keep (block texts, odd flows) falls back to less.
    for attempt in [indented(source), trimmed(source)] {
        if parse(&attempt, Some(Format::Yaml)).is_ok_and(|after| same(&before, &after)) {
            return Ok(attempt);
        }
    }
    Ok(source.to_owned())
}

fn same(a: &Node, b: &Node) -> bool {
    a.value() == b.value()
}

/// Line ends and empty lines only.
fn trimmed(source: &str) -> String {
    join(source.lines().map(|line| line.trim_end().to_owned()))
}

fn join(lines: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    let mut empty = 0;
    for line in lines {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 && !(line.is_empty() && out.is_empty()) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

/// A level of the text: where its lines stand, and where they are put.
struct Level {
    old: usize,
    new: usize,
    /// Its lines start with `- `.
    list: bool,
}

/// Every level two spaces further in than the one around it. Block texts move with their key.
fn indented(source: &str) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let mut block: Option<(usize, usize, usize)> = None;
    let mut out: Vec<String> = Vec::new();
    let mut comments: Vec<String> = Vec::new();
    for line in source.lines() {
        let text = line.trim_end();
        let old = text.len() - text.trim_start_matches(' ').len();
        let content = &text[old..];
        if let Some((key_old, key_new, first)) = block {
            if content.is_empty() || old > key_old {
                // The first line sets the indent of the block; deeper lines keep their distance to it.
                let base = if first == usize::MAX && !content.is_empty() { old } else { first };
                block = Some((key_old, key_new, base));
                let extra = old.saturating_sub(base);
                out.push(if content.is_empty() {
                    String::new()
                } else {
                    spaces(key_new + INDENT + extra) + content
                });
                continue;
            }
            block = None;
        }
        if content.is_empty() || content.starts_with('#') {
            // A comment belongs to what follows it.
            comments.push(content.to_owned());
            continue;
        }
        let new = place(&mut levels, old, content);
        out.extend(comments.drain(..).map(|c| if c.is_empty() { c } else { spaces(new) + &c }));
        let (shown, key_old, key_new) = compact(&mut levels, old, new, content);
        if opens_block(&shown) {
            block = Some((key_old, key_new, usize::MAX));
        }
        out.push(spaces(new) + &shown);
    }
    out.extend(comments);
    join(out.into_iter())
}

fn spaces(n: usize) -> String {
    " ".repeat(n)
}

/// Where a line that stood at `old` goes.
fn place(levels: &mut Vec<Level>, old: usize, content: &str) -> usize {
    let list = content == "-" || content.starts_with("- ");
    while levels.last().is_some_and(|level| level.old > old || (level.old == old && level.list && !list)) {
        levels.pop();
    }
    match levels.last() {
        Some(level) if level.old == old && level.list == list => level.new,
        Some(level) => {
            let new = level.new + INDENT;
            levels.push(Level { old, new, list });
            new
        }
        None => {
            levels.push(Level { old, new: 0, list });
            0
        }
    }
}

/// `-   key: value` opens a level inside of the line. Returns the line with one space after each dash, and the place of
/// its last key before and after.
fn compact(levels: &mut Vec<Level>, old: usize, new: usize, content: &str) -> (String, usize, usize) {
    let (mut old, mut new, mut rest, mut shown) = (old, new, content, String::new());
    while let Some(after) = rest.strip_prefix("- ") {
        let inner = after.trim_start_matches(' ');
        old += rest.len() - inner.len();
        new += INDENT;
        shown.push_str("- ");
        rest = inner;
        levels.push(Level { old, new, list: rest == "-" || rest.starts_with("- ") });
    }
    shown.push_str(rest);
    (shown, old, new)
}

/// `key: |`, `- >-` and the like.
fn opens_block(line: &str) -> bool {
    let line = line.split(" #").next().unwrap_or(line).trim_end();
    let Some(last) = line.rsplit([' ']).next() else { return false };
    let mut chars = last.chars();
    matches!(chars.next(), Some('|' | '>')) && chars.all(|c| matches!(c, '-' | '+'))
}
