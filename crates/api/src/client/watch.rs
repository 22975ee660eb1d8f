//! Following an execution live, over lost connections.

use std::collections::VecDeque;

use futures::{Stream, StreamExt as _, stream};
use proto::executor::v1 as wire;
use tokio::time::{Instant, sleep};
use tonic::{Request, Streaming};

use super::{Client, Event, PAUSE, PAUSE_MAX, Progress, fault, is_away};
use crate::Fault;

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Update {
    /// Something happened.
    Event(Event),
    /// An agent says how far it is.
    Progress(Progress),
}

/// Follows one execution to its end. Each event comes once, in order, whatever happens to the connection.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    execution_id: String,
    after_seq: u64,
    stream: Option<Streaming<wire::WatchResponse>>,
    waiting: VecDeque<Update>,
    ended: bool,
}

impl Client {
    /// Follows an execution from after `after_seq` on; 0 = from its beginning.
    pub fn watch(&self, execution_id: &str, after_seq: u64) -> Watch {
        Watch {
            client: self.clone(),
            execution_id: execution_id.to_owned(),
            after_seq,
            stream: None,
            waiting: VecDeque::new(),
            ended: false,
        }
    }
}

impl Watch {
    /// The next thing to tell; `None` when the execution has ended and everything is told.
    ///
    /// # Errors
    /// `not_found`, or `unavailable` when the server stays away for longer than the client's patience. Calling again
    /// goes on where it stopped.
    pub async fn next(&mut self) -> Result<Option<Update>, Fault> {
        loop {
            if let Some(update) = self.waiting.pop_front() {
                return Ok(Some(update));
            }
            if self.ended {
                return Ok(None);
            }
            self.fetch().await?;
        }
    }

    /// Sequence number of the last event told: where another watch would go on.
    pub fn last_seq(&self) -> u64 {
        self.after_seq
    }

    /// The same as a stream; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Fault>> + Send {
        stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(update)) => Some((Ok(update), Some(watch))),
                Ok(None) => None,
                Err(fault) => Some((Err(fault), None)),
            }
        })
        .boxed()
    }

    /// Takes one message from the server, connecting first if need be.
    async fn fetch(&mut self) -> Result<(), Fault> {
        let until = Instant::now() + self.client.options.patience;
        let mut pause = PAUSE;
        loop {
            let fault = match self.message().await {
                Ok(Some(message)) => {
                    self.take(message);
                    return Ok(());
                }
                // The owner moved, or a proxy closed the stream: go on from where we are.
                Ok(None) => Fault::unavailable("the server ended the stream before the execution ended"),
                Err(fault) => fault,
            };
            self.stream = None;
            if !is_away(&fault) || Instant::now() + pause >= until {
                return Err(fault);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn message(&mut self) -> Result<Option<wire::WatchResponse>, Fault> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let execution_id = self.execution_id.clone();
                // No deadline: it lives as long as the execution.
                let ask =
                    Request::new(wire::WatchExecutionRequest { execution_id, after_seq: self.after_seq });
                let opened = self.client.executor().watch_execution(ask).await;
                self.stream.insert(opened.map_err(|status| fault(&status))?.into_inner())
            }
        };
        stream.message().await.map_err(|status| fault(&status))
    }

    fn take(&mut self, message: wire::WatchResponse) {
        let seen = self.after_seq;
        for event in message.events.into_iter().filter(|event| event.seq > seen) {
            self.after_seq = self.after_seq.max(event.seq);
            self.waiting.push_back(Update::Event(Event::of(event)));
        }
        self.waiting.extend(message.progress.into_iter().map(|p| Update::Progress(Progress::of(p))));
        self.ended |= message.ended;
    }
}
