//! Stage 1: what is wanted, in words that can be checked.

use agent::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{answer, find, need_text, steps::Step, with_report};

const REQUIREMENTS_MAX: usize = 500;

/// How much a requirement matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// "may", "could".
    Low,
    /// "should".
    Medium,
    /// "must", "shall".
    High,
}

/// An example that must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// `R1.1`.
    pub id: String,
    /// What goes in.
    pub given: String,
    /// What has to come out.
    pub expected: String,
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    /// `R1`.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// Its words.
    pub text: String,
    /// How much it matters.
    pub priority: Priority,
    /// Name of the function that meets it.
    pub function: String,
    /// What the function does, in order.
    pub steps: Vec<Step>,
    /// Examples that must hold.
    pub criteria: Vec<Criterion>,
    /// Points: one for each step, half of one for each criterion.
    pub complexity: f64,
    /// Hours, from the points.
    pub hours: f64,
}

#[derive(Serialize)]
struct Analysis {
    title: String,
    technology: String,
    requirements: Vec<Requirement>,
    complexity: f64,
    level: &'static str,
    hours: f64,
}

/// Reads requirements from a Markdown text: each second-level heading is one.
///
/// # Errors
/// When the text has none, or one that says no function, an unknown step or no example; all of them are named.
pub fn analyse(input: &Value) -> Result<Value, Failure> {
    let text = need_text(input, "requirements")?;
    let technology = find(input, "technology").and_then(Value::as_str).unwrap_or("rust").to_owned();
    if technology != "rust" {
        return Err(Failure::Rejected(format!(
            "input.technology: {technology:?} is not known, this agent writes \"rust\""
        )));
    }
    let (title, parts) = sections(text);
    if parts.is_empty() || parts.len() > REQUIREMENTS_MAX {
        let found = parts.len();
        return Err(Failure::Rejected(format!(
            "input.requirements: {found} headings of the form \"## title\", expected 1 to {REQUIREMENTS_MAX}"
        )));
    }
    let mut requirements = Vec::new();
    let mut unclear = Vec::new();
    for (n, (heading, body)) in parts.into_iter().enumerate() {
        match requirement(n + 1, heading, &body) {
            Ok(requirement) => requirements.push(requirement),
            Err(why) => unclear.push(format!("{heading}: {why}")),
        }
    }
    if !unclear.is_empty() {
        return Err(Failure::Rejected(format!("input.requirements: {}", unclear.join("; "))));
    }
    let complexity: f64 = requirements.iter().map(|r| r.complexity).sum();
    let hours = requirements.iter().map(|r| r.hours).sum();
    let level = match complexity {
        c if c < 5.0 => "low",
        c if c < 15.0 => "medium",
        _ => "high",
    };
    let analysis = Analysis { title, technology, requirements, complexity, level, hours };
    let report = document(&analysis);
    Ok(with_report(answer(&analysis)?, report))
}

fn sections(text: &str) -> (String, Vec<(&str, String)>) {
    let mut title = String::new();
    let mut out: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            out.push((heading.trim(), String::new()));
        } else if let Some(heading) = line.strip_prefix("# ") {
            title = heading.trim().into();
        } else if let Some((_, body)) = out.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    (title, out)
}

fn requirement(number: usize, title: &str, body: &str) -> Result<Requirement, String> {
    let id = format!("R{number}");
    let (examples, words): (Vec<&str>, Vec<&str>) = body
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .partition(|l| l.trim_start_matches(['-', '*', ' ']).to_lowercase().starts_with("example"));
    let text = words.join(" ");
    let function = quoted(&text, "function").ok_or("says no \"function `name`\"")?;
    if !is_name(&function) {
        return Err(format!("`{function}` is no name of a Rust function in snake_case"));
    }
    let (_, steps) = text.split_once(':').ok_or("says no steps after a colon")?;
    let steps = Step::read_all(steps)?;
    let criteria = examples
        .iter()
        .enumerate()
        .map(|(n, line)| criterion(format!("{id}.{}", n + 1), line))
        .collect::<Result<Vec<_>, _>>()?;
    if criteria.is_empty() {
        return Err("has no line \"- Example: `in` gives `out`\"".into());
    }
    let complexity = steps.len() as f64 + criteria.len() as f64 / 2.0;
    let hours = (complexity * 0.5 * 10.0).round() / 10.0;
    let priority = priority(&text);
    Ok(Requirement { id, title: title.into(), text, priority, function, steps, criteria, complexity, hours })
}

