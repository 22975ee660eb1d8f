//! Full-text search over a folder, indexed in memory.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tantivy::{
    Index, IndexReader, IndexWriter, TantivyDocument, Term,
    collector::TopDocs,
    query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery},
    schema::{Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value as _},
    tokenizer::WhitespaceTokenizer,
};

use crate::{
    folder::{self, Entry, FolderError, Passage},
    input::Finding,
    text,
};

/// Passages taken from one file for one question, at most.
const PER_FILE_MAX: usize = 2;
/// A passage that scores below this share of the best one is noise.
const SCORE_SHARE_MIN: f32 = 0.3;
/// Length that an extract aims at, bytes.
const EXTRACT_BYTES: usize = 420;

/// Why a search fails.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The index failed.
    #[error("the index failed: {0}")]
    Index(#[from] tantivy::TantivyError),
}

/// A folder ready to be searched.
pub struct Library {
    passages: Vec<Passage>,
    files: usize,
    reader: IndexReader,
    body: Field,
    heading: Field,
    number: Field,
}

/// Indexes that were built, each with the state of the folder it was built from.
#[derive(Default)]
pub struct Libraries {
    known: Mutex<HashMap<PathBuf, Built>>,
}

/// The state of a folder, and the index built from it.
type Built = (Vec<Entry>, Arc<Library>);

/// Folders whose index is kept.
const LIBRARIES_MAX: usize = 16;

impl Libraries {
    /// The index of `folder`, built anew only when a file in it has changed.
    ///
    /// # Errors
    /// See [`SearchError`].
    pub fn open(&self, folder: &Path) -> Result<Arc<Library>, SearchError> {
        let entries = folder::list(folder)?;
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, library)) = lock().get(folder)
            && *seen == entries
        {
            return Ok(library.clone());
        }
        let library = Arc::new(Library::build(&entries)?);
        let mut known = lock();
        if known.len() >= LIBRARIES_MAX {
            known.clear();
        }
        known.insert(folder.to_owned(), (entries, library.clone()));
        Ok(library)
    }
}

impl Library {
    /// Reads and indexes the files.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn build(entries: &[Entry]) -> Result<Self, SearchError> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer("stems")
            .set_index_option(IndexRecordOption::WithFreqs);
        let words = TextOptions::default().set_indexing_options(indexing);
        let body = schema.add_text_field("body", words.clone());
        let heading = schema.add_text_field("heading", words);
        let number = schema.add_u64_field("number", STORED);
        let index = Index::create_in_ram(schema.build());
        // The texts are given as stems already: queries and extracts use the same ones.
        index.tokenizers().register("stems", WhitespaceTokenizer::default());
        // One thread: one segment, so scores and their order are the same in every run.
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 50 << 20)?;
        let passages: Vec<Passage> = entries.iter().flat_map(folder::passages).collect();
        for (n, passage) in passages.iter().enumerate() {
            let mut document = TantivyDocument::default();
            document.add_text(body, text::terms(&passage.text).join(" "));
            document
                .add_text(heading, text::terms(&format!("{} {}", passage.heading, passage.file)).join(" "));
            document.add_u64(number, n as u64);
            writer.add_document(document)?;
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        Ok(Self { passages, files: entries.len(), reader: index.reader()?, body, heading, number })
    }

    /// Number of files read.
    pub fn files(&self) -> usize {
        self.files
    }

    /// All passages, in the order of the files.
    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }

    /// The `limit` passages that answer `question` best, at most two of one file, best first. Deterministic.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn search(&self, question: &str, limit: usize) -> Result<Vec<Finding>, SearchError> {
        let wanted: HashSet<String> = text::terms(question).into_iter().collect();
        let mut ordered: Vec<&String> = wanted.iter().collect();
        ordered.sort();
        let clause = |field: Field, term: &str, boost: f32| -> (Occur, Box<dyn Query>) {
            let query = TermQuery::new(Term::from_field_text(field, term), IndexRecordOption::WithFreqs);
            (Occur::Should, Box::new(BoostQuery::new(Box::new(query), boost)))
        };
        let clauses = ordered.iter().flat_map(|t| [clause(self.body, t, 1.0), clause(self.heading, t, 0.7)]);
        let query = BooleanQuery::new(clauses.collect());
        let searcher = self.reader.searcher();
        let mut hits = Vec::new();
        for (score, address) in
            searcher.search(&query, &TopDocs::with_limit(limit.max(1) * 8).order_by_score())?
        {
            let document: TantivyDocument = searcher.doc(address)?;
            let number = document.get_first(self.number).and_then(|v| v.as_u64()).unwrap_or_default();
            hits.extend(usize::try_from(number).ok().and_then(|n| self.passages.get(n)).map(|p| (score, p)));
        }
        Ok(choose(&hits, &wanted, limit))
    }
}

