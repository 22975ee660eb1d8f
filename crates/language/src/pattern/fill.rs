//! Fills parameters into the body of a pattern, value by value: never text into text that is parsed again.
//!
//! A text that is `$(name)` becomes the value; in a longer text it is filled in, lists and objects as JSON. In a list,
//! `$(name...)` puts the elements of a list in its place. `{$each: list or object, $as: name, $do: …}` gives one element
//! (in a list) or merges one mapping (elsewhere) per element; `{$if: value, $then: …, $else: …}` chooses.

use crate::{
    report::Report,
    text::tree::{Data, Key, Node, Pos},
};

/// Names and their values, while a body is filled.
pub(super) struct Fill<'a> {
    pub(super) names: Vec<(String, Node)>,
    /// Which use of which pattern it is; see [`Pos::origin`].
    pub(super) origin: u32,
    /// Values that may still be made.
    pub(super) left: &'a mut usize,
    pub(super) report: &'a mut Report,
}

/// A part of the text of a pattern, seen from a use of it.
pub(super) fn stamped(node: &Node, origin: u32) -> Node {
    let at = Pos { origin, ..node.at };
    let data = match &node.data {
        Data::List(items) => Data::List(items.iter().map(|item| stamped(item, origin)).collect()),
        Data::Map(entries) => Data::Map(
            entries
                .iter()
                .map(|(key, value)| {
                    let key = Key { at: Pos { origin, ..key.at }, text: key.text.clone() };
                    (key, stamped(value, origin))
                })
                .collect(),
        ),
        other => other.clone(),
    };
    Node { at, data }
}

