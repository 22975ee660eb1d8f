//! The table, for a terminal and as Markdown.

use super::{Line, Row};

const HEAD: [&str; 11] =
    ["work", "on", "load", "figure", "median", "min", "max", "p50 ms", "p99 ms", "CPU µs each", "peak MiB"];

fn cells(row: &Row) -> [String; 11] {
    let least = row.runs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = row.runs.iter().copied().fold(0.0, f64::max);
    let ms = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.2}"));
    let mut cpu: Vec<_> = row.cpu_us.iter().filter(|(_, us)| **us >= 0.5).collect();
    cpu.sort_by(|a, b| b.1.total_cmp(a.1));
    let parts: Vec<_> = cpu.iter().map(|(name, us)| format!("{name} {us:.0}")).collect();
    let cpu = match parts.len() {
        0 => String::new(),
        _ => format!("{:.0}: {}", row.cpu_us_total(), parts.join(", ")),
    };
    let peaks: Vec<_> = row.peak_mib.iter().map(|(name, mib)| format!("{name} {mib:.0}")).collect();
    let mut figure = row.unit.clone();
    if row.refused > 0 {
        figure = format!("{figure} ({} refused)", row.refused);
    }
    [
        row.work.clone(),
        row.backend.clone(),
        row.load.clone(),
        figure,
        number(row.median()),
        number(least),
        number(most),
        ms(row.p50_ms),
        ms(row.p99_ms),
        cpu,
        peaks.join(", "),
    ]
}

/// What "durable" means, once for each backend.
fn durable(rows: &[Row]) -> std::collections::BTreeMap<&str, &str> {
    let said = rows.iter().filter(|row| !row.durability.is_empty());
    said.map(|row| (row.backend.as_str(), row.durability.as_str())).collect()
}

/// Three digits that mean something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "–".into(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Columns as wide as their widest cell.
pub(super) fn text(rows: &[Row]) -> String {
    let all: Vec<[String; 11]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| all.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    let mut out = String::new();
    for row in &all {
        for (cell, width) in row.iter().zip(&widths) {
            out.push_str(cell);
            out.push_str(&" ".repeat(width - cell.chars().count() + 2));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    for (backend, durability) in durable(rows) {
        out.push_str(&format!("durable on {backend}: {durability}\n"));
    }
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        out.push_str(&format!("{} on {}, {}: {}\n", row.work, row.backend, row.load, row.note));
    }
    out
}

pub(super) fn markdown(head: &str, rows: &[Row], lines: &[Line]) -> String {
    let mut out = format!("{head}\n\n| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for row in rows {
        out.push_str(&format!("| {} |\n", cells(row).join(" | ").replace('\n', " ")));
    }
    for (backend, durability) in durable(rows) {
        out.push_str(&format!("\n- durable on {backend}: {durability}"));
    }
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        out.push_str(&format!("\n- {} on {}, {}: {}", row.work, row.backend, row.load, row.note));
    }
    out.push('\n');
    if !lines.is_empty() {
        out.push_str("\n| curve | points |\n|---|---|\n");
    }
    for line in lines {
        let points: Vec<_> =
            line.points.iter().map(|(x, y)| format!("{}: {}", number(*x), number(*y))).collect();
        out.push_str(&format!("| {} ({}) | {} |\n", line.plot, line.name, points.join(", ")));
    }
    out
}
