//! What an engine is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{FailureClass, Payload};
use workflow::plan::{Capabilities, Work};

/// Work to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The caller's id of the run: the same id is the same run, for ever.
    pub id: String,
    /// What is run.
    pub work: Work,
    /// Where it is queued; engines without queues are never given one.
    pub task_queue: Option<String>,
    /// Its input.
    pub input: Payload,
    /// How long it may take, where the engine can limit it itself.
    pub timeout: Option<Duration>,
}

/// A run at an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The id that it was started with.
    pub id: String,
    /// The engine's own id of it; empty = the newest run with that id.
    pub run_id: String,
}

impl Run {
    /// The run that was started with this id.
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), run_id: String::new() }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// With this.
    Completed(Payload),
    /// It failed.
    Failed {
        /// How it may be handled.
        class: FailureClass,
        /// Words of the engine.
        message: String,
    },
    /// It was asked to stop, and did.
    Cancelled,
    /// It was ended at once.
    Terminated(String),
    /// It took longer than it may.
    TimedOut,
}

/// Whether an engine knows of a call that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The engine never saw it, or said no.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// A call to an engine that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine could not be reached, or not for long enough.
    #[error("{message}")]
    Away {
        /// Words.
        message: String,
        /// Whether it knows of the call.
        lost: Lost,
    },
    /// There is no such run.
    #[error("there is no run {0}")]
    NoRun(String),
    /// The engine refuses.
    #[error("{message}")]
    Refused {
        /// How it may be handled.
        class: FailureClass,
        /// Words.
        message: String,
        /// It asks to wait this long.
        retry_after: Option<Duration>,
    },
    /// The engine has no such thing.
    #[error("the provider {0}")]
    Cannot(String),
}

impl EngineError {
    /// A refusal that a repetition does not change.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { class: FailureClass::Rejected, message: message.into(), retry_after: None }
    }

    /// The class of failure that a task shows.
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Away { lost: Lost::Nothing, .. } => FailureClass::Unavailable,
            Self::Away { lost: Lost::Unknown, .. } | Self::NoRun(_) => FailureClass::Broken,
            Self::Refused { class, .. } => *class,
            Self::Cannot(_) => FailureClass::Definition,
        }
    }

    /// Whether it is known that the engine did not take the call.
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::Away { lost: Lost::Unknown, .. })
    }
}

/// A workflow engine.
///
/// Every call may be repeated, and is: after a crash, by another process, at any time. Whatever an engine does not
/// declare in [`Engine::capabilities`] it answers with [`EngineError::Cannot`]. [`crate::conformance`] is the contract.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What it can do. Constant.
    fn capabilities(&self) -> Capabilities;

    /// Starts work, or finds the run that an earlier start with this id made, whether that has ended or not.
    async fn start(&self, start: &Start) -> Result<Run, EngineError>;

    /// Waits at most `wait` for the end of a run; `None` = it goes on.
    async fn result(&self, run: &Run, wait: Duration) -> Result<Option<End>, EngineError>;

    /// Asks a run to stop. Of a run that has ended nothing is asked.
    async fn cancel(&self, _run: &Run, _reason: &str) -> Result<(), EngineError> {
        Err(EngineError::Cannot("cannot cancel".into()))
    }

    /// Ends a run at once. Of a run that has ended nothing is asked.
    async fn terminate(&self, _run: &Run, _reason: &str) -> Result<(), EngineError> {
        Err(EngineError::Cannot("cannot terminate".into()))
    }

    /// Sends a signal. `id`: repeats are known by it, where the engine can; empty = every one is new.
    async fn signal(
        &self,
        _run: &Run,
        _name: &str,
        _payload: &Payload,
        _id: &str,
    ) -> Result<(), EngineError> {
        Err(EngineError::Cannot("takes no signals".into()))
    }

    /// Asks a run something.
    async fn query(&self, _run: &Run, _name: &str, _arguments: &Payload) -> Result<Payload, EngineError> {
        Err(EngineError::Cannot("answers no queries".into()))
    }
}

/// Engines by the names that definitions use.
#[derive(Clone, Default)]
pub struct Providers(BTreeMap<String, Arc<dyn Engine>>);

impl Providers {
    /// Registers an engine; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, engine: Arc<dyn Engine>) -> Self {
        self.0.insert(name.into(), engine);
        self
    }

    /// Registers all of `more`.
    #[must_use]
    pub fn and(mut self, more: &Self) -> Self {
        self.0.extend(more.0.iter().map(|(name, engine)| (name.clone(), engine.clone())));
        self
    }

    /// The engine of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Engine>> {
        self.0.get(name)
    }

    /// Every engine, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Engine>)> {
        self.0.iter().map(|(name, engine)| (name.as_str(), engine))
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
