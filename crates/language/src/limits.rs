//! How large a definition may be.

/// Limits of one definition. The defaults let a definition of 100,000 tasks pass and stop a bomb early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes.
    pub source_bytes_max: usize,
    /// Most values in the text, values that aliases stand for included.
    pub nodes_max: usize,
    /// Most aliases.
    pub aliases_max: usize,
    /// Most values that aliases may stand for.
    pub alias_nodes_max: usize,
    /// Deepest nesting of lists and mappings.
    pub depth_max: usize,
    /// Most tasks.
    pub tasks_max: usize,
    /// Most dependencies, over all tasks.
    pub edges_max: usize,
    /// Most findings that are kept; further ones are counted.
    pub findings_max: usize,
    /// Limits of each expression.
    pub expr: expr::Limits,
}

impl Limits {
    /// The defaults for definitions of up to `tasks` tasks: 512 bytes and 48 values a task, and some for the rest.
    pub const fn for_tasks(tasks: usize) -> Self {
        Self {
            source_bytes_max: tasks.saturating_mul(512).saturating_add(1 << 20),
            nodes_max: tasks.saturating_mul(48).saturating_add(50_000),
            aliases_max: 1_000,
            alias_nodes_max: 50_000,
            depth_max: 64,
            tasks_max: tasks,
            edges_max: tasks.saturating_mul(16).saturating_add(10_000),
            findings_max: 200,
            expr: expr::Limits::DEFAULT,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_tasks(100_000)
    }
}
