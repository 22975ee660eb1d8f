//! What bounds the cache, and the rules for what callers may write into it.

use std::time::Duration;

use api::Fault;
use base::{ErrorCode, Payload};
use regex::Regex;

/// Longest name of a namespace, in bytes.
pub(super) const NAMESPACE_BYTES_MAX: usize = 128;
/// Longest key, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 512;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// Largest compiled pattern, in bytes.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// Which entry goes when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The one that was not used for the longest time.
    #[default]
    Lru,
    /// The one that is used least often (W-TinyLFU: recent use counts more than old).
    Lfu,
    /// The one that has been there for the longest time.
    Fifo,
}

impl Strategy {
    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Fifo => "fifo",
        }
    }
}

/// Bounds of the cache. Every one is a setting.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Which entry goes when there is no room.
    pub strategy: Strategy,
    /// How long an entry is believed that sets no time of its own; `None` = until there is no room.
    pub ttl: Option<Duration>,
    /// Bytes in all: keys, namespaces, values and [`ENTRY_OVERHEAD`] for each entry.
    pub size_bytes_max: usize,
    /// Largest value.
    pub entry_bytes_max: usize,
    /// Namespaces with entries, over all tenants.
    pub namespaces_max: usize,
    /// Every call of a pure capability is remembered, not only those of tasks that say so.
    pub all_pure: bool,
}

/// What an entry counts beside its texts: its places in the index and in the eviction lists.
pub const ENTRY_OVERHEAD: usize = 256;

impl Default for CacheOptions {
    /// LRU, 5 minutes, 100 MiB, values up to 1 MiB, 1,000 namespaces, only where a task says so.
    fn default() -> Self {
        Self {
            strategy: Strategy::Lru,
            ttl: Some(Duration::from_secs(300)),
            size_bytes_max: 100 << 20,
            entry_bytes_max: 1 << 20,
            namespaces_max: 1000,
            all_pure: false,
        }
    }
}

impl CacheOptions {
    /// Refuses a name or a value that cannot be kept.
    pub(super) fn check_value(&self, value: &Payload) -> Result<(), Fault> {
        if value.len() > self.entry_bytes_max {
            let text = format!(
                "the value has {} bytes, the limit is {} (cache.entry_max)",
                value.len(),
                self.entry_bytes_max
            );
            return Err(Fault::new(ErrorCode::PayloadTooLarge, text).field("value"));
        }
        Ok(())
    }
}

/// Refuses a namespace or a key that is empty, too long or holds control characters.
pub(super) fn check_name(field: &str, text: &str, bytes_max: usize) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::bad(field, "must not be empty"));
    }
    if text.len() > bytes_max {
        return Err(Fault::bad(field, format!("has {} bytes, the limit is {bytes_max}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::bad(field, "must not hold control characters"));
    }
    Ok(())
}

/// Compiles a pattern for keys. Matching takes time that is linear in the key, whatever the pattern.
pub(super) fn pattern(text: &str) -> Result<Regex, Fault> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(Fault::bad(
            "pattern",
            format!("has {} bytes, the limit is {PATTERN_BYTES_MAX}", text.len()),
        ));
    }
    regex::RegexBuilder::new(text).size_limit(PATTERN_SIZE_MAX).build().map_err(|e| {
        Fault::bad("pattern", format!("is no regular expression: {}", last_line(&e.to_string())))
    })
}

/// The library shows the place over several lines; its last one says what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_that_cannot_be_used_are_refused_with_their_field() {
        for (field, text) in [("namespace", ""), ("key", "a\nb"), ("key", &"x".repeat(600))] {
            let fault = check_name(field, text, KEY_BYTES_MAX).unwrap_err();
            assert_eq!((fault.code, fault.field.as_str()), (ErrorCode::InvalidArgument, field), "{text:?}");
        }
        check_name("key", "user:123 ü", KEY_BYTES_MAX).unwrap();
        for text in ["(", "a{1000}{1000}{1000}", &"x".repeat(2000)] {
            let fault = pattern(text).unwrap_err();
            assert_eq!(fault.field, "pattern", "{fault}");
        }
        assert!(pattern("^user:").unwrap().is_match("user:1"));
    }
}
