//! An execution as a tree of tasks: state, agent, attempt, duration, progress. Pure: an execution in, lines out.

use api::client::{Execution, Task};
use base::Timestamp;
use console::{measure_text_width, pad_str};

use crate::out::{Out, duration};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Cells of a progress bar.
const BAR: usize = 12;
/// Widest name and agent that are shown.
const NAME_MAX: usize = 32;

/// How the tree is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    out: &'a Out,
    frame: usize,
    rows: usize,
    /// How long what runs has run until now; `None` = only what has ended shows a time.
    now: Option<Timestamp>,
}

impl<'a> View<'a> {
    /// A picture that stays.
    pub(super) fn still(out: &'a Out) -> Self {
        Self::live(out, 0, 200)
    }
    /// One frame of a moving picture, at most `rows` high.
    pub(super) fn live(out: &'a Out, frame: usize, rows: usize) -> Self {
        use base::Clock as _;
        Self { out, frame, rows, now: Some(runtime::SystemClock.now()) }
    }
}

/// A line before its columns are aligned.
struct Row {
    branch: String,
    name: String,
    state: String,
    agent: String,
    attempt: String,
    took: String,
    more: String,
}

/// The tree of `execution`.
pub(super) fn lines(execution: &Execution, view: &View<'_>) -> Vec<String> {
    let out = view.out;
    // What was cut off with its execution no longer counts.
    let view = &View { now: view.now.filter(|_| !execution.status.is_final()), ..*view };
    let mut head = format!(
        "{}  {}  {}/{} tasks  {}",
        out.bold(&format!("{}@{}", execution.workflow_name, execution.workflow_version)),
        out.state(execution.status.as_str()),
        execution.metrics.tasks_completed,
        execution.metrics.tasks_total,
        out.dim(&execution.execution_id),
    );
    if let Some(place) = execution.queue_position {
        head.push_str(&format!("  place {place} in the start queue"));
    }
    let rows = rows(execution, view);
    let width = |of: fn(&Row) -> &str| rows.iter().map(|r| measure_text_width(of(r))).max().unwrap_or(0);
    let name = width(|r| &r.name).min(NAME_MAX);
    let state = width(|r| &r.state);
    let agent = width(|r| &r.agent).min(NAME_MAX);
    let (attempt, took) = (width(|r| &r.attempt), width(|r| &r.took));
    // Names inside of a task stand further to the right by its branch.
    let branch = width(|r| &r.branch);
    let mut lines = vec![head];
    lines.extend(rows.into_iter().map(|row| {
        let indent = branch - measure_text_width(&row.branch);
        let left = |text: &str, width| pad_str(text, width, console::Alignment::Left, Some("…")).into_owned();
        let line = format!(
            "{}{}  {}  {}  {}  {}  {}",
            out.dim(&row.branch),
            left(&row.name, name + indent),
            pad_painted(out, &row.state, state),
            left(&row.agent, agent),
            out.dim(&left(&row.attempt, attempt)),
            pad_str(&row.took, took, console::Alignment::Right, None),
            row.more,
        );
        line.trim_end().to_owned()
    }));
    for why in &execution.waiting {
        lines.push(out.dim(&format!("   waits: {why}")));
    }
    lines
}

fn pad_painted(out: &Out, text: &str, width: usize) -> String {
    format!("{}{}", out.state(text), " ".repeat(width - measure_text_width(text)))
}

fn rows(execution: &Execution, view: &View<'_>) -> Vec<Row> {
    // What is in motion is shown before what is over, if there is no room for all.
    let shown = fit(&execution.tasks, view.rows.saturating_sub(2), |task| 1 + task.items.len().min(8));
    let mut rows = Vec::new();
    let last = shown.indices.last().copied();
    for &at in &shown.indices {
        let task = &execution.tasks[at];
        let end = Some(at) == last && shown.hidden == 0;
        rows.push(row(task, if end { "└─" } else { "├─" }, task.task_id.clone(), view));
        let stem = if end { "   " } else { "│  " };
        let items = fit(&task.items, (view.rows / 2).max(8), |_| 1);
        let last_item = items.indices.last().copied();
        for &item in &items.indices {
            let end = Some(item) == last_item && items.hidden == 0;
            let branch = format!("{stem}{}", if end { "└─" } else { "├─" });
            rows.push(row(&task.items[item], &branch, format!("[{item}]"), view));
        }
        if items.hidden > 0 {
            rows.push(hidden(&format!("{stem}└─"), items.hidden, "items"));
        }
    }
    if shown.hidden > 0 {
        rows.push(hidden("└─", shown.hidden, "tasks"));
    }
    rows
}

