//! A load as a process of its own, and what every process used meanwhile.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::{
    load::{Job, Outcome, Said},
    system::System,
    usage::{self, Usage, Usages},
};

/// What one run of a load came to.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    /// CPU seconds within the measured time, and peaks of memory, by process; `load` is the generator.
    pub(crate) used: Usages,
}

impl Measured {
    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        if self.outcome.seconds > 0.0 { self.outcome.done as f64 / self.outcome.seconds } else { 0.0 }
    }
}

/// A load that runs.
pub(crate) struct Loading {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Loading {
    /// Starts it.
    pub(crate) fn start(job: &Job) -> Self {
        let own = std::env::current_exe().expect("a process knows its program");
        let mut child = Command::new(own)
            .arg("load")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the load generator can be started");
        let mut pipe = child.stdin.take().expect("a pipe was asked for");
        serde_json::to_writer(&mut pipe, job).expect("the load generator reads its job");
        pipe.flush().expect("the load generator reads its job");
        drop(pipe);
        let lines = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        Self { child, lines }
    }

    fn next(&mut self) -> Said {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the load generator speaks");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("the load generator ended: {e} {line:?}"))
    }

    /// Ends it in the middle: only its being there counted.
    pub(crate) fn stop(self) {
        drop(self);
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        loop {
            if let Said::Done(outcome) = self.next() {
                let _ = self.child.wait();
                return outcome;
            }
        }
    }
}

impl Drop for Loading {
    /// Also when what it was the background of has failed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a load to its end and looks at all processes when measuring begins and ends.
pub(crate) fn load(system: &System, job: &Job) -> Measured {
    let mut loading = Loading::start(job);
    let look = |loading: &Loading| {
        let mut all = system.usage();
        all.insert("load".into(), usage::of(loading.child.id()));
        all
    };
    let mut before = look(&loading);
    let mut after = before.clone();
    system.reset_peaks();
    loop {
        match loading.next() {
            Said::Begin => before = look(&loading),
            Said::End => after = look(&loading),
            Said::Done(outcome) => {
                let _ = loading.child.wait();
                return Measured { outcome, used: since(&before, &after) };
            }
        }
    }
}

/// What was used from one look to the next.
pub(crate) fn since(before: &Usages, after: &Usages) -> Usages {
    let of = |(name, now): (&String, &Usage)| {
        let was = before.get(name).map_or(0.0, |u| u.cpu_seconds);
        (name.clone(), Usage { cpu_seconds: (now.cpu_seconds - was).max(0.0), ..*now })
    };
    after.iter().map(of).collect()
}
