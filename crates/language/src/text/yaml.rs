//! YAML with places, behind one function: the parser below it is young and changes often.

use std::collections::{HashMap, HashSet};

use serde_json::Number;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, options};

use crate::{Limits, report::Report};

use super::{
    json::without_doubles,
    tree::{Data, Key, Node, Pos},
};

/// Parses one YAML document.
pub(crate) fn parse(text: &str, limits: &Limits, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = options! { emit_comments: false, simple_key_max_lookahead: 64 * 1024 };
    // One more than ours, so that our message is the one that is seen.
    options.flow_nesting_limit = limits.depth_max.saturating_add(1);
    options.block_nesting_limit = limits.depth_max.saturating_add(1);
    let mut builder = Builder {
        limits,
        report,
        nodes: 0,
        aliases: 0,
        alias_nodes: 0,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => Err(of_scanner(&error)),
        };
        if let Err(Stop { code, at, message, remedy }) = step {
            builder.report.error(code, at, "", message).remedy(remedy);
            return None;
        }
    }
    let root = builder.root;
    if root.is_none() {
        report.error("syntax", Pos::START, "", "the text is empty").remedy("write a definition");
    }
    root
}

struct Stop {
    code: &'static str,
    at: Pos,
    message: String,
    remedy: &'static str,
}

fn of_scanner(error: &ScanError) -> Stop {
    let mark = error.marker();
    let text = error.to_string();
    // The message ends with the place, which findings carry by themselves.
    let message = text.split(" at ").next().unwrap_or(&text).trim().to_owned();
    let (code, message) = match message.contains("nest") || message.contains("recursion") {
        true => ("limit-depth", message),
        false => ("syntax", message),
    };
    let tab = message.contains("tab");
    let remedy = if tab { "indent with spaces" } else { "" };
    Stop { code, at: pos(mark.line(), mark.col()), message, remedy }
}

fn pos(line: usize, col: usize) -> Pos {
    Pos { line: u32::try_from(line).unwrap_or(0), column: u32::try_from(col + 1).unwrap_or(0), origin: 0 }
}

