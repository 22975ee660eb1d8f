//! The compiler, the tests and the program itself, each with a time limit and bounded output.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use agent::Failure;

const OUTPUT_MAX: u64 = 256 * 1024;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a tool said.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it ended with status 0.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs a command to its end, with `input` on its standard input.
///
/// # Errors
/// When it cannot be started or takes longer than `limit`; it is killed then.
pub fn run(command: &mut Command, input: &str, limit: Duration) -> Result<Outcome, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|err| Failure::failed(format!("{name}: {err}")))?;
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let given = input.to_owned();
    let feeder = thread::spawn(move || {
        // A program that does not read all of its input is no error.
        let _ = stdin.as_mut().map(|pipe| pipe.write_all(given.as_bytes()));
    });
    let readers = (thread::spawn(move || text(stdout)), thread::spawn(move || text(stderr)));
    let status = loop {
        match child.try_wait().map_err(Failure::failed)? {
            Some(status) => break status,
            None if began.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::failed(format!("{name} took longer than {} s", limit.as_secs())));
            }
            None => thread::sleep(LOOK_EVERY),
        }
    };
    let _ = feeder.join();
    let joined = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(Outcome {
        ok: status.success(),
        out: joined(readers.0),
        err: joined(readers.1),
        took: began.elapsed(),
    })
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
        // What is over the limit is read and dropped, so that the program does not wait for us.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a text, for a message.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_gets_its_input_and_a_slow_one_is_killed() {
        let second = Duration::from_secs(60);
        let done = run(&mut Command::new("cat"), "words", second).unwrap();
        assert!(done.ok && done.out == "words");
        assert!(run(&mut Command::new("no-such-tool"), "", second).is_err());
        let slow = run(Command::new("tail").args(["-f", "/dev/null"]), "", Duration::from_millis(50));
        assert!(slow.unwrap_err().to_string().contains("took longer"));
    }
}