/// Which of many fit on the screen.
struct Fit {
    indices: Vec<usize>,
    hidden: usize,
}

fn fit(tasks: &[Task], room: usize, height: impl Fn(&Task) -> usize) -> Fit {
    let all: usize = tasks.iter().map(&height).sum();
    if all <= room {
        return Fit { indices: (0..tasks.len()).collect(), hidden: 0 };
    }
    let rank = |task: &Task| match task.state.as_str() {
        "failed" | "needs_decision" | "input_required" => 0,
        "running" | "retrying" => 1,
        "ready" | "waiting" => 2,
        "pending" => 3,
        _ => 4,
    };
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|&at| (rank(&tasks[at]), at));
    let mut left = room.saturating_sub(1);
    let mut indices: Vec<usize> = order
        .into_iter()
        .take_while(|&at| {
            let needs = height(&tasks[at]);
            let fits = needs <= left;
            left = left.saturating_sub(needs);
            fits
        })
        .collect();
    indices.sort_unstable();
    Fit { hidden: tasks.len() - indices.len(), indices }
}

fn hidden(branch: &str, count: usize, what: &str) -> Row {
    let empty = String::new;
    Row {
        branch: format!("{branch} "),
        name: format!("… {count} more {what}"),
        state: empty(),
        agent: empty(),
        attempt: empty(),
        took: empty(),
        more: empty(),
    }
}

fn row(task: &Task, branch: &str, name: String, view: &View<'_>) -> Row {
    Row {
        branch: format!("{branch} {} ", symbol(&task.state, view.frame)),
        name,
        state: task.state.clone(),
        agent: agent(task),
        attempt: if task.attempt > 0 { format!("#{}", task.attempt) } else { String::new() },
        took: took(task, view.now),
        more: more(task, view),
    }
}

fn symbol(state: &str, frame: usize) -> &'static str {
    match state {
        "completed" => "✔",
        "failed" => "✘",
        "skipped" | "cancelled" => "–",
        "running" => SPINNER[frame % SPINNER.len()],
        "retrying" => "↻",
        "needs_decision" | "input_required" => "?",
        _ => "○",
    }
}

fn agent(task: &Task) -> String {
    if !task.items.is_empty() {
        let done = task.items.iter().filter(|item| item.state == "completed").count();
        return format!("{done} of {} items", task.items.len());
    }
    let Some(agent) = &task.agent_id else { return String::new() };
    // Instances are named within their agent; one that is alone needs no second name.
    let instance = task.instance_id.as_deref().unwrap_or_default();
    match instance.strip_prefix(agent.as_str()).unwrap_or(instance).trim_start_matches('/') {
        "" | "default" => agent.clone(),
        instance => format!("{agent}/{instance}"),
    }
}

fn took(task: &Task, now: Option<Timestamp>) -> String {
    let begun = task.started_at.as_deref().and_then(Timestamp::parse_rfc3339);
    match (now, begun, task.completed_at.is_some()) {
        (Some(now), Some(begun), false) => {
            duration(u64::try_from(now.since(begun).as_millis()).unwrap_or(u64::MAX))
        }
        _ if begun.is_none() => String::new(),
        _ => duration(task.duration_ms),
    }
}

fn more(task: &Task, view: &View<'_>) -> String {
    let out = view.out;
    let text = task.progress_text.as_deref().unwrap_or_default();
    let why = || task.error.as_deref().or(task.reason.as_deref()).unwrap_or_default().to_owned();
    match task.state.as_str() {
        "running" if task.items.is_empty() && task.progress > 0.0 => {
            format!("{} {:>3.0} % {text}", bar(task.progress), task.progress * 100.0)
        }
        "pending" if !task.depends_on.is_empty() => out.dim(&format!("after {}", task.depends_on.join(", "))),
        "completed" => String::new(),
        _ => why(),
    }
}

