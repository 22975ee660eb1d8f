//! What can go wrong. A variant exists when a caller acts differently on it.

use std::time::Duration;

/// Messages that were not, or not surely, published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No room came up in time: slow down, or refuse the work that produces messages. The first `accepted` are in.
    #[error(
        "stream {stream} is full ({limit}) and no room came up within {waited:?}; {accepted} messages were taken"
    )]
    Full {
        /// Key of the stream.
        stream: String,
        /// The bound it is at, for people: `100000 entries`, `64 MiB`, or the server's memory.
        limit: String,
        /// How long the call waited.
        waited: Duration,
        /// How many messages, counted from the first, are in the stream.
        accepted: usize,
    },
    /// Nothing was sent. A retry does not help: send a reference instead of the content.
    #[error(
        "message {index} for stream {stream} has {bytes} bytes; at most {bytes_max} are allowed (message_bytes_max)"
    )]
    TooLarge {
        /// Key of the stream.
        stream: String,
        /// Place in the batch, from 0.
        index: usize,
        /// Its size: body, headers and position.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The backend did not answer or the connection was lost: the messages may be in. Publish them again.
    #[error("stream {stream}: {cause}")]
    Unavailable {
        /// Key of the stream.
        stream: String,
        /// What happened, for the log.
        cause: String,
    },
    /// The backend refuses us. A retry does not help.
    #[error("stream {stream}: {cause}")]
    Misconfigured {
        /// Key of the stream.
        stream: String,
        /// What is wrong and where to look.
        cause: String,
    },
}

/// A failed call to the backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Not reachable now: try again.
    #[error("event bus is not reachable: {0}")]
    Unavailable(String),
    /// It refuses us (password, access list, a key of another type, a bad URL): a retry does not help.
    #[error("event bus refuses us: {0}")]
    Misconfigured(String),
}

impl BusError {
    /// The same failure as the outcome of a publish.
    pub(crate) fn for_publish(self, stream: &str) -> PublishError {
        let stream = stream.to_owned();
        match self {
            Self::Unavailable(cause) => PublishError::Unavailable { stream, cause },
            Self::Misconfigured(cause) => PublishError::Misconfigured { stream, cause },
        }
    }
}