fn criterion(id: String, line: &str) -> Result<Criterion, String> {
    let mut texts = line.split('`').skip(1).step_by(2);
    match (texts.next(), texts.next()) {
        (Some(given), Some(expected)) => {
            Ok(Criterion { id, given: unescape(given), expected: unescape(expected) })
        }
        _ => Err(format!("{line:?} is not of the form \"Example: `in` gives `out`\"")),
    }
}

/// `\n`, `\t` and `\\` in an example.
fn unescape(text: &str) -> String {
    text.replace("\\\\", "\u{1}").replace("\\n", "\n").replace("\\t", "\t").replace('\u{1}', "\\")
}

fn quoted(text: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{after} `"))?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

const KEYWORDS: [&str; 12] =
    ["as", "else", "fn", "for", "if", "in", "let", "loop", "match", "mod", "self", "type"];

fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    first && rest && name.len() <= 64 && !KEYWORDS.contains(&name) && name != "lib" && name != "main"
}

fn priority(text: &str) -> Priority {
    let has = |words: &[&str]| text.split_whitespace().any(|w| words.contains(&w.to_lowercase().as_str()));
    if has(&["must", "shall"]) {
        Priority::High
    } else if has(&["may", "could"]) {
        Priority::Low
    } else {
        Priority::Medium
    }
}

fn document(analysis: &Analysis) -> String {
    let mut out = format!(
        "# {}\n\nComplexity {} ({}), about {} hours.\n",
        analysis.title, analysis.complexity, analysis.level, analysis.hours
    );
    for r in &analysis.requirements {
        out += &format!("\n## {} {} ({:?})\n\n{}\n\n", r.id, r.title, r.priority, r.text);
        for c in &r.criteria {
            out += &format!(
                "- {}: given `{}`, `{}` gives `{}`\n",
                c.id,
                c.given.escape_debug(),
                r.function,
                c.expected.escape_debug()
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "# Texts\n\n## Key\nThe function `slug` must make a key: trim, lowercase, replace \" \" with \"-\".\n- Example: ` A b ` gives `a-b`\n- Example: `X` gives `x`\n\n## Count\nThe function `words` may count: count words.\n- Example: `a b` gives `2`\n";

    #[test]
    fn requirements_have_criteria_priority_and_effort() {
        let found = analyse(&json!({"requirements": TEXT, "technology": "rust"})).unwrap();
        assert_eq!(found["title"], "Texts");
        assert_eq!(found["requirements"][0]["id"], "R1");
        assert_eq!(found["requirements"][0]["priority"], "high");
        assert_eq!(
            found["requirements"][0]["criteria"][0],
            json!({"id": "R1.1", "given": " A b ", "expected": "a-b"})
        );
        assert_eq!(found["requirements"][0]["complexity"], 4.0);
        assert_eq!(found["requirements"][1]["priority"], "low");
        assert_eq!(found["level"], "medium");
        assert!(found["report"].as_str().unwrap().contains("R2.1"));
    }

    #[test]
    fn what_is_unclear_is_refused_with_every_reason() {
        let text = "## A\nNothing.\n## B\nThe function `b` must: fly.\n- Example: `a` gives `b`\n## C\nThe function `c` must: trim.\n";
        let Err(Failure::Rejected(why)) = analyse(&json!({"requirements": text})) else { panic!() };
        assert!(why.contains("A: says no \"function `name`\""), "{why}");
        assert!(why.contains("B: ") && why.contains("\"fly\""), "{why}");
        assert!(why.contains("C: has no line"), "{why}");
        assert!(analyse(&json!({"requirements": TEXT, "technology": "cobol"})).is_err());
        assert!(analyse(&json!({"requirements": "words"})).is_err());
    }
}