/// A list or mapping that is still open.
struct Open {
    at: Pos,
    anchor: usize,
    weight: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, merged: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder<'a> {
    limits: &'a Limits,
    report: &'a mut Report,
    nodes: usize,
    aliases: usize,
    alias_nodes: usize,
    open: Vec<Open>,
    /// Anchored nodes with their weight.
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
    documents: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let at = pos(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()));
                let one_line = span.start.line() == span.end.line();
                let data = scalar(&text, style, tag.as_deref(), one_line, span).map_err(|message| Stop {
                    code: "syntax",
                    at,
                    message,
                    remedy: "remove the tag",
                })?;
                self.count(1, at)?;
                self.place(Node { at, data }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, anchor, OpenKind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.begin(at, anchor, OpenKind::Map { entries: Vec::new(), merged: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, at),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "the text holds more than one document".into();
                    return Err(Stop { code: "syntax", at, message, remedy: "one definition per file" });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, weight: usize, at: Pos) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(weight);
        if self.nodes > self.limits.nodes_max {
            let message = format!("the text has more than {} values", self.limits.nodes_max);
            return Err(Stop { code: "limit-nodes", at, message, remedy: "" });
        }
        Ok(())
    }

    fn begin(&mut self, at: Pos, anchor: usize, kind: OpenKind) -> Result<(), Stop> {
        if self.open.len() >= self.limits.depth_max {
            let message = format!("the text nests deeper than {} levels", self.limits.depth_max);
            return Err(Stop { code: "limit-depth", at, message, remedy: "" });
        }
        self.count(1, at)?;
        self.open.push(Open { at, anchor, weight: 1, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(Open { at, anchor, weight, kind }) = self.open.pop() else { return Ok(()) };
        let data = match kind {
            OpenKind::List(items) => Data::List(items),
            OpenKind::Map { entries, merged, .. } => {
                let mut entries = without_doubles(entries, self.report);
                if !merged.is_empty() {
                    // What is written out wins over what is merged, and the first merged over the next.
                    let mut known: HashSet<String> =
                        entries.iter().map(|(key, _)| key.text.clone()).collect();
                    entries.extend(merged.into_iter().filter(|(key, _)| known.insert(key.text.clone())));
                }
                Data::Map(entries)
            }
        };
        self.place(Node { at, data }, anchor, weight)
    }

    fn alias(&mut self, id: usize, at: Pos) -> Result<(), Stop> {
        let Some((node, weight)) = self.anchors.get(&id) else {
            let message = "an alias may not stand inside of what it names".into();
            return Err(Stop { code: "syntax", at, message, remedy: "" });
        };
        let weight = *weight;
        self.aliases += 1;
        if self.aliases > self.limits.aliases_max {
            let message = format!("the text has more than {} aliases", self.limits.aliases_max);
            return Err(Stop { code: "limit-aliases", at, message, remedy: "write the values out" });
        }
        self.alias_nodes = self.alias_nodes.saturating_add(weight);
        if self.alias_nodes > self.limits.alias_nodes_max {
            let message = format!("aliases stand for more than {} values", self.limits.alias_nodes_max);
            return Err(Stop { code: "limit-aliases", at, message, remedy: "write the values out" });
        }
        let node = node.clone();
        self.count(weight, at)?;
        self.place(Node { at, data: node.data }, 0, weight)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, anchor: usize, weight: usize) -> Result<(), Stop> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.weight += weight;
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, merged, key } => match key.take() {
                None => match node.text_or_number().or_else(|| word_key(&node)) {
                    Some(text) => *key = Some(Key { at: node.at, text }),
                    None => {
                        let message = format!("a key must be a text, this one is {}", node.kind());
                        return Err(Stop { code: "syntax", at: node.at, message, remedy: "" });
                    }
                },
                Some(key) if key.text == "<<" => merge(&key, node, merged)?,
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

/// `true:` and `null:` are keys too.
fn word_key(node: &Node) -> Option<String> {
    match &node.data {
        Data::Bool(b) => Some(b.to_string()),
        Data::Null => Some("null".into()),
        _ => None,
    }
}

/// `<<: *other` takes over the entries of another mapping, or of several.
fn merge(key: &Key, node: Node, merged: &mut Vec<(Key, Node)>) -> Result<(), Stop> {
    match node.data {
        Data::Map(entries) => {
            merged.extend(entries);
            Ok(())
        }
        Data::List(items) => items.into_iter().try_for_each(|item| match item.data {
            Data::Map(_) => merge(key, item, merged),
            _ => Err(not_mergeable(key)),
        }),
        _ => Err(not_mergeable(key)),
    }
}

fn not_mergeable(key: &Key) -> Stop {
    let message = "`<<` takes a mapping or a list of mappings".into();
    Stop { code: "syntax", at: key.at, message, remedy: "" }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&str>,
    one_line: bool,
    span: &Span,
) -> Result<Data, String> {
    let plain = matches!(style, ScalarStyle::Plain);
    match tag {
        None if plain => {}
        None | Some("tag:yaml.org,2002:str" | "!") => {
            // Without escapes the token is as long as the text and its quotes.
            let quote = u8::from(!plain);
            let as_it_is = one_line && span.len() == text.chars().count() + 2 * usize::from(quote);
            return Ok(Data::Text(text.to_owned(), as_it_is.then_some(quote)));
        }
        Some(
            "tag:yaml.org,2002:int"
            | "tag:yaml.org,2002:float"
            | "tag:yaml.org,2002:bool"
            | "tag:yaml.org,2002:null",
        ) => {}
        Some(other) => return Err(format!("the tag {other:?} is not known here")),
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "true" | "True" | "TRUE" => Data::Bool(true),
        "false" | "False" | "FALSE" => Data::Bool(false),
        _ => match number(text) {
            Some(number) => {
                let raw = (number.to_string() != text).then(|| text.into());
                Data::Number(number, raw)
            }
            None => Data::Text(text.to_owned(), one_line.then_some(0)),
        },
    })
}

/// Numbers of the YAML 1.2 core schema. What JSON cannot hold (`.inf`, `.nan`) stays a text.
fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return None;
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        || !unsigned.bytes().any(|b| b.is_ascii_digit())
    {
        return None;
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    if let Ok(int) = plain.parse::<i64>() {
        return Some(int.into());
    }
    if let Ok(int) = plain.parse::<u64>() {
        return Some(int.into());
    }
    plain.parse::<f64>().ok().and_then(Number::from_f64)
}
