//! Plots as SVG.

use std::{error::Error, path::Path};

use plotters::prelude::*;
use serde::Serialize;

use super::Row;

/// One line of a plot.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) plot: String,
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

struct Plot<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    lines: Vec<Line>,
}

type Drawn = Result<(), Box<dyn Error>>;

/// Throughput against in-flight, latency percentiles, and one plot for each other set of lines.
pub(super) fn all(folder: &Path, rows: &[Row], more: &[Line]) -> Drawn {
    let works = |work: &'static str| rows.iter().filter(move |r| r.work == work && r.unit == "executions/s");
    for work in ["W1", "W10"] {
        let title = format!("{work}: throughput against executions in flight");
        let lines = by_backend(works(work), |row| Some(row.median()), "");
        draw(folder, &Plot { title: &title, x: "in flight", y: "executions/s", lines })?;
        let title = format!("{work}: latency against executions in flight");
        let mut lines = by_backend(works(work), |row| row.p50_ms, " p50");
        lines.extend(by_backend(works(work), |row| row.p99_ms, " p99"));
        draw(folder, &Plot { title: &title, x: "in flight", y: "ms", lines })?;
    }
    let mut plots: Vec<&str> = more.iter().map(|line| line.plot.as_str()).collect();
    plots.dedup();
    for plot in plots {
        // `what: y against x`
        let (y, x) = plot
            .split_once(": ")
            .map_or(plot, |(_, rest)| rest)
            .split_once(" against ")
            .unwrap_or((plot, ""));
        let lines = more.iter().filter(|line| line.plot == plot).cloned().collect();
        draw(folder, &Plot { title: plot, x, y, lines })?;
    }
    Ok(())
}

fn by_backend<'a>(
    rows: impl Iterator<Item = &'a Row> + Clone,
    value: impl Fn(&Row) -> Option<f64>,
    suffix: &str,
) -> Vec<Line> {
    let mut names: Vec<&str> = rows.clone().map(|row| row.backend.as_str()).collect();
    names.dedup();
    let line = |name: &&str| Line {
        plot: String::new(),
        name: format!("{name}{suffix}"),
        points: rows
            .clone()
            .filter(|row| row.backend == *name)
            .filter_map(|row| Some((row.in_flight as f64, value(row)?)))
            .collect(),
    };
    names.iter().map(line).collect()
}

/// Both axes logarithmic: what is linear is a straight line of slope one, what is flat is flat.
fn draw(folder: &Path, plot: &Plot<'_>) -> Drawn {
    let points = || plot.lines.iter().flat_map(|line| &line.points).filter(|(x, y)| *x > 0.0 && *y > 0.0);
    if points().count() < 2 {
        return Ok(());
    }
    let range = |pick: fn(&(f64, f64)) -> f64| {
        let least = points().map(pick).fold(f64::INFINITY, f64::min);
        let most = points().map(pick).fold(0.0, f64::max);
        least / 1.3..most * 1.3
    };
    let file = folder.join(format!("{}.svg", file_name(plot.title)));
    let area = SVGBackend::new(&file, (760, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(68)
        .build_cartesian_2d(range(|p| p.0).log_scale(), range(|p| p.1).log_scale())?;
    chart.configure_mesh().x_desc(plot.x).y_desc(plot.y).light_line_style(WHITE).draw()?;
    for (n, line) in plot.lines.iter().enumerate() {
        let colour = Palette99::pick(n).to_rgba();
        let good: Vec<_> = line.points.iter().copied().filter(|(x, y)| *x > 0.0 && *y > 0.0).collect();
        chart
            .draw_series(LineSeries::new(good.clone(), colour.stroke_width(2)).point_size(3))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// `W1: throughput against …` → `w1-throughput`.
fn file_name(title: &str) -> String {
    let head = title.split(" against ").next().unwrap_or(title);
    let words = head.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}