fn choose(hits: &[(f32, &Passage)], wanted: &HashSet<String>, limit: usize) -> Vec<Finding> {
    let best = hits.first().map_or(0.0, |(score, _)| *score);
    let mut per_file: HashMap<&str, usize> = HashMap::new();
    let mut out = Vec::new();
    for (score, passage) in hits {
        if out.len() >= limit || *score < best * SCORE_SHARE_MIN {
            break;
        }
        let seen = per_file.entry(&passage.file).or_default();
        if *seen >= PER_FILE_MAX {
            continue;
        }
        *seen += 1;
        let (line, text) = extract(passage, wanted);
        out.push(Finding {
            text,
            source: format!("{}:{line}", passage.file),
            file: passage.file.clone(),
            line,
            heading: passage.heading.clone(),
            score: (f64::from(score / best) * 1000.0).round() / 1000.0,
        });
    }
    out
}

/// The run of whole sentences around the one that answers most, and the line where it begins.
fn extract(passage: &Passage, wanted: &HashSet<String>) -> (usize, String) {
    let sentences = text::sentences(&passage.text);
    let value =
        |s: &str| text::terms(s).into_iter().filter(|t| wanted.contains(t)).collect::<HashSet<_>>().len();
    let values: Vec<usize> = sentences.iter().map(|(_, s)| value(s)).collect();
    let Some(best) = (0..values.len()).max_by_key(|&i| (values[i], std::cmp::Reverse(i))) else {
        return (passage.line, passage.text.clone());
    };
    let (mut from, mut to) = (best, best + 1);
    let length = |from: usize, to: usize| sentences[from..to].iter().map(|(_, s)| s.len() + 1).sum::<usize>();
    loop {
        let after = (to < sentences.len() && length(from, to + 1) <= EXTRACT_BYTES).then(|| values[to]);
        let before = (from > 0 && length(from - 1, to) <= EXTRACT_BYTES).then(|| values[from - 1]);
        match (before, after) {
            (None, None) => break,
            // What comes after explains; what comes before only when it answers more.
            (Some(b), Some(a)) if b > a => from -= 1,
            (Some(_), None) => from -= 1,
            (_, Some(_)) => to += 1,
        }
    }
    let begin = sentences[from].0;
    let line = passage.line + passage.text[..begin].matches('\n').count();
    let joined = sentences[from..to].iter().map(|(_, s)| *s).collect::<Vec<_>>().join(" ");
    (line, joined.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn library(files: &[(&str, &str)]) -> (tempfile::TempDir, Libraries, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let folder = folder::open(dir.path().to_str().unwrap(), None).unwrap();
        (dir, Libraries::default(), folder)
    }

    #[test]
    fn the_passage_that_answers_comes_first_with_its_line() {
        let log = "# Logs\n\nUnrelated opening words stand here.\n\nAn engine writes ahead.\nAfter a crash it replays the log. Nothing is lost.\n";
        let soup = "# Soup\n\nBoil water. Add salt to the soup and stir.\n";
        let (_dir, libraries, folder) = library(&[("log.md", log), ("soup.md", soup)]);
        let library = libraries.open(&folder).unwrap();
        let found = library.search("How do engines recover after crashes?", 5).unwrap();
        assert_eq!((found[0].source.as_str(), found[0].heading.as_str()), ("log.md:5", "Logs"));
        assert!(found[0].text.contains("replays the log"));
        assert!(found.iter().all(|f| f.file != "soup.md"));
        assert_eq!(found, library.search("How do engines recover after crashes?", 5).unwrap());
        assert!(library.search("quantum chromodynamics", 5).unwrap().is_empty());
        assert!(library.search("the of and", 5).unwrap().is_empty());
    }

    #[test]
    fn one_file_does_not_crowd_out_the_others() {
        let many = "Retry the call.\n\n".repeat(10);
        let (_dir, libraries, folder) =
            library(&[("many.md", &many), ("other.md", "A retry needs a limit.\n")]);
        let found = libraries.open(&folder).unwrap().search("retry", 5).unwrap();
        let of = |file: &str| found.iter().filter(|f| f.file == file).count();
        assert_eq!((of("many.md"), of("other.md")), (PER_FILE_MAX, 1));
    }

    #[test]
    fn an_index_is_kept_until_a_file_changes() {
        let (dir, libraries, folder) = library(&[("a.md", "One.\n")]);
        let first = libraries.open(&folder).unwrap();
        assert!(Arc::ptr_eq(&first, &libraries.open(&folder).unwrap()));
        fs::write(dir.path().join("b.md"), "Two about sagas.\n").unwrap();
        let second = libraries.open(&folder).unwrap();
        assert_eq!((second.files(), second.search("saga", 3).unwrap().len()), (2, 1));
    }

    #[test]
    fn a_long_passage_is_cut_to_whole_sentences() {
        let filler = "This sentence says nothing of interest at all to anybody here. ".repeat(12);
        let passage = Passage {
            file: "f".into(),
            line: 10,
            heading: String::new(),
            text: format!("{filler}\nA lease fences a stale owner. It expires.\n{filler}"),
        };
        let (line, text) = extract(&passage, &text::terms("lease owner").into_iter().collect());
        assert_eq!(line, 11);
        assert!(text.starts_with("A lease fences") && text.len() <= EXTRACT_BYTES, "{text}");
    }
}
