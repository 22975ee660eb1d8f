//! What can be wrong with an expression, and the limits it is held to.

/// Limits of one expression. The defaults suit definitions written by people; nothing here depends on data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest source text, in bytes.
    pub source_bytes_max: usize,
    /// Most operators, brackets and separators outside of string literals.
    pub operators_max: usize,
    /// Deepest nesting of brackets.
    pub nesting_max: usize,
    /// Deepest syntax tree: 60 additions in a row are 61 levels.
    pub depth_max: usize,
    /// Deepest nesting of `map`, `filter`, `all`, `exists` and `exists_one`.
    pub loops_max: usize,
    /// Largest compiled pattern of `matches`, in bytes.
    pub pattern_bytes_max: usize,
    /// Steps one evaluation may take: a node evaluated inside of a loop, or 16 bytes of text or one element copied or
    /// compared, is a step. A million steps take about a tenth of a second.
    pub steps_max: u64,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        source_bytes_max: 8 * 1024,
        operators_max: 256,
        nesting_max: 32,
        depth_max: 64,
        loops_max: 4,
        pattern_bytes_max: 64 * 1024,
        steps_max: 1_000_000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExprErrorKind {
    /// The text is not an expression.
    Syntax,
    /// A limit is reached, when compiling or while running.
    Limit,
    /// A variable, member or function does not exist.
    Unknown,
    /// The evaluation failed: types that do not fit, division by zero, an index out of range.
    Evaluation,
}

/// An expression that could not be compiled or evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What kind of mistake it is.
    pub kind: ExprErrorKind,
    /// What is wrong, for people.
    pub message: String,
    /// Where in the text, in bytes from its start; 0 when the place is unknown.
    pub offset: usize,
}

impl ExprError {
    pub(crate) fn new(kind: ExprErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), offset: 0 }
    }
    pub(crate) fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }
    /// Column of the mistake in `source`, in characters from 1, and its line from 1.
    pub fn line_column(&self, source: &str) -> (usize, usize) {
        let before = source.get(..self.offset.min(source.len())).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
