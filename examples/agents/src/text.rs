//! Words, stems and sentences of English prose.

use std::collections::{BTreeMap, HashMap};

/// Words that carry no subject.
const STOP_WORDS: &str = " a about after again all also although am an and any are as at be because been before being between both but by \
can cannot could did do does doing done down during each either else even ever every exist exists few for from further get gets give given go goes had has have \
having he her here hers him his how however i if in instead into is it its itself just know let like made make makes many may me might more most much \
must my need needs never no nor not now of off often on once one only or other our out over own per rather same say says see seem seen shall she \
should since so some something still such take takes than that the their them then there these they thing things this those though through thus to too \
two under until up upon us use used uses using very was way we well were what when where whether which while who whom whose why will with within \
without would yes yet you your ";

/// Whether a lower-case word carries no subject.
pub fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.contains(&format!(" {word} "))
}

/// The words of a text in lower case: letters and digits, apostrophes dropped.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')))
        .map(|w| w.replace(['\'', '’'], "").to_lowercase())
        .filter(|w| !w.is_empty())
}

/// Cuts the common endings of English, so that `retries`, `retry` and `retrying` meet.
pub fn stem(word: &str) -> String {
    let long = |n: usize| word.len() >= n;
    if !word.is_ascii() {
        return word.to_owned();
    }
    let mut out = word.to_owned();
    if let Some(base) = out.strip_suffix("ies").or_else(|| out.strip_suffix("ied")).filter(|_| long(5)) {
        return format!("{base}y");
    }
    if out.ends_with("sses") {
        out.truncate(out.len() - 2);
    } else if out.ends_with('s')
        && long(4)
        && !out.ends_with("ss")
        && !out.ends_with("us")
        && !out.ends_with("is")
    {
        out.pop();
    }
    for (ending, at_least) in [("ation", 8), ("tion", 7), ("ing", 6), ("ed", 5), ("ly", 6), ("er", 7)] {
        if out.ends_with(ending) && out.len() >= at_least {
            out.truncate(out.len() - ending.len());
            match ending {
                "tion" => out.push('t'),
                "ation" => out.push_str("at"),
                _ => {}
            }
            break;
        }
    }
    let bytes = out.as_bytes();
    if let [.., a, b] = bytes
        && a == b
        && !matches!(b, b'l' | b's' | b'z' | b'e')
    {
        out.pop();
    }
    if out.ends_with('e') && out.len() > 4 {
        out.pop();
    }
    out
}

/// The stems of the words that carry a subject, in order.
pub fn terms(text: &str) -> Vec<String> {
    words(text).filter(|w| w.len() > 1 && !is_stop_word(w)).map(|w| stem(&w)).collect()
}

/// Sentences of a text with the byte where each begins. A full stop ends one when a space and no small letter follow.
pub fn sentences(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let mut begin = 0;
    for (at, c) in text.char_indices() {
        if !matches!(c, '.' | '!' | '?') {
            continue;
        }
        let rest = &text[at + c.len_utf8()..];
        let next = rest.trim_start().chars().next();
        if rest.is_empty() || rest.starts_with(char::is_whitespace) && next.is_none_or(|n| !n.is_lowercase())
        {
            push(&mut out, text, begin, at + c.len_utf8());
            begin = at + c.len_utf8();
        }
    }
    push(&mut out, text, begin, text.len());
    out
}

fn push<'a>(out: &mut Vec<(usize, &'a str)>, text: &'a str, begin: usize, end: usize) {
    let piece = &text[begin..end];
    let lead = piece.len() - piece.trim_start().len();
    let trimmed = piece.trim();
    if !trimmed.is_empty() {
        out.push((begin + lead, trimmed));
    }
}

/// How often each subject occurs, under its most frequent spelling.
#[derive(Default)]
pub struct Vocabulary {
    stems: HashMap<String, Entry>,
    documents: usize,
}

#[derive(Default)]
struct Entry {
    count: usize,
    documents: usize,
    last_document: usize,
    spellings: BTreeMap<String, usize>,
}

/// A subject of a text.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct KeyTerm {
    /// Its most frequent spelling.
    pub term: String,
    /// How often it occurs.
    pub count: usize,
    /// In how many passages.
    pub passages: usize,
}

