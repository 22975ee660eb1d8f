//! A folder of text: which files, and their passages with line numbers.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Files with these endings are read.
pub const ENDINGS: &[&str] =
    &["md", "markdown", "txt", "text", "rst", "adoc", "org", "html", "htm", "tex", "csv", "log"];
/// Larger files are passed over, bytes.
pub const FILE_BYTES_MAX: u64 = 2 << 20;
/// Reading stops after this many bytes in all files.
pub const FOLDER_BYTES_MAX: u64 = 64 << 20;
/// Reading stops after this many files.
pub const FILES_MAX: usize = 5000;
/// Folders below this depth are passed over.
pub const DEPTH_MAX: usize = 16;
/// A passage is cut here, bytes.
const PASSAGE_BYTES_MAX: usize = 1600;

/// Why a folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is not there, or not readable.
    #[error("folder {path:?} cannot be read: {cause}")]
    Unreadable {
        /// What was asked.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// It lies outside of the folder that the agent may read.
    #[error("folder {path:?} is outside of {root:?}, the only one this agent may read")]
    Outside {
        /// What was asked.
        path: String,
        /// The agent's own setting.
        root: PathBuf,
    },
    /// There is nothing to read in it.
    #[error("folder {path:?} has no text files ({})", ENDINGS.join(", "))]
    Empty {
        /// What was asked.
        path: String,
    },
}

/// A file that will be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Path below the folder, with `/`.
    pub name: String,
    /// Whole path.
    pub path: PathBuf,
    /// Size.
    pub bytes: u64,
    /// Time of the last change.
    pub changed: SystemTime,
}

/// A paragraph of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Path below the folder.
    pub file: String,
    /// First line, from 1.
    pub line: usize,
    /// The heading it stands under.
    pub heading: String,
    /// Its text, line breaks kept.
    pub text: String,
}

/// Opens a folder; `root`, when given, is the only one that may be read.
///
/// # Errors
/// See [`FolderError`].
pub fn open(path: &str, root: Option<&Path>) -> Result<PathBuf, FolderError> {
    let unreadable = |cause| FolderError::Unreadable { path: path.to_owned(), cause };
    let folder = fs::canonicalize(path).map_err(unreadable)?;
    if !folder.is_dir() {
        return Err(unreadable(std::io::Error::new(std::io::ErrorKind::NotADirectory, "not a folder")));
    }
    if let Some(root) = root {
        let inside = fs::canonicalize(root).is_ok_and(|root| folder.starts_with(root));
        if !inside {
            return Err(FolderError::Outside { path: path.to_owned(), root: root.to_owned() });
        }
    }
    Ok(folder)
}

/// The text files of an opened folder, in order of their names. Hidden files and links are passed over.
///
/// # Errors
/// When the folder cannot be listed or has no text files.
pub fn list(folder: &Path) -> Result<Vec<Entry>, FolderError> {
    let path = || folder.display().to_string();
    let top = fs::read_dir(folder).map_err(|cause| FolderError::Unreadable { path: path(), cause })?;
    drop(top);
    let mut out = Vec::new();
    walk(folder, "", 0, &mut out);
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out.truncate(FILES_MAX);
    let mut total = 0;
    out.retain(|entry| {
        total += entry.bytes;
        total <= FOLDER_BYTES_MAX
    });
    if out.is_empty() { Err(FolderError::Empty { path: path() }) } else { Ok(out) }
}

fn walk(folder: &Path, prefix: &str, depth: usize, out: &mut Vec<Entry>) {
    // What cannot be listed or read below the top is passed over: one bad file must not hide the others.
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') || kind.is_symlink() || out.len() >= FILES_MAX * 2 {
            continue;
        }
        let below = format!("{prefix}{name}");
        if kind.is_dir() {
            if depth < DEPTH_MAX && !matches!(name.as_str(), "target" | "node_modules") {
                walk(&entry.path(), &format!("{below}/"), depth + 1, out);
            }
            continue;
        }
        let ending =
            Path::new(&name).extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let Ok(meta) = entry.metadata() else { continue };
        if ENDINGS.contains(&ending.as_str()) && meta.len() <= FILE_BYTES_MAX {
            let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            out.push(Entry { name: below, path: entry.path(), bytes: meta.len(), changed });
        }
    }
}

/// The passages of one file; none when it is not text.
pub fn passages(entry: &Entry) -> Vec<Passage> {
    let Ok(bytes) = fs::read(&entry.path) else { return Vec::new() };
    if bytes.contains(&0) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let is_html = entry.name.ends_with(".html") || entry.name.ends_with(".htm");
    let text = if is_html { strip_tags(&text) } else { text.into_owned() };
    split(&entry.name, &text)
}

