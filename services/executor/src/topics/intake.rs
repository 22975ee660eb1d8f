//! Events become durable: those that wait are written in one group, and the next gather meanwhile.

use std::{sync::Arc, time::Duration};

use api::Fault;
use base::ErrorCode;
use store::{
    StoreError,
    topics::{EventRow, EventStore, NewEvent, Stored},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::engine::away;

/// Bytes of payloads after which a group is full.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// When a caller who found no room should come back.
const AGAIN: Duration = Duration::from_millis(200);

/// Receives groups that are on disk: who is nudged by them.
pub(super) type Committed = Arc<dyn Fn(Vec<EventRow>) + Send + Sync>;

struct Job {
    events: Vec<NewEvent>,
    count: usize,
    reply: oneshot::Sender<Result<Vec<Stored>, Fault>>,
    _room: OwnedSemaphorePermit,
}

/// Takes events. Cheap to clone.
#[derive(Clone)]
pub(super) struct Intake {
    jobs: mpsc::UnboundedSender<Job>,
    /// One permit for each event that may wait.
    room: Arc<Semaphore>,
    room_max: u32,
}

/// The other end.
pub(super) struct Writer {
    jobs: mpsc::UnboundedReceiver<Job>,
    store: EventStore,
    rows_max: usize,
    committed: Committed,
    fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Intake {
    /// At most `room_max` events wait; groups have about `rows_max`.
    pub(super) fn new(
        store: EventStore,
        room_max: u32,
        rows_max: usize,
        committed: Committed,
        fatal: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> (Self, Writer) {
        let (sender, jobs) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(room_max as usize));
        (Self { jobs: sender, room, room_max }, Writer { jobs, store, rows_max, committed, fatal })
    }

    /// Writes `events`; answered when all of them are on disk. The outcome of each stands at its index.
    pub(super) async fn write(&self, events: Vec<NewEvent>) -> Result<Vec<Stored>, Fault> {
        let wanted = u32::try_from(events.len()).unwrap_or(u32::MAX).min(self.room_max);
        let room = self.room.clone().try_acquire_many_owned(wanted).map_err(|_| {
            let text = format!("{} events wait to be written (topics.queue_max); try again", self.room_max);
            Fault::new(ErrorCode::ResourceExhausted, text).retry_after_ms(AGAIN.as_millis() as u64)
        })?;
        let (reply, written) = oneshot::channel();
        let gone = || Fault::unavailable("this replica goes down; try again").retry_after_ms(1000);
        let count = events.len();
        self.jobs.send(Job { events, count, reply, _room: room }).map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }
}

impl Writer {
    /// Writes until nobody can send any more.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let mut group = vec![first];
            let (mut rows, mut bytes) = size(&group[0]);
            while rows < self.rows_max && bytes < GROUP_BYTES_MAX {
                let Ok(job) = self.jobs.try_recv() else { break };
                let more = size(&job);
                (rows, bytes) = (rows + more.0, bytes + more.1);
                group.push(job);
            }
            self.commit(group).await;
        }
    }

    async fn commit(&self, mut group: Vec<Job>) {
        let events: Vec<NewEvent> =
            group.iter_mut().flat_map(|job| std::mem::take(&mut job.events)).collect();
        match self.store.append(&events).await {
            Ok(stored) => self.answer(group, events, stored),
            Err(error) if error.ends_the_process() => (self.fatal)(&error.to_string()),
            // Something in the group is refused: each request alone, so that only the guilty one fails.
            Err(StoreError::Refused(_)) if group.len() > 1 => self.one_by_one(group, events).await,
            Err(error) => {
                for job in group {
                    let _ = job.reply.send(Err(refusal(&error)));
                }
            }
        }
    }

    async fn one_by_one(&self, group: Vec<Job>, mut events: Vec<NewEvent>) {
        for job in group {
            let own: Vec<NewEvent> = events.drain(..job.count).collect();
            match self.store.append(&own).await {
                Ok(stored) => self.answer(vec![job], own, stored),
                Err(error) if error.ends_the_process() => return (self.fatal)(&error.to_string()),
                Err(error) => drop(job.reply.send(Err(refusal(&error)))),
            }
        }
    }

    fn answer(&self, group: Vec<Job>, events: Vec<NewEvent>, stored: Vec<Stored>) {
        let mut outcomes = stored.iter().copied();
        for job in group {
            let _ = job.reply.send(Ok(outcomes.by_ref().take(job.count).collect()));
        }
        let rows = events.into_iter().zip(stored).filter_map(|(event, stored)| match stored {
            Stored::At(pos) => Some(EventRow { pos, event }),
            Stored::Duplicate => None,
        });
        (self.committed)(rows.collect());
    }
}

fn size(job: &Job) -> (usize, usize) {
    (job.events.len(), job.events.iter().map(|event| event.payload.len()).sum())
}

fn refusal(error: &StoreError) -> Fault {
    match error {
        StoreError::Refused(why) => {
            tracing::info!(error = %why, "the database refuses an event");
            Fault::bad("events", "the database refuses one of them: a text holds what it cannot keep")
        }
        error => away(error.clone()),
    }
}
