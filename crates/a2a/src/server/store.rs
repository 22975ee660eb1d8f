//! The tasks of a server: bounded, and found again by the message that made them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{sync::Notify, time::Instant};

use super::{ServerConfig, entry::Entry};
use crate::{
    Fault, FaultKind,
    model::{ListRequest, Message, Task, TaskPage},
};

/// Content of a message, to tell a repeat from a misuse of its id.
pub(crate) type ContentHash = [u8; 32];

pub(crate) struct Store {
    index: Mutex<Index>,
    running: AtomicUsize,
    emptied: Notify,
    config: ServerConfig,
}

#[derive(Default)]
struct Index {
    tasks: HashMap<String, Arc<Entry>>,
    messages: HashMap<String, (ContentHash, Arc<Entry>)>,
    /// Message ids of each task, to forget them with it.
    of_task: HashMap<String, Vec<String>>,
    ended: VecDeque<(Instant, String)>,
}

/// What a message led to.
pub(crate) enum Arrival {
    /// A new task to work on.
    New(Arc<Entry>),
    /// An answer to a waiting task, or a repeat of a message that was taken before.
    Known(Arc<Entry>),
}

impl Store {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self { index: Mutex::default(), running: AtomicUsize::new(0), emptied: Notify::new(), config }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    pub(crate) async fn idle(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.running() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn get(&self, id: &str) -> Result<Arc<Entry>, Fault> {
        let missing = || Fault::new(FaultKind::TaskNotFound, format!("no task {:?}", cut(id)));
        self.lock().tasks.get(id).cloned().ok_or_else(missing)
    }

    /// Takes a message: once, however often it arrives.
    pub(crate) fn arrive(&self, message: &Message, hash: ContentHash) -> Result<Arrival, Fault> {
        let mut index = self.lock();
        if let Some((known, entry)) = index.messages.get(&message.message_id) {
            if *known == hash {
                return Ok(Arrival::Known(entry.clone()));
            }
            return Err(Fault::invalid("message.messageId", "was used before for another message"));
        }
        let arrival = match &message.task_id {
            Some(id) => Arrival::Known(index.answered(id, message)?),
            None => {
                index.evict(&self.config);
                if index.tasks.len() >= self.config.tasks_max {
                    let why = format!("{} tasks are running, the most this agent takes", index.tasks.len());
                    return Err(Fault::new(FaultKind::RateLimited, why));
                }
                let entry = Arc::new(Entry::new(message, self.config.subscriber_lag_max));
                index.tasks.insert(entry.id.clone(), entry.clone());
                self.running.fetch_add(1, Ordering::AcqRel);
                Arrival::New(entry)
            }
        };
        let (Arrival::New(entry) | Arrival::Known(entry)) = &arrival;
        index.messages.insert(message.message_id.clone(), (hash, entry.clone()));
        index.of_task.entry(entry.id.clone()).or_default().push(message.message_id.clone());
        Ok(arrival)
    }

    /// Notes that a task is over: from now on it may be forgotten.
    pub(crate) fn ended(&self, entry: &Entry) {
        self.lock().ended.push_back((Instant::now(), entry.id.clone()));
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// One page, newest status first. The token is the status time and id of the last task shown.
    pub(crate) fn list(&self, request: &ListRequest) -> Result<TaskPage, Fault> {
        let page_size = request.page_size.unwrap_or(50);
        if !(1..=100).contains(&page_size) {
            return Err(Fault::invalid("pageSize", "must be 1 to 100"));
        }
        let entries: Vec<Arc<Entry>> = self.lock().tasks.values().cloned().collect();
        let mut found: Vec<(i64, String, Arc<Entry>)> = entries
            .into_iter()
            .filter(|e| request.context_id.as_ref().is_none_or(|c| *c == e.context_id))
            .filter(|e| request.status.is_none_or(|s| s == e.state()))
            .map(|e| (e.status_at().micros(), e.id.clone(), e))
            .filter(|(at, ..)| request.status_timestamp_after.is_none_or(|after| *at >= after.micros()))
            .collect();
        found.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
        let total_size = u32::try_from(found.len()).unwrap_or(u32::MAX);
        if let Some(token) = request.page_token.as_deref().filter(|t| !t.is_empty()) {
            let (at, id) = token
                .split_once('.')
                .and_then(|(at, id)| Some((at.parse::<i64>().ok()?, id)))
                .ok_or_else(|| Fault::invalid("pageToken", "is not a token of this agent"))?;
            found.retain(|(a, i, _)| (*a, i.as_str()) < (at, id));
        }
        let more = found.len() > page_size as usize;
        found.truncate(page_size as usize);
        let next = found.last().filter(|_| more).map(|(at, id, _)| format!("{at}.{id}"));
        let tasks = found.iter().map(|(.., e)| {
            let task = e.snapshot(request.history_length);
            if request.include_artifacts { task } else { Task { artifacts: Vec::new(), ..task } }
        });
        Ok(TaskPage {
            tasks: tasks.collect(),
            next_page_token: next.unwrap_or_default(),
            page_size,
            total_size,
        })
    }
}

impl Index {
    fn answered(&self, id: &str, message: &Message) -> Result<Arc<Entry>, Fault> {
        let missing = || Fault::new(FaultKind::TaskNotFound, format!("no task {:?}", cut(id)));
        let entry = self.tasks.get(id).ok_or_else(missing)?;
        if message.context_id.as_ref().is_some_and(|c| *c != entry.context_id) {
            return Err(Fault::invalid("message.contextId", "is not the context of the task"));
        }
        entry.answer(message.clone())?;
        Ok(entry.clone())
    }

    fn evict(&mut self, config: &ServerConfig) {
        while let Some((since, _)) = self.ended.front() {
            if self.tasks.len() < config.tasks_max && since.elapsed() < config.task_ttl {
                return;
            }
            let Some((_, id)) = self.ended.pop_front() else { return };
            self.tasks.remove(&id);
            for message in self.of_task.remove(&id).unwrap_or_default() {
                self.messages.remove(&message);
            }
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}
