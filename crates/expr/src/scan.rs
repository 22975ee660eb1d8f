//! A look at the text before the parser sees it.
//!
//! The parser recurses over the tree it builds, so the size of the tree is bounded before it is built: every level of
//! a CEL tree costs at least one operator or bracket. Plain paths do not need the parser at all.

use crate::{ExprError, ExprErrorKind, Limits};

/// Checks length, operators and nesting of `source`.
pub(crate) fn check(source: &str, limits: &Limits) -> Result<(), ExprError> {
    let over = |what: String| ExprError::new(ExprErrorKind::Limit, what);
    if source.len() > limits.source_bytes_max {
        return Err(over(format!(
            "the expression has {} bytes, the limit is {}",
            source.len(),
            limits.source_bytes_max
        )));
    }
    let (mut operators, mut nesting) = (0usize, 0usize);
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match byte {
            b'"' | b'\'' => {
                at = skip_text(bytes, at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                // A comment runs to the end of the line.
                at += bytes[at..].iter().position(|&b| b == b'\n' || b == b'\r').unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                operators += 1;
                nesting += 1;
                if nesting > limits.nesting_max {
                    return Err(over(format!(
                        "the expression nests deeper than {} brackets",
                        limits.nesting_max
                    ))
                    .at(at));
                }
            }
            b')' | b']' | b'}' => nesting = nesting.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'.' | b'?' | b':' | b'<' | b'>' | b'=' | b'!' | b'&'
            | b'|' | b',' => {
                operators += 1;
            }
            // The keyword operator `in`.
            b'i' if bytes.get(at + 1) == Some(&b'n')
                && !bytes.get(at + 2).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') =>
            {
                operators += 1;
            }
            _ => {}
        }
        if operators > limits.operators_max {
            return Err(
                over(format!("the expression has more than {} operators", limits.operators_max)).at(at)
            );
        }
        at += 1;
    }
    Ok(())
}

/// What `loop` is called while the parser looks: CEL reserves the word, and in our language it is a variable.
pub(crate) const LOOP: &str = "l00p";

/// `source` with the variable `loop` under a name that the parser takes, of the same length; `None` when it is not
/// there.
pub(crate) fn hide_loop(source: &str) -> Option<String> {
    let bytes = source.as_bytes();
    let is_word =
        |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'`'));
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' | b'\'' => at = skip_text(bytes, at),
            b'l' if bytes[at..].starts_with(b"loop")
                && !is_word(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !bytes.get(at + 4).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') =>
            {
                out.push_str(&source[copied..at]);
                out.push_str(LOOP);
                at += LOOP.len();
                copied = at;
            }
            _ => at += 1,
        }
    }
    (copied > 0).then(|| out + &source[copied..])
}

/// The names of `a.b.c`, when `source` is that and nothing else.
pub(crate) fn plain_path(source: &str) -> Option<Vec<&str>> {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    let names: Vec<&str> = source.split('.').collect();
    let is_name = |name: &&str| {
        name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !RESERVED.contains(name)
    };
    (names.len() <= 32 && names.iter().all(is_name)).then_some(names)
}

/// The byte after the text literal that starts at `start` (its quote), or the end of the source.
pub(crate) fn skip_text(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let raw = (1..=2).any(|back| {
        start >= back
            && matches!(bytes[start - back], b'r' | b'R')
            && bytes[start - back + 1..start].iter().all(|b| matches!(b, b'b' | b'B'))
            && !bytes.get(start.wrapping_sub(back + 1)).is_some_and(is_word_not_prefix)
    });
    let triple = bytes.get(start + 1) == Some(&quote) && bytes.get(start + 2) == Some(&quote);
    let mut at = start + if triple { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if !raw => at += 2,
            // A plain text ends with its line; the parser reports it.
            b'\n' | b'\r' if !triple => return at,
            b if b == quote => {
                if !triple {
                    return at + 1;
                }
                if bytes.get(at + 1) == Some(&quote) && bytes.get(at + 2) == Some(&quote) {
                    return at + 3;
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_word_not_prefix(byte: &u8) -> bool {
    (byte.is_ascii_alphanumeric() || *byte == b'_') && !matches!(byte, b'b' | b'B')
}
