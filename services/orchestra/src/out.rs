//! Everything that is printed: tables and lines for people, JSON and YAML for programs. Standard output has results,
//! standard error everything else. A reader that went away ends nothing.

use std::{fmt::Display, io::Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use console::{Style, Term};
use serde::Serialize;

/// The form of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Where results go, and in which form.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    format: Format,
    color: bool,
    error_color: bool,
    terminal: bool,
}

impl Out {
    pub(crate) fn new(format: Format) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let terminal = Term::stdout().is_term();
        Self { format, color: terminal && !plain, error_color: Term::stderr().is_term() && !plain, terminal }
    }

    /// Somebody looks on: what is drawn may be redrawn.
    pub(crate) fn is_live(&self) -> bool {
        self.terminal && self.color && self.format == Format::Table
    }

    pub(crate) fn is_for_programs(&self) -> bool {
        self.format != Format::Table
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl Display) {
        // A reader that went away (`| head`) wants no more.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A part of the result as it is.
    pub(crate) fn raw(&self, text: impl Display) {
        let mut stdout = std::io::stdout().lock();
        let _ = write!(stdout, "{text}");
        let _ = stdout.flush();
    }

    /// A line about the result, for people.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.is_for_programs() {
            self.error_line(text);
        }
    }

    pub(crate) fn error_line(&self, text: impl Display) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// The result: `data` for programs, else what `people` prints.
    pub(crate) fn result<T: Serialize>(&self, data: &T, people: impl FnOnce(&Self)) {
        match self.format {
            Format::Table => people(self),
            Format::Json => self.line(serde_json::to_string_pretty(data).unwrap_or_default()),
            Format::Yaml => {
                // By way of JSON: raw JSON texts inside have no YAML form of their own.
                let value = serde_json::to_value(data).unwrap_or_default();
                self.raw(serde_saphyr::to_string(&value).unwrap_or_default());
            }
        }
    }

    /// A table without lines: columns align, names stand above. Nothing at all says `empty`.
    pub(crate) fn table(&self, headers: &[&str], rows: Vec<Vec<String>>, empty: &str) {
        if rows.is_empty() {
            self.note(empty);
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.terminal {
            table.set_width(Term::stdout().size().1).set_content_arrangement(ContentArrangement::Dynamic);
        }
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let head = headers.iter().map(|h| Cell::new(h.to_uppercase()).add_attribute(Attribute::Dim));
        table.set_header(head.collect::<Vec<_>>());
        for row in rows {
            let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            table.add_row(row.into_iter().map(|text| {
                let align = if number(&text) { CellAlignment::Right } else { CellAlignment::Left };
                let color = tone(&text).map(Tone::of_cell);
                let cell = Cell::new(text).set_alignment(align);
                color.map_or(cell.clone(), |color| cell.fg(color))
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.to_string().lines() {
            self.line(line.trim_end());
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.color { style.force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
    }
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint(Style::new().dim(), text)
    }
    pub(crate) fn green(&self, text: &str) -> String {
        self.paint(Style::new().green(), text)
    }
    /// Red, for standard error.
    pub(crate) fn red(&self, text: &str) -> String {
        Self { color: self.error_color, ..self.clone() }.paint(Style::new().red().bold(), text)
    }
    /// Cyan, for standard error.
    pub(crate) fn cyan(&self, text: &str) -> String {
        Self { color: self.error_color, ..self.clone() }.paint(Style::new().cyan(), text)
    }

    /// A state in its colour; any other text as it is.
    pub(crate) fn state(&self, text: &str) -> String {
        match tone(text) {
            Some(tone) => self.paint(tone.style(), text),
            None => text.to_owned(),
        }
    }

    /// Finished printing of compiler-like findings, `error[…]` and `warning[…]` in their colours.
    pub(crate) fn findings(&self, rendered: &str) {
        for line in rendered.trim_end().lines() {
            let painted = match line.split_once('[') {
                Some(("error", _)) => self.red(line),
                Some(("warning" | "note", _)) => self.cyan(line),
                _ => line.to_owned(),
            };
            self.error_line(painted);
        }
    }
}

/// What a state feels like.
#[derive(Clone, Copy, Debug)]
enum Tone {
    Good,
    Bad,
    Moving,
    Odd,
    Quiet,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => Style::new().green(),
            Self::Bad => Style::new().red(),
            Self::Moving => Style::new().cyan(),
            Self::Odd => Style::new().yellow(),
            Self::Quiet => Style::new().dim(),
        }
    }
    fn of_cell(self) -> Color {
        match self {
            Self::Good => Color::DarkGreen,
            Self::Bad => Color::DarkRed,
            Self::Moving => Color::DarkCyan,
            Self::Odd => Color::DarkYellow,
            Self::Quiet => Color::DarkGrey,
        }
    }
}

/// The tone of a state; `None` for any other text.
fn tone(text: &str) -> Option<Tone> {
    Some(match text {
        "completed" | "healthy" | "active" | "ready" => Tone::Good,
        "failed" | "unhealthy" | "terminated" | "dead" | "not ready" => Tone::Bad,
        "executing" | "running" | "compensating" => Tone::Moving,
        "paused" | "retrying" | "degraded" | "draining" | "needs_decision" | "input_required"
        | "cancelled" | "compensated" => Tone::Odd,
        "pending" | "waiting" | "planning" | "skipped" | "unknown" => Tone::Quiet,
        _ => return None,
    })
}

/// `850 ms`, `12.3 s`, `2 min 5 s`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.2} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A time of the contracts without fractions of a second: `2026-01-31 12:30:00`.
pub(crate) fn time(rfc3339: &str) -> String {
    rfc3339.get(..19).map(|t| t.replace('T', " ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_people_say_them() {
        for (ms, want) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (12_340, "12.34 s"),
            (125_000, "2 min 5 s"),
            (3_720_000, "1 h 2 min"),
        ] {
            assert_eq!(duration(ms), want);
        }
        assert_eq!(time("2026-01-31T12:30:00.123Z"), "2026-01-31 12:30:00");
        assert_eq!(time(""), "");
    }
}