fn bar(progress: f64) -> String {
    let full = ((progress.clamp(0.0, 1.0) * BAR as f64).round() as usize).min(BAR);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Format;
    use api::client::{ExecutionStatus, Metrics};

    fn task(id: &str, state: &str) -> Task {
        Task {
            task_id: id.into(),
            name: None,
            state: state.into(),
            agent_id: None,
            instance_id: None,
            capability: None,
            attempt: 0,
            started_at: None,
            completed_at: None,
            duration_ms: 0,
            progress: 0.0,
            progress_text: None,
            output: None,
            error: None,
            reason: None,
            depends_on: Vec::new(),
            items: Vec::new(),
        }
    }

    fn execution(tasks: Vec<Task>) -> Execution {
        Execution {
            execution_id: "e1".into(),
            workflow_id: "w1".into(),
            workflow_name: "research".into(),
            workflow_version: "1.0".into(),
            status: ExecutionStatus::Executing,
            current_phase: String::new(),
            priority: 0,
            input: None,
            output: None,
            tasks,
            agents: Vec::new(),
            metrics: Metrics { tasks_completed: 1, tasks_total: 3, ..Metrics::default() },
            error_details: None,
            created_at: String::new(),
            started_at: None,
            completed_at: None,
            last_seq: 0,
            metadata: None,
            correlation_id: None,
            waiting: Vec::new(),
            queue_position: None,
            stuck: Vec::new(),
            spent: None,
            budget: None,
        }
    }

    fn worked(task: Task, agent: &str, attempt: u32, ms: u64) -> Task {
        let started_at = Some("2026-01-01T00:00:00Z".to_owned());
        let instance_id = Some(format!("{agent}/default"));
        Task { agent_id: Some(agent.into()), instance_id, attempt, duration_ms: ms, started_at, ..task }
    }

    #[test]
    fn a_tree_shows_state_agent_attempt_duration_and_progress() {
        let out = Out::new(Format::Json);
        let running = Task {
            progress: 0.5,
            progress_text: Some("ranking".into()),
            ..worked(task("", "running"), "researcher-2", 2, 250)
        };
        let research = Task {
            items: vec![worked(task("", "completed"), "researcher-1", 1, 1200), running],
            started_at: Some("2026-01-01T00:00:00Z".into()),
            duration_ms: 1500,
            ..task("research", "running")
        };
        let last = Task { depends_on: vec!["research".into()], ..task("synthesize", "pending") };
        let tasks = vec![worked(task("decompose", "completed"), "supervisor", 1, 12), research, last];
        let view = View { now: None, ..View::still(&out) };
        let got = lines(&execution(tasks.clone()), &view).join("\n");
        let want = "\
research@1.0  executing  1/3 tasks  e1
├─ ✔ decompose      completed  supervisor    #1   12 ms
├─ ⠋ research       running    1 of 2 items      1.50 s
│  ├─ ✔ [0]         completed  researcher-1  #1  1.20 s
│  └─ ⠋ [1]         running    researcher-2  #2  250 ms  ██████░░░░░░  50 % ranking
└─ ○ synthesize     pending                              after research";
        assert_eq!(got.lines().collect::<Vec<_>>(), want.lines().collect::<Vec<_>>(), "\n{got}");
        // What runs has run until now, in a picture that stays as in one that moves; what ended with its execution has not.
        let view = View { now: Timestamp::parse_rfc3339("2026-01-01T00:01:00Z"), ..view };
        let row = |execution: &Execution| {
            lines(execution, &view).into_iter().find(|line| line.contains("of 2 items")).unwrap()
        };
        let mut execution = execution(tasks);
        assert!(row(&execution).ends_with("1 min 0 s"), "{}", row(&execution));
        execution.status = ExecutionStatus::Cancelled;
        assert!(row(&execution).ends_with("1.50 s"), "{}", row(&execution));
    }

    #[test]
    fn a_tree_that_is_too_tall_keeps_what_moves() {
        let out = Out::new(Format::Json);
        let mut tasks: Vec<Task> = (0..100).map(|n| task(&format!("t{n}"), "completed")).collect();
        tasks[70].state = "running".into();
        tasks[80].state = "failed".into();
        let view = View { rows: 12, ..View::still(&out) };
        let got = lines(&execution(tasks), &view);
        assert!(got.len() <= 12, "{}", got.len());
        assert!(got.iter().any(|l| l.contains("t70")) && got.iter().any(|l| l.contains("t80")));
        assert!(got.last().unwrap().contains("more tasks"), "{got:?}");
    }
}
