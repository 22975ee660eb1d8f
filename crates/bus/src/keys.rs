//! Names of the streams. Nothing else in the system writes a key.

use std::{fmt, sync::Arc};

/// What a stream carries: also the label of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Wake-ups for the owner of a shard.
    Commands,
    /// Lifecycle events of executions, agents, scaling, compliance.
    Events,
    /// Work for pull-mode agents.
    Tasks,
    /// Wake-ups for whoever runs the hooks of a partition.
    Hooks,
    /// User events.
    Topics,
    /// Announcements of dead letters.
    DeadLetters,
}

impl Family {
    /// Every family, in the order of the metrics.
    pub const ALL: [Self; 6] =
        [Self::Commands, Self::Events, Self::Tasks, Self::Hooks, Self::Topics, Self::DeadLetters];

    /// The name in keys and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Events => "events",
            Self::Tasks => "tasks",
            Self::Hooks => "hooks",
            Self::Topics => "topics",
            Self::DeadLetters => "dead-letters",
        }
    }
}

/// How long an entry stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Until it is acknowledged, by exactly one group. Never trimmed; a full queue holds publishers back.
    Queue,
    /// Re-readable: any number of groups; trimmed by age and by count, for its content stands in a log elsewhere.
    Log,
}

/// One stream. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    key: Arc<str>,
    family: Family,
}

impl Stream {
    /// Reads a key that [`Keys`] made.
    pub fn parse(key: &str) -> Option<Self> {
        let rest = key.split("orchestra:").last()?;
        let name = rest.split(':').next()?;
        let family = Family::ALL.into_iter().find(|f| f.name() == name)?;
        key.contains("orchestra:").then(|| Self { key: key.into(), family })
    }
    /// The key in Redis.
    pub fn key(&self) -> &str {
        &self.key
    }
    /// What it carries.
    pub fn family(&self) -> Family {
        self.family
    }
    /// How long an entry stays.
    pub fn kind(&self) -> Kind {
        match self.family {
            Family::Commands | Family::Tasks | Family::Hooks => Kind::Queue,
            Family::Events | Family::Topics | Family::DeadLetters => Kind::Log,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// Makes the keys, `orchestra:commands:{7}`. The braces are Redis' hash tag: all keys of one partition lie on one
/// node of a Redis Cluster.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys under `prefix:`, so that several installations can share one Redis; an empty prefix adds nothing.
    /// Braces in it are percent-encoded, for they would become the hash tag.
    pub fn new(prefix: &str) -> Self {
        match prefix.trim_end_matches(':') {
            "" => Self::default(),
            prefix => Self { prefix: format!("{}:", escape(prefix)) },
        }
    }

    /// Wake-ups for the owner of `shard`.
    pub fn commands(&self, shard: u32) -> Stream {
        self.stream(Family::Commands, &shard.to_string())
    }
    /// Lifecycle events of `partition`.
    pub fn events(&self, partition: u32) -> Stream {
        self.stream(Family::Events, &partition.to_string())
    }
    /// Work for the pull-mode agents of `pool`; braces and percent signs in the name are percent-encoded.
    pub fn tasks(&self, pool: &str) -> Stream {
        self.stream(Family::Tasks, &escape(pool))
    }
    /// Wake-ups for whoever runs the hooks of `partition`.
    pub fn hooks(&self, partition: u32) -> Stream {
        self.stream(Family::Hooks, &partition.to_string())
    }
    /// User events of `partition`.
    pub fn topics(&self, partition: u32) -> Stream {
        self.stream(Family::Topics, &partition.to_string())
    }
    /// Announcements of dead letters.
    pub fn dead_letters(&self) -> Stream {
        let key = format!("{}orchestra:{}", self.prefix, Family::DeadLetters.name());
        Stream { key: key.into(), family: Family::DeadLetters }
    }

    fn stream(&self, family: Family, tag: &str) -> Stream {
        let key = format!("{}orchestra:{}:{{{tag}}}", self.prefix, family.name());
        Stream { key: key.into(), family }
    }
}

/// Braces would end the hash tag early, an empty tag would not be one.
fn escape(name: &str) -> String {
    match name {
        "" => "%".into(),
        _ => name.replace('%', "%25").replace('{', "%7B").replace('}', "%7D"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_its_stream() {
        let keys = Keys::new("test");
        for stream in [keys.commands(7), keys.tasks("gpu:a"), keys.hooks(3), keys.dead_letters()] {
            assert_eq!(Stream::parse(stream.key()), Some(stream));
        }
        assert_eq!(Stream::parse("orchestra:else:{1}"), None);
        assert_eq!(Stream::parse("events"), None);
    }

    #[test]
    fn keys_of_a_partition_share_a_hash_tag() {
        let keys = Keys::new("");
        assert_eq!(keys.commands(7).key(), "orchestra:commands:{7}");
        assert_eq!(keys.events(7).key(), "orchestra:events:{7}");
        assert_eq!(keys.topics(7).key(), "orchestra:topics:{7}");
        assert_eq!(keys.tasks("gpu").key(), "orchestra:tasks:{gpu}");
        assert_eq!(keys.dead_letters().key(), "orchestra:dead-letters");
    }

    #[test]
    fn a_prefix_keeps_installations_apart() {
        assert_eq!(Keys::new("acme").events(1).key(), "acme:orchestra:events:{1}");
        assert_eq!(Keys::new("acme:").events(1).key(), "acme:orchestra:events:{1}");
        assert_eq!(Keys::new("{a}").events(1).key(), "%7Ba%7D:orchestra:events:{1}");
    }

    #[test]
    fn pool_names_cannot_forge_a_tag_or_meet() {
        let keys = Keys::default();
        assert_eq!(keys.tasks("a}b").key(), "orchestra:tasks:{a%7Db}");
        assert_ne!(keys.tasks("a%7Db"), keys.tasks("a}b"));
        assert_ne!(keys.tasks(""), keys.tasks("%"));
    }

    #[test]
    fn queues_are_those_with_one_group() {
        let keys = Keys::default();
        for (stream, kind) in [
            (keys.commands(0), Kind::Queue),
            (keys.tasks("p"), Kind::Queue),
            (keys.hooks(0), Kind::Queue),
            (keys.events(0), Kind::Log),
            (keys.topics(0), Kind::Log),
            (keys.dead_letters(), Kind::Log),
        ] {
            assert_eq!(stream.kind(), kind, "{stream}");
        }
    }
}