/// Splits a text at blank lines and headings.
pub fn split(file: &str, text: &str) -> Vec<Passage> {
    let mut out = Vec::new();
    let mut heading = String::new();
    let mut open: Option<Passage> = None;
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim();
        let underlined = lines.get(at + 1).is_some_and(|next| is_underline(next)) && !trimmed.is_empty();
        if let Some(title) = marked_heading(trimmed).or(underlined.then_some(trimmed)) {
            out.extend(open.take());
            heading = title.to_owned();
        } else if trimmed.is_empty() || is_underline(trimmed) {
            out.extend(open.take());
        } else {
            let full = open.as_ref().is_some_and(|p| p.text.len() + trimmed.len() > PASSAGE_BYTES_MAX);
            if full {
                out.extend(open.take());
            }
            match &mut open {
                Some(passage) => {
                    passage.text.push('\n');
                    passage.text.push_str(trimmed);
                }
                None => {
                    let text = trimmed.to_owned();
                    open =
                        Some(Passage { file: file.to_owned(), line: at + 1, heading: heading.clone(), text });
                }
            }
        }
    }
    out.extend(open);
    out
}

fn marked_heading(line: &str) -> Option<&str> {
    let marks = line.bytes().take_while(|b| matches!(b, b'#' | b'=')).count();
    let title = line.get(marks..)?.strip_prefix(' ')?.trim().trim_end_matches(['#', '=']).trim();
    ((1..=6).contains(&marks) && !title.is_empty()).then_some(title)
}

fn is_underline(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 3 && (line.bytes().all(|b| b == b'=') || line.bytes().all(|b| b == b'-'))
}

/// The text of an HTML page with its line breaks kept, so that line numbers stay true.
fn strip_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let lower = html.to_ascii_lowercase();
    let mut at = 0;
    while let Some(open) = html[at..].find('<').map(|n| at + n) {
        out.push_str(&html[at..open]);
        let silent = ["script", "style"].iter().find(|t| lower[open + 1..].starts_with(**t));
        let end = match silent {
            Some(tag) => lower[open..].find(&format!("</{tag}")).map(|n| open + n + 1),
            None => Some(open),
        };
        let close = end.and_then(|end| html[end..].find('>').map(|n| end + n + 1)).unwrap_or(html.len());
        out.extend(html[open..close].chars().filter(|c| *c == '\n'));
        at = close;
    }
    out.push_str(&html[at..]);
    for (entity, plain) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
    {
        out = out.replace(entity, plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_know_their_line_and_heading() {
        let text = "# Title\n\nFirst line\nsecond line\n\nUnder\n-----\nThird.\n\n## Deep\nFourth.";
        let found = split("a.md", text);
        let short: Vec<(usize, &str, &str)> =
            found.iter().map(|p| (p.line, p.heading.as_str(), p.text.as_str())).collect();
        assert_eq!(
            short,
            [(3, "Title", "First line\nsecond line"), (8, "Under", "Third."), (11, "Deep", "Fourth.")]
        );
    }

    #[test]
    fn long_paragraphs_are_cut_at_lines() {
        let text = format!("{}\n", "word ".repeat(40)).repeat(30);
        let found = split("a", &text);
        assert!(found.len() > 2 && found.iter().all(|p| p.text.len() <= PASSAGE_BYTES_MAX));
        assert_eq!(found[1].line, 1 + found[0].text.lines().count());
    }

    #[test]
    fn html_loses_its_tags_and_keeps_its_lines() {
        let html =
            "<html>\n<style>\nb {}\n</style>\n<p>One &amp; two</p>\n<script>x < y</script>\n\n<p>Three</p>";
        let found = split("a.html", &strip_tags(html));
        let short: Vec<(usize, &str)> = found.iter().map(|p| (p.line, p.text.as_str())).collect();
        assert_eq!(short, [(5, "One & two"), (8, "Three")]);
        assert_eq!(strip_tags("a < b"), "a ", "an open tag swallows the rest and nothing breaks");
    }

    #[test]
    fn only_visible_text_files_of_the_allowed_folder_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for name in ["b.md", "a.txt", "sub/c.rst", ".hidden.md", ".git/d.md", "e.png", "target/f.md"] {
            write(name, b"text");
        }
        write("g.txt", b"bin\0ary");
        write("h.txt", &vec![b'x'; FILE_BYTES_MAX as usize + 1]);
        let folder = open(dir.path().to_str().unwrap(), None).unwrap();
        let found = list(&folder).unwrap();
        let names: Vec<&str> = found.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a.txt", "b.md", "g.txt", "sub/c.rst"]);
        assert!(passages(&found[2]).is_empty());
        let sub = folder.join("sub");
        assert!(open(sub.to_str().unwrap(), Some(&folder)).is_ok());
        let outside = open(folder.to_str().unwrap(), Some(&sub)).unwrap_err().to_string();
        assert!(outside.contains("outside"), "{outside}");
        let sneaky = format!("{}/../..", sub.display());
        assert!(open(&sneaky, Some(&folder)).is_err());
        for bad in ["/no/such/folder", found[0].path.to_str().unwrap()] {
            assert!(open(bad, None).unwrap_err().to_string().contains("cannot be read"));
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(list(empty.path()).unwrap_err().to_string().contains("no text files"));
    }
}
