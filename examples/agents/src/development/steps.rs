//! The controlled language: what a function over a text can be asked to do.
//!
//! `trim`, `lowercase`, `uppercase`, `title case`, `collapse spaces`, `remove punctuation`, `reverse`, `reverse words`,
//! `sort lines`, `remove duplicate lines`, `count characters`, `count words`, `count lines`,
//! `keep the first N characters`, `keep the first N words`, `replace "A" with "B"`; separated by commas or "then".

use serde::{Deserialize, Serialize};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Without white space at both ends.
    Trim,
    /// Small letters.
    Lowercase,
    /// Capitals.
    Uppercase,
    /// A capital at the start of each word.
    TitleCase,
    /// One space between words.
    CollapseSpaces,
    /// Without ASCII punctuation.
    RemovePunctuation,
    /// Back to front.
    Reverse,
    /// Words back to front.
    ReverseWords,
    /// Lines in order.
    SortLines,
    /// Each line once.
    RemoveDuplicateLines,
    /// How many characters.
    CountCharacters,
    /// How many words.
    CountWords,
    /// How many lines.
    CountLines,
    /// The first characters.
    FirstCharacters(usize),
    /// The first words.
    FirstWords(usize),
    /// Every `from` becomes `to`.
    Replace {
        /// What is looked for.
        from: String,
        /// What stands there instead.
        to: String,
    },
}

impl Step {
    /// Reads a list of steps.
    ///
    /// # Errors
    /// Names the first phrase that is no step.
    pub fn read_all(text: &str) -> Result<Vec<Self>, String> {
        let text = text.trim().trim_end_matches('.');
        let phrases = split(text);
        let steps = phrases.iter().map(|p| Self::read(p)).collect::<Result<Vec<_>, _>>()?;
        if steps.is_empty() { Err("says no steps after the colon".into()) } else { Ok(steps) }
    }

    fn read(phrase: &str) -> Result<Self, String> {
        let plain = phrase.to_lowercase();
        let first = |unit: &str| {
            let number = plain.strip_prefix("keep the first ")?.strip_suffix(unit)?.trim().parse().ok()?;
            (1..=100_000).contains(&number).then_some(number)
        };
        Ok(match plain.as_str() {
            "trim" => Self::Trim,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            "title case" => Self::TitleCase,
            "collapse spaces" => Self::CollapseSpaces,
            "remove punctuation" => Self::RemovePunctuation,
            "reverse" => Self::Reverse,
            "reverse words" => Self::ReverseWords,
            "sort lines" => Self::SortLines,
            "remove duplicate lines" => Self::RemoveDuplicateLines,
            "count characters" => Self::CountCharacters,
            "count words" => Self::CountWords,
            "count lines" => Self::CountLines,
            _ => match (first("characters"), first("words"), replace(phrase)) {
                (Some(n), ..) => Self::FirstCharacters(n),
                (_, Some(n), _) => Self::FirstWords(n),
                (.., Some(step)) => step,
                _ => return Err(format!("the step {phrase:?} is not known")),
            },
        })
    }

    /// An expression in Rust that gives a `String` from the `String` called `text`.
    pub fn rust(&self) -> String {
        let lines = |middle: &str| {
            format!("{{ let mut lines: Vec<&str> = text.lines().collect(); {middle} lines.join(\"\\n\") }}")
        };
        match self {
            Self::Trim => "text.trim().to_owned()".into(),
            Self::Lowercase => "text.to_lowercase()".into(),
            Self::Uppercase => "text.to_uppercase()".into(),
            Self::TitleCase => "text.split(' ').map(|word| { let mut letters = word.chars(); letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect()) }).collect::<Vec<String>>().join(\" \")".into(),
            Self::CollapseSpaces => "text.split_whitespace().collect::<Vec<_>>().join(\" \")".into(),
            Self::RemovePunctuation => "text.chars().filter(|c| !c.is_ascii_punctuation()).collect::<String>()".into(),
            Self::Reverse => "text.chars().rev().collect::<String>()".into(),
            Self::ReverseWords => "text.split_whitespace().rev().collect::<Vec<_>>().join(\" \")".into(),
            Self::SortLines => lines("lines.sort_unstable();"),
            Self::RemoveDuplicateLines => lines("let mut seen = std::collections::HashSet::new(); lines.retain(|line| seen.insert(*line));"),
            Self::CountCharacters => "text.chars().count().to_string()".into(),
            Self::CountWords => "text.split_whitespace().count().to_string()".into(),
            Self::CountLines => "text.lines().count().to_string()".into(),
            Self::FirstCharacters(n) => format!("text.chars().take({n}).collect::<String>()"),
            Self::FirstWords(n) => format!("text.split_whitespace().take({n}).collect::<Vec<_>>().join(\" \")"),
            Self::Replace { from, to } => format!("text.replace({from:?}, {to:?})"),
        }
    }
}

/// At commas and "then" outside of quotes.
fn split(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut in_quotes = false;
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => {
                out.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    let clean = |phrase: &String| {
        let phrase = phrase.trim();
        let phrase = phrase.strip_prefix("and ").unwrap_or(phrase);
        phrase.strip_prefix("then ").unwrap_or(phrase).trim().to_owned()
    };
    out.iter().map(clean).filter(|p| !p.is_empty()).collect()
}

fn replace(phrase: &str) -> Option<Step> {
    let mut parts = phrase.split('"');
    let (verb, from, with, to, end) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let shaped = verb.trim().eq_ignore_ascii_case("replace")
        && with.trim().eq_ignore_ascii_case("with")
        && end.trim().is_empty()
        && !from.is_empty();
    shaped.then(|| Step::Replace { from: from.into(), to: to.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_become_steps() {
        let steps =
            Step::read_all(" Trim, lowercase, replace \", \" with \"-\", then keep the first 3 words.")
                .unwrap();
        let replace = Step::Replace { from: ", ".into(), to: "-".into() };
        assert_eq!(steps, [Step::Trim, Step::Lowercase, replace, Step::FirstWords(3)]);
        assert_eq!(Step::read_all("trim, jump"), Err("the step \"jump\" is not known".into()));
        assert!(Step::read_all(" . ").is_err());
        assert!(Step::read_all("replace \"\" with \"a\"").is_err());
        assert!(Step::read_all("keep the first 0 words").is_err());
    }
}
