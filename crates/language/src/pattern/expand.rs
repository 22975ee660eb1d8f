//! Puts the bodies of patterns in the place of their uses, before a definition is read.

use std::sync::Arc;

use crate::{
    Limits, VersionRange,
    report::Report,
    text::tree::{Data, Key, Node, Pos},
};

use super::{Pattern, Patterns, arguments, fill::Fill, find, named, names};

/// The name that stands for a graph of the user's own.
const CUSTOM: &str = "custom";
/// Deepest nesting of uses.
const DEPTH_MAX: usize = 16;
/// Keys that hold tasks.
const LISTS: &[&str] = &["tasks", "stages", "steps", "nodes"];
/// Keys of a pattern's body that its use may say in its own way.
const OWN: &[&str] = &[
    "input",
    "input_from",
    "name",
    "description",
    "instructions",
    "timeout",
    "timeouts",
    "when",
    "priority",
    "optional",
    "on_error",
    "output",
];

pub(super) struct Expander<'a> {
    pub(super) others: Option<&'a dyn Patterns>,
    pub(super) report: &'a mut Report,
    /// Values that may still be made.
    pub(super) left: usize,
}

/// The pattern around a use, and what it may be built from.
struct Outer<'a> {
    pattern: &'a Pattern,
    around: Option<&'a Outer<'a>>,
}

impl Outer<'_> {
    fn depth(&self) -> usize {
        1 + self.around.map_or(0, Outer::depth)
    }
    fn holds(&self, pattern: &Pattern) -> bool {
        self.pattern.name == pattern.name || self.around.is_some_and(|outer| outer.holds(pattern))
    }
}

/// A use as it is written.
struct Use {
    name: String,
    range: String,
    with: Option<Node>,
    at: Pos,
}

/// Expands every use of a pattern in the definition `root`. False when the definition is nothing but a use that failed.
pub(crate) fn expand(
    root: &mut Node,
    others: Option<&dyn Patterns>,
    limits: &Limits,
    report: &mut Report,
) -> bool {
    let mut expander = Expander { others, report, left: limits.nodes_max };
    let wrapped = match &root.data {
        Data::Map(entries) => {
            matches!(entries.as_slice(), [(key, inner)]
                if matches!(key.text.as_str(), "workflow" | "chain" | "graph") && inner.map().is_some())
        }
        _ => false,
    };
    match &mut root.data {
        Data::Map(entries) if wrapped => expander.definition(&mut entries[0].1),
        _ => expander.definition(root),
    }
}

fn is_name(key: &Key) -> bool {
    matches!(
        key.text.as_str(),
        "pattern" | "orchestration_pattern" | "orchestrationPattern" | "orchestration-pattern"
    )
}

