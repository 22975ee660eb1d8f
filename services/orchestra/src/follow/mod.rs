//! Following an execution: a tree of its tasks that is redrawn on a terminal, a line for each event elsewhere.

mod events;
mod report;
mod screen;
mod stuck;
mod tree;

use std::time::Duration;

use api::client::{Client, Execution, Update};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    exit::{Exit, Failure},
    out::Out,
};

pub(crate) use events::EventLines;
pub(crate) use report::{print_causes, print_end, print_output, print_whole, readable};
pub(crate) use stuck::print as print_stuck;

use screen::Screen;

/// How often the tree is redrawn: spinners and durations move on.
const FRAME: Duration = Duration::from_millis(120);
/// How often the state is asked for while events come.
const LOOK: Duration = Duration::from_millis(240);

/// Shows an execution until it ends, then its output and a summary. After Ctrl-C it says how to go on looking and
/// returns the execution as it stands.
pub(crate) async fn follow(client: &Client, id: &str, out: &Out) -> Result<Execution, Failure> {
    let watching =
        async { if out.is_live() { redraw(client, id, out).await } else { tell(client, id, out).await } };
    tokio::select! {
        watched = watching => watched.map_err(|failure| match failure.exit {
            Exit::Unavailable => failure.remedy(format!(
                "it goes on when the server is back; follow it again: orchestra executions watch {id}"
            )),
            _ => failure,
        })?,
        interrupted = tokio::signal::ctrl_c() => {
            // Without a handler Ctrl-C ends the process by itself.
            if interrupted.is_ok() {
                out.note(format_args!("\nit goes on; follow it again: orchestra executions watch {id}"));
            }
            return Ok(client.execution(id).await?);
        }
    }
    let execution = client.wait(id, None).await?;
    out.result(&execution, |out| {
        if !out.is_live() {
            out.line("");
            tree::lines(&execution, &tree::View::still(out)).iter().for_each(|line| out.line(line));
        }
        print_end(out, &execution);
    });
    Ok(execution)
}

/// One line for each event.
async fn tell(client: &Client, id: &str, out: &Out) -> Result<(), Failure> {
    let mut watch = client.watch(id, 0);
    let mut lines = EventLines::default();
    while let Some(update) = watch.next().await? {
        match update {
            // For programs the result is one document at the end; events are notes on the way.
            Update::Event(event) if out.is_for_programs() => out.error_line(lines.line(out, &event)),
            Update::Event(event) => out.line(lines.line(out, &event)),
            Update::Progress(_) => {}
        }
    }
    Ok(())
}

/// The tree, redrawn in place.
async fn redraw(client: &Client, id: &str, out: &Out) -> Result<(), Failure> {
    let mut watch = client.watch(id, 0);
    let mut screen = Screen::new();
    let mut execution = client.execution(id).await?;
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut frame, mut stale, mut looked) = (0usize, false, Instant::now());
    loop {
        tokio::select! {
            update = watch.next() => match update? {
                Some(_) => stale = true,
                None => break,
            },
            _ = frames.tick() => {
                if stale && looked.elapsed() >= LOOK {
                    execution = client.execution(id).await?;
                    (stale, looked) = (false, Instant::now());
                }
                frame += 1;
                screen.draw(&tree::lines(&execution, &tree::View::live(out, frame, screen.rows())));
            }
        }
    }
    let ended = client.wait(id, None).await?;
    screen.draw(&tree::lines(&ended, &tree::View::still(out)));
    screen.finish();
    Ok(())
}