impl Vocabulary {
    /// Counts the words of one passage, and its pairs of neighbouring words.
    pub fn add(&mut self, passage: &str) {
        self.documents += 1;
        let mut before: Option<String> = None;
        for word in words(passage) {
            if word.len() < 3 || is_stop_word(&word) || word.bytes().all(|b| b.is_ascii_digit()) {
                before = None;
                continue;
            }
            if let Some(before) = before.replace(word.clone()) {
                let pair = format!("{before} {word}");
                self.count(format!("{} {}", stem(&before), stem(&word)), pair);
            }
            self.count(stem(&word), word);
        }
    }

    fn count(&mut self, key: String, spelling: String) {
        let documents = self.documents;
        let entry = self.stems.entry(key).or_default();
        entry.count += 1;
        if entry.last_document != documents {
            entry.last_document = documents;
            entry.documents += 1;
        }
        *entry.spellings.entry(spelling).or_default() += 1;
    }

    /// Number of different subjects.
    pub fn size(&self) -> usize {
        self.stems.keys().filter(|k| !k.contains(' ')).count()
    }

    /// The `n` subjects that say most: frequent, in several passages, pairs before their single words.
    pub fn key_terms(&self, n: usize) -> Vec<KeyTerm> {
        let mut ranked: Vec<(f64, &String, &Entry)> = self
            .stems
            .iter()
            .filter(|(key, e)| e.count >= 2 || !key.contains(' ') && self.documents < 3)
            .map(|(key, e)| {
                let pair = if key.contains(' ') { 1.7 } else { 1.0 };
                (pair * e.count as f64 * (1.0 + (e.documents as f64).ln()), key, e)
            })
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let mut chosen: Vec<&String> = Vec::new();
        let mut out = Vec::new();
        for (_, key, entry) in ranked {
            let told = chosen.iter().any(|c| c.contains(' ') && c.split(' ').any(|w| w == key));
            if told || out.len() >= n {
                continue;
            }
            chosen.push(key);
            let spelling = entry.spellings.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
            let term = spelling.map(|(s, _)| s.clone()).unwrap_or_default();
            out.push(KeyTerm { term, count: entry.count, passages: entry.documents });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_meet() {
        for group in [
            &["retry", "retries", "retried", "retrying"][..],
            &["execute", "executes", "executed", "executing"],
            &["crash", "crashed", "crashing"],
            &["log", "logs", "logged", "logging"],
            &["queue", "queues", "queued"],
            &["compensate", "compensates", "compensation", "compensated"],
        ] {
            let stems: Vec<String> = group.iter().map(|w| stem(w)).collect();
            assert!(stems.windows(2).all(|w| w[0] == w[1]), "{group:?} {stems:?}");
        }
        assert_ne!(stem("process"), stem("procedure"));
        assert_eq!(stem("größe"), "größe");
    }

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        let text = "It runs in 1.5 seconds. Why?  Because e.g. caches help! End";
        let found: Vec<&str> = sentences(text).into_iter().map(|(_, s)| s).collect();
        assert_eq!(found, ["It runs in 1.5 seconds.", "Why?", "Because e.g. caches help!", "End"]);
        assert!(sentences(text).iter().all(|(at, s)| text[*at..].starts_with(s)));
        assert!(sentences(" \n").is_empty());
    }

    #[test]
    fn only_subjects_are_terms() {
        assert_eq!(terms("How do the engines survive a crash?"), ["engin", "surviv", "crash"]);
        assert!(terms("what is it").is_empty());
    }

    #[test]
    fn key_terms_prefer_pairs_and_are_stable() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.add("The event log is durable. An event log holds events.");
        vocabulary.add("Replay reads the event log again; the log never lies.");
        let terms = vocabulary.key_terms(3);
        assert_eq!((terms[0].term.as_str(), terms[0].count, terms[0].passages), ("event log", 3, 2));
        assert!(terms.iter().all(|t| t.term != "event" && t.term != "log"), "{terms:?}");
        assert_eq!(terms, vocabulary.key_terms(3));
        assert!(Vocabulary::default().key_terms(5).is_empty());
    }
}