impl Expander<'_> {
    fn definition(&mut self, node: &mut Node) -> bool {
        let Data::Map(entries) = &mut node.data else { return true };
        let used = entries.iter().any(|(key, _)| key.text == "with");
        if let Some(place) = entries.iter().position(|(key, _)| is_name(key)) {
            self.whole(entries, place);
        } else if let Some((key, _)) = entries.iter().find(|(key, _)| key.text == "with") {
            let message = "`with` gives a pattern its parameters, and none is named";
            self.report
                .error("missing-key", key.at, "with", message)
                .remedy("add `orchestration_pattern: …`");
        }
        entries.retain(|(key, _)| key.text != "with");
        for (_, list) in entries.iter_mut().filter(|(key, _)| LISTS.contains(&key.text.as_str())) {
            self.tasks(list, None);
        }
        let is_empty = !entries.iter().any(|(key, _)| LISTS.contains(&key.text.as_str()));
        !(used && is_empty && self.report.has_errors())
    }

    /// `orchestration_pattern` of the definition: with `with` it becomes a task, without it is a name.
    fn whole(&mut self, entries: &mut Vec<(Key, Node)>, place: usize) {
        let with = entries.iter().find(|(key, _)| key.text == "with").map(|(_, node)| node.clone());
        let Some(mut used) = self.read(&entries[place].1) else { return };
        used.with = used.with.or(with);
        let (key_at, at) = (entries[place].0.at, used.at);
        entries[place].1 = Node { at, data: Data::Text(used.name.clone(), Some(0)) };
        if used.name.is_empty() {
            return;
        }
        if used.with.is_none() {
            let any = VersionRange::default();
            let known = used.name == CUSTOM || find(&used.name, &any, self.others).is_some();
            if known {
                let message = format!("the pattern `{}` runs the graph as it is written", used.name);
                self.report
                    .note("pattern-as-written", key_at, "orchestration_pattern", message)
                    .remedy("give it `with: {…}` to have it expanded");
            } else {
                self.unknown(&used);
            }
            return;
        }
        let key = |text: &str| Key { at, text: text.to_owned() };
        let word = |text: &str| Node { at, data: Data::Text(text.to_owned(), Some(0)) };
        let mut task = Node { at, data: Data::Map(vec![(key("id"), word(&used.name))]) };
        let Some(()) = self.put(&mut task, used, None) else { return };
        match entries.iter_mut().find(|(key, _)| LISTS.contains(&key.text.as_str())) {
            Some((_, Node { data: Data::List(tasks), .. })) => tasks.insert(0, task),
            Some((_, list @ Node { data: Data::Null, .. })) => list.data = Data::List(vec![task]),
            Some(_) => {}
            None => entries.push((key("tasks"), Node { at, data: Data::List(vec![task]) })),
        }
    }

    fn tasks(&mut self, list: &mut Node, outer: Option<&Outer<'_>>) {
        match &mut list.data {
            Data::List(items) => items.iter_mut().for_each(|task| self.task(task, outer)),
            Data::Map(entries) => entries.iter_mut().for_each(|(_, task)| self.task(task, outer)),
            _ => {}
        }
    }

    fn task(&mut self, task: &mut Node, outer: Option<&Outer<'_>>) {
        let Data::Map(entries) = &mut task.data else { return };
        if let Some(place) = entries.iter().position(|(key, _)| key.text == "pattern") {
            let (_, node) = entries.remove(place);
            let with = entries.iter().position(|(key, _)| key.text == "with").map(|n| entries.remove(n).1);
            if let Some(mut used) = self.read(&node) {
                used.with = used.with.or(with);
                self.put(task, used, outer);
            }
            return;
        }
        for (_, list) in entries.iter_mut().filter(|(key, _)| key.text == "tasks") {
            self.tasks(list, outer);
        }
    }

    /// `name`, `name@range` or `{name, version, with}`.
    fn read(&mut self, node: &Node) -> Option<Use> {
        if let Some(text) = node.text() {
            let (name, range) = named(text);
            return Some(Use { name: name.into(), range: range.into(), with: None, at: node.at });
        }
        let Some(entries) = node.map() else {
            let message = format!("a pattern is named by a text or a mapping, this is {}", node.kind());
            self.report.error("bad-type", node.at, "pattern", message).remedy("write `{name: …, with: {…}}`");
            return None;
        };
        let mut used = Use { name: String::new(), range: String::new(), with: None, at: node.at };
        for (key, value) in entries {
            let text = value.text_or_number().unwrap_or_default();
            match key.text.as_str() {
                "name" => (used.name, used.at) = (text, value.at),
                "version" => used.range = text,
                "with" => used.with = Some(value.clone()),
                _ => super::unknown_key(key, "pattern", &["name", "version", "with"], self.report),
            }
        }
        if used.name.is_empty() {
            let message = "a pattern has a name";
            self.report.error("missing-key", node.at, "pattern", message).remedy("add `name: …`");
            return None;
        }
        Some(used)
    }

    fn unknown(&mut self, used: &Use) {
        let known = names(self.others);
        let message = format!("there is no pattern {:?}", used.name);
        let remedy = match base::finding::nearest(&used.name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("patterns are {}", known.join(", ")),
        };
        self.report.error("unsupported-pattern", used.at, "orchestration_pattern", message).remedy(remedy);
    }

    fn found(&mut self, used: &Use, outer: Option<&Outer<'_>>) -> Option<Arc<Pattern>> {
        let mut range = used.range.as_str();
        if let Some(outer) = outer {
            let declared =
                outer.pattern.uses.iter().map(|text| named(text)).find(|(name, _)| *name == used.name);
            match declared {
                Some((_, declared)) if range.is_empty() => range = declared,
                Some(_) => {}
                None => {
                    let message = format!("the pattern uses `{}` and does not say so", used.name);
                    self.report
                        .error("undeclared-use", used.at, "pattern", message)
                        .remedy(format!("add it: `uses: [{}]`", used.name));
                    return None;
                }
            }
        }
        let range = match VersionRange::parse(range) {
            Ok(range) => range,
            Err(rule) => {
                self.report
                    .error("bad-value", used.at, "pattern.version", rule)
                    .remedy("write a version or a range");
                return None;
            }
        };
        let found = find(&used.name, &range, self.others);
        if found.is_none() {
            match find(&used.name, &VersionRange::default(), self.others) {
                Some(other) => {
                    let message = format!("no version of the pattern `{}` is in that range", used.name);
                    let remedy = format!("the newest is {}", other.version);
                    self.report
                        .error("unsupported-pattern", used.at, "pattern.version", message)
                        .remedy(remedy);
                }
                None => self.unknown(used),
            }
        }
        found
    }

    /// Puts the body of the pattern that `used` names into `task`.
    fn put(&mut self, task: &mut Node, used: Use, outer: Option<&Outer<'_>>) -> Option<()> {
        let pattern = self.found(&used, outer)?;
        if outer.is_some_and(|outer| outer.holds(&pattern) || outer.depth() >= DEPTH_MAX) {
            let message = format!("the pattern `{}` is built from itself", used.name);
            self.report
                .error("pattern-recursion", used.at, "pattern", message)
                .remedy("write a loop, or another pattern");
            return None;
        }
        let origin = self.report.origin(&pattern.name, used.at);
        let names = arguments::bind(&pattern, used.with.as_ref(), used.at, origin, self.report)?;
        let body = Fill { names, origin, left: &mut self.left, report: self.report }.node(&pattern.body)?;
        self.merge(task, body, &pattern);
        let inner = Outer { pattern: &pattern, around: outer };
        // The body may be a use itself, or hold uses.
        self.task(task, Some(&inner));
        Some(())
    }

    /// Expands what is inside of a task that `pattern` became.
    pub(super) fn inside(&mut self, task: &mut Node, pattern: &Pattern) {
        self.task(task, Some(&Outer { pattern, around: None }));
    }

    /// The keys of `body` beside those of the use.
    pub(super) fn merge(&mut self, task: &mut Node, body: Node, pattern: &Pattern) {
        let (Data::Map(own), Data::Map(made)) = (&mut task.data, body.data) else { return };
        let said = |own: &[(Key, Node)], key: &Key| {
            own.iter().find(|(mine, _)| mine.text == key.text).map(|(mine, _)| mine.at)
        };
        let conflict =
            |(key, _): &&(Key, Node)| !OWN.contains(&key.text.as_str()) && said(own, key).is_some();
        if let Some((key, _)) = made.iter().find(conflict) {
            let at = said(own, key).unwrap_or_default();
            let message = format!("the pattern `{}` says what `{}` is", pattern.name, key.text);
            self.report
                .error("bad-value", at, key.text.clone(), message)
                .remedy("remove the key, or put the pattern into a task of its own");
            return;
        }
        for (key, value) in made {
            if said(own, &key).is_none() {
                own.push((key, value));
            }
        }
    }
}
