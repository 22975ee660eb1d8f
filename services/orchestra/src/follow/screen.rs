//! A part of the terminal that is drawn again and again.

use console::{Term, truncate_str};

/// Lines at the end of the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    term: Term,
    drawn: usize,
}

impl Screen {
    pub(super) fn new() -> Self {
        let term = Term::buffered_stdout();
        // A terminal that cannot hide its cursor shows it.
        let _ = term.hide_cursor();
        Self { term, drawn: 0 }
    }

    /// Lines that fit.
    pub(super) fn rows(&self) -> usize {
        usize::from(self.term.size().0).saturating_sub(2).max(8)
    }

    /// Draws `lines` in place of those before; each is cut to the width of the terminal.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let width = usize::from(self.term.size().1).max(20);
        // A terminal that went away is noticed by the next result that is printed.
        let _ = self.term.clear_last_lines(self.drawn);
        for line in lines {
            let _ = self.term.write_line(&truncate_str(line, width - 1, "…"));
        }
        let _ = self.term.flush();
        self.drawn = lines.len();
    }

    /// Leaves what is drawn where it is.
    pub(super) fn finish(&mut self) {
        self.drawn = 0;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.term.show_cursor();
        let _ = self.term.flush();
    }
}
