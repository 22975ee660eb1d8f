//! The comparison as a table.

use super::{
    Comparison,
    measure::{Run, Spread, Summary},
};
use crate::out::Out;

pub(super) fn table(out: &Out, compared: &Comparison) {
    let rows = compared.candidates.iter().map(|c| {
        let s = &c.summary;
        vec![
            c.name.clone(),
            format!("{}/{}", s.completed, s.executions),
            spread(s.quality, number),
            spread(s.time_ms, ms),
            spread(s.agent_time_ms, ms),
            spread(s.calls, number),
            spread(s.tokens, number),
            spread(s.money, number),
            spread(s.cost, number),
        ]
    });
    let headers = ["name", "completed", "quality", "time", "in agents", "calls", "tokens", "money", "cost"];
    out.table(&headers, rows.collect(), "nothing was compared");
    out.note("");
    let judge = compared.judge.as_ref().map(|judge| format!(", judged by {judge}")).unwrap_or_default();
    out.note(format_args!(
        "quality is {}{judge}; median (smallest–largest) of what completed",
        compared.quality
    ));
    for (what, of, most) in [
        ("best quality", (|s: &Summary| s.quality) as fn(&Summary) -> Option<Spread>, true),
        ("least time", |s| s.time_ms, false),
        ("fewest calls", |s| s.calls, false),
    ] {
        let best = winners(compared, of, most);
        if !best.is_empty() && best.len() < compared.candidates.len() {
            out.note(format_args!("{what}: {}", best.join(", ")));
        }
    }
    for candidate in &compared.candidates {
        for (why, ids) in reasons(&candidate.runs) {
            let more = if ids.len() > 1 { format!(" and {} more", ids.len() - 1) } else { String::new() };
            let red = out.red("error:");
            out.error_line(format_args!("{red} {}, execution {}{more}: {why}", candidate.name, ids[0]));
        }
    }
}

/// Why executions have no quality, each reason once, and whose it is.
fn reasons(runs: &[Run]) -> Vec<(&str, Vec<&str>)> {
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    for run in runs {
        let Some(why) = run.error.as_deref() else { continue };
        match out.iter_mut().find(|(known, _)| *known == why) {
            Some((_, ids)) => ids.push(&run.execution_id),
            None => out.push((why, vec![&run.execution_id])),
        }
    }
    out
}

/// The names of those whose median is the best; several when they are equal.
fn winners(compared: &Comparison, of: fn(&Summary) -> Option<Spread>, most: bool) -> Vec<&str> {
    let medians =
        || compared.candidates.iter().filter_map(|c| Some((c.name.as_str(), of(&c.summary)?.median)));
    let better = |a: f64, b: f64| if most { a.max(b) } else { a.min(b) };
    let Some(best) = medians().map(|(_, median)| median).reduce(better) else { return Vec::new() };
    medians().filter(|(_, median)| *median == best).map(|(name, _)| name).collect()
}

/// `median (min–max)`, or one number when they are the same to the eye.
fn spread(given: Option<Spread>, text: fn(f64) -> String) -> String {
    let Some(Spread { median, min, max }) = given else { return "-".to_owned() };
    let [median, min, max] = [median, min, max].map(text);
    if min == max { median } else { format!("{median} ({min}–{max})") }
}

fn number(n: f64) -> String {
    if n.fract() == 0.0 {
        return format!("{n:.0}");
    }
    let text = format!("{n:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn ms(n: f64) -> String {
    if n < 10_000.0 { format!("{n:.0} ms") } else { format!("{:.1} s", n / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_short_when_there_is_none() {
        let of = |median, min, max| Some(Spread { median, min, max });
        for (given, want) in [
            (of(2.0, 2.0, 2.0), "2"),
            (of(0.75, 0.5, 1.0), "0.75 (0.5–1)"),
            (of(1.0 / 3.0, 0.0, 1.0), "0.3333 (0–1)"),
            (None, "-"),
        ] {
            assert_eq!(spread(given, number), want);
        }
        assert_eq!((ms(12.4), ms(12_345.0)), ("12 ms".to_owned(), "12.3 s".to_owned()));
    }
}
