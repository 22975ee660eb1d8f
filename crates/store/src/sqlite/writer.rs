//! The one writer: a thread of its own that owns the writing connection and joins all groups that wait.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{FileLock, classify, commit};
use crate::{
    error::StoreError,
    journal::{Group, Outcome},
};

type Answer = oneshot::Sender<Result<Vec<Outcome>, StoreError>>;
/// Runs on the writer; gives back the failure that must stop it, if there was one.
type Work = Box<dyn FnOnce(Result<&mut Connection, StoreError>) -> Option<StoreError> + Send>;

pub(crate) enum Job {
    Commit(Group, Answer),
    Write(Work),
    Close,
}

/// How much the writer joins into one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// Dropping it finishes what was accepted, ends the thread and frees the file.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    closing: AtomicBool,
}

impl Writer {
    /// The thread holds `lock` for as long as it can write.
    pub(crate) fn start(
        conn: Connection,
        lock: FileLock,
        queue: usize,
        bounds: Bounds,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(queue.max(1));
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            Loop { conn, waiting, bounds, failed: None }.run();
            drop(lock);
        })?;
        Ok(Self { jobs: Some(jobs), thread: Mutex::new(Some(thread)), closing: AtomicBool::new(false) })
    }

    pub(crate) async fn commit(&self, group: Group) -> Result<Vec<Outcome>, StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.send(Job::Commit(group, answer)).await?;
        outcome.await.map_err(|_| self.ended())?
    }

    /// Runs `write` in a transaction of its own and commits it when it gives `Ok`.
    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let work: Work = Box::new(move |conn| {
            let done = conn.and_then(|conn| in_transaction(conn, write));
            let fatal = done.as_ref().err().filter(|err| matches!(err, StoreError::Fatal(_))).cloned();
            // Nobody listens any more when the caller was dropped: the write stands all the same.
            let _ = answer.send(done);
            fatal
        });
        self.send(Job::Write(work)).await?;
        result.await.map_err(|_| self.ended())?
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or_else(|| self.ended())?;
        jobs.send(job).await.map_err(|_| self.ended())
    }

    fn ended(&self) -> StoreError {
        match self.closing.load(Ordering::SeqCst) {
            true => StoreError::Unavailable("the store is closed".into()),
            false => StoreError::Fatal("the writer has ended".into()),
        }
    }

    /// Finishes what was accepted and ends the thread.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // A refused send means that the thread has ended already.
        let _ = self.send(Job::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the writer thread ended by a panic");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer thread ended by a panic");
        }
    }
}

pub(crate) fn in_transaction<T>(
    conn: &mut Connection,
    write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(classify)?;
    let value = write(&tx)?;
    tx.commit().map_err(classify)?;
    Ok(value)
}

struct Loop {
    conn: Connection,
    waiting: mpsc::Receiver<Job>,
    bounds: Bounds,
    /// The disk failure after which nothing is written any more.
    failed: Option<StoreError>,
}

impl Loop {
    fn run(mut self) {
        let mut next = self.waiting.blocking_recv();
        while let Some(job) = next.take() {
            match job {
                Job::Close => {
                    self.waiting.close();
                }
                Job::Write(work) => self.write(work),
                Job::Commit(group, answer) => {
                    next = self.gather_and_commit(group, answer);
                    if next.is_some() {
                        continue;
                    }
                }
            }
            next = self.waiting.blocking_recv();
        }
    }

    fn write(&mut self, work: Work) {
        let conn = match &self.failed {
            Some(err) => Err(err.clone()),
            None => Ok(&mut self.conn),
        };
        if let Some(fatal) = work(conn) {
            self.failed = Some(fatal);
        }
    }

    /// Commits a group with all that wait behind it, and gives back the job that ended the gathering.
    fn gather_and_commit(&mut self, group: Group, answer: Answer) -> Option<Job> {
        let size = |group: &Group| (group.items.len(), group.items.iter().map(|i| i.bytes()).sum::<usize>());
        let (mut items, mut bytes) = size(&group);
        let (mut groups, mut answers, mut after) = (vec![group], vec![answer], None);
        while items < self.bounds.items && bytes < self.bounds.bytes {
            match self.waiting.try_recv() {
                Ok(Job::Commit(group, answer)) => {
                    let more = size(&group);
                    (items, bytes) = (items + more.0, bytes + more.1);
                    groups.push(group);
                    answers.push(answer);
                }
                Ok(other) => {
                    after = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let outcomes = match &self.failed {
            Some(err) => groups.iter().map(|_| Err(err.clone())).collect(),
            None => commit::commit_groups(&mut self.conn, &groups),
        };
        for (outcome, answer) in outcomes.into_iter().zip(answers) {
            if let Err(err @ StoreError::Fatal(_)) = &outcome {
                self.failed = Some(err.clone());
            }
            let _ = answer.send(outcome);
        }
        after
    }
}