impl Fill<'_> {
    fn at(&self, at: Pos) -> Pos {
        Pos { origin: self.origin, ..at }
    }

    fn wrong(&mut self, at: Pos, message: impl Into<String>, remedy: &str) {
        let at = self.at(at);
        self.report.error("bad-template", at, "", message).remedy(remedy);
    }

    /// One more value; false when there are too many.
    fn spend(&mut self, at: Pos, values: usize) -> bool {
        if *self.left < values {
            if *self.left > 0 {
                let at = self.at(at);
                self.report
                    .error("limit-nodes", at, "", "the pattern makes more values than a definition may have")
                    .remedy("use fewer or smaller arguments");
            }
            *self.left = 0;
            return false;
        }
        *self.left -= values;
        true
    }

    /// `node` with its parameters filled in; `None` when an `$if` left nothing.
    pub(super) fn node(&mut self, node: &Node) -> Option<Node> {
        if !self.spend(node.at, 1) {
            return None;
        }
        let at = self.at(node.at);
        let data = match &node.data {
            Data::Text(text, quote) => return Some(self.text(node, text, *quote)),
            Data::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                items.iter().for_each(|item| self.item(item, &mut out));
                Data::List(out)
            }
            Data::Map(entries) if has(entries, "$if") => return self.choose(entries, node.at),
            Data::Map(entries) if has(entries, "$each") => {
                let mut out = Vec::new();
                self.each(entries, node.at, &mut |made| match made.data {
                    Data::Map(entries) => {
                        out.extend(entries);
                        true
                    }
                    _ => false,
                });
                Data::Map(out)
            }
            Data::Map(entries) => {
                let mut out = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let text = self.words(&key.text, key.at);
                    let key = Key { at: self.at(key.at), text };
                    out.extend(self.node(value).map(|value| (key, value)));
                }
                Data::Map(out)
            }
            other => other.clone(),
        };
        Some(Node { at, data })
    }

    fn item(&mut self, item: &Node, out: &mut Vec<Node>) {
        if let Some(name) = item.text().and_then(|text| text.strip_prefix("$(")?.strip_suffix("...)")) {
            match self.look_up(name, item.at).map(|found| found.data) {
                Some(Data::List(items)) => {
                    let fits = self.spend(item.at, items.len());
                    out.extend(items.into_iter().filter(|_| fits));
                }
                Some(_) => self.wrong(item.at, format!("`{name}` is no list"), "write it without `...`"),
                None => {}
            }
            return;
        }
        match &item.data {
            Data::Map(entries) if has(entries, "$each") => {
                self.each(entries, item.at, &mut |made| {
                    out.push(made);
                    true
                });
            }
            _ => out.extend(self.node(item)),
        }
    }

    /// `$(a.b)`; `None` when there is no such thing, which is reported.
    fn look_up(&mut self, path: &str, at: Pos) -> Option<Node> {
        let mut parts = path.trim().split('.');
        let first = parts.next().unwrap_or_default();
        let found = self.names.iter().rev().find(|(name, _)| name == first).map(|(_, node)| node);
        let mut found = match found {
            Some(node) => node,
            None => {
                let message = format!("the pattern has no parameter `{first}`");
                self.wrong(at, message, "declare it under `parameters`");
                return None;
            }
        };
        for part in parts {
            let inner = match &found.data {
                Data::Map(_) => found.get(part),
                Data::List(items) => part.parse::<usize>().ok().and_then(|n| items.get(n)),
                _ => None,
            };
            match inner {
                Some(inner) => found = inner,
                None => {
                    self.wrong(at, format!("`{path}` has no part `{part}`"), "correct the path");
                    return None;
                }
            }
        }
        Some(found.clone())
    }

    fn text(&mut self, node: &Node, text: &str, quote: Option<u8>) -> Node {
        let at = self.at(node.at);
        if !text.contains("$(") {
            return Node { at, data: Data::Text(text.to_owned(), quote) };
        }
        if let Some(path) = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'))
            && !path.contains(['(', ')'])
        {
            let found = self.look_up(path, node.at);
            if found.as_ref().is_some_and(|found| !self.spend(node.at, size(found))) {
                return Node { at, data: Data::Null };
            }
            return found.unwrap_or(Node { at, data: Data::Null });
        }
        Node { at, data: Data::Text(self.words(text, node.at), None) }
    }

    /// A text with values filled in.
    fn words(&mut self, text: &str, at: Pos) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, after)) = rest.split_once("$(") {
            out.push_str(before);
            let Some((path, after)) = after.split_once(')') else {
                self.wrong(at, "a `$(` without its `)`", "close it");
                return out;
            };
            if let Some(found) = self.look_up(path, at) {
                out.push_str(&found.text_or_number().unwrap_or_else(|| found.value().to_string()));
            }
            rest = after;
        }
        out.push_str(rest);
        // Text takes room too: some bytes count as a value.
        if !self.spend(at, out.len() / 32) {
            out.clear();
        }
        if out.len() > 1 << 20 {
            self.wrong(at, "the text becomes longer than 1 MB", "use smaller arguments");
            out.clear();
        }
        out
    }

    /// `{$if, $then, $else}`.
    fn choose(&mut self, entries: &[(Key, Node)], at: Pos) -> Option<Node> {
        let known = |key: &Key| matches!(key.text.as_str(), "$if" | "$then" | "$else");
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
            self.wrong(key.at, format!("`{}` stands beside `$if`", key.text), "put it into `$then`");
        }
        let part = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node);
        let Some(asked) = part("$if").and_then(|node| self.node(node)) else {
            self.wrong(at, "`$if` has no value", "write `$if: $(parameter)`");
            return None;
        };
        let yes = match &asked.data {
            Data::Null | Data::Bool(false) => false,
            Data::Text(text, _) => !text.is_empty() && text != "false",
            Data::List(items) => !items.is_empty(),
            Data::Map(entries) => !entries.is_empty(),
            Data::Number(number, _) => number.as_f64() != Some(0.0),
            Data::Bool(true) => true,
        };
        part(if yes { "$then" } else { "$else" }).and_then(|node| self.node(node))
    }

    /// `{$each, $as, $do}`: shows what each element becomes to `take`, which says whether it is of use there.
    fn each(&mut self, entries: &[(Key, Node)], at: Pos, take: &mut dyn FnMut(Node) -> bool) {
        let known = |key: &Key| matches!(key.text.as_str(), "$each" | "$as" | "$do");
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
            self.wrong(key.at, format!("`{}` stands beside `$each`", key.text), "put it into `$do`");
        }
        let part = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node);
        let name = part("$as").and_then(Node::text).unwrap_or("each").to_owned();
        let over = part("$each").and_then(|node| self.node(node));
        let Some(made_of) = part("$do") else {
            return self.wrong(at, "`$each` has no `$do`", "write what each element becomes");
        };
        let number = |n: usize| Data::Number(serde_json::Number::from(n), None);
        let elements: Vec<(Data, Node)> = match over.map(|over| over.data) {
            Some(Data::List(items)) => {
                items.into_iter().enumerate().map(|(n, item)| (number(n), item)).collect()
            }
            Some(Data::Map(entries)) => {
                entries.into_iter().map(|(key, item)| (Data::Text(key.text, None), item)).collect()
            }
            _ => return self.wrong(at, "`$each` goes over a list or an object", "correct it"),
        };
        for (key, element) in elements {
            if *self.left == 0 {
                return;
            }
            let key = Node { at: element.at, data: key };
            self.names.push((name.clone(), element));
            self.names.push((format!("{name}_key"), key));
            let made = self.node(made_of);
            self.names.truncate(self.names.len() - 2);
            if made.is_some_and(|made| !take(made)) {
                return self.wrong(
                    made_of.at,
                    "here, each element becomes a mapping",
                    "write a mapping under `$do`",
                );
            }
        }
    }
}

fn has(entries: &[(Key, Node)], name: &str) -> bool {
    entries.iter().any(|(key, _)| key.text == name)
}

/// How many values a value holds, itself included.
fn size(node: &Node) -> usize {
    1 + match &node.data {
        Data::List(items) => items.iter().map(size).sum(),
        Data::Map(entries) => entries.iter().map(|(_, value)| size(value)).sum(),
        _ => 0,
    }
}
