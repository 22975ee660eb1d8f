//! The kinds of values a setting can have: how each is read from a file or the environment, and shown.

use std::{fmt, net::IpAddr, ops::RangeInclusive, time::Duration};

use base::time::{BareUnit, parse_duration, show_duration};
use serde_json::Value;

/// One kind of setting. A refusal is the rule in words, for example `must be a whole number`.
pub trait Leaf: Sized + Clone {
    /// The kind in words, for the reference.
    fn kind() -> String;
    /// Reads a value of a file (typed) or of the environment (always text).
    fn read(value: &Value) -> Result<Self, String>;
    /// The value as it would stand in a file.
    fn show(&self) -> Value;
}

/// A setting that has bounds.
pub(crate) fn check_range<T: Leaf + PartialOrd>(value: &T, range: &RangeInclusive<T>) -> Result<(), String> {
    if range.contains(value) {
        return Ok(());
    }
    Err(format!("must be {}", show_range(range)))
}

pub(crate) fn show_range<T: Leaf>(range: &RangeInclusive<T>) -> String {
    format!("between {} and {}", plain(&range.start().show()), plain(&range.end().show()))
}

/// A value without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unset".into(),
        other => other.to_string(),
    }
}

macro_rules! whole {
    ($($ty:ty),*) => {$(
        impl Leaf for $ty {
            fn kind() -> String { "whole number".into() }
            fn read(value: &Value) -> Result<Self, String> {
                let parsed = match value {
                    Value::Number(n) => n.as_u64().and_then(|n| Self::try_from(n).ok()),
                    Value::String(text) => text.trim().replace('_', "").parse().ok(),
                    _ => None,
                };
                parsed.ok_or_else(|| format!("must be a whole number between 0 and {}", Self::MAX))
            }
            fn show(&self) -> Value { Value::from(*self) }
        }
    )*};
}
whole!(u16, u32, u64);

impl Leaf for bool {
    fn kind() -> String {
        "true or false".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(b) => Ok(*b),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err("must be true or false".into()),
            },
            _ => Err("must be true or false".into()),
        }
    }
    fn show(&self) -> Value {
        Value::from(*self)
    }
}

impl Leaf for f64 {
    fn kind() -> String {
        "number".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        let parsed = match value {
            Value::Number(n) => n.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        parsed.filter(|n: &f64| n.is_finite()).ok_or_else(|| "must be a number".into())
    }
    fn show(&self) -> Value {
        Value::from(*self)
    }
}

impl Leaf for String {
    fn kind() -> String {
        "text".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(n) => Ok(n.to_string()),
            _ => Err("must be text".into()),
        }
    }
    fn show(&self) -> Value {
        Value::from(self.clone())
    }
}

impl Leaf for IpAddr {
    fn kind() -> String {
        "IP address".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().map(str::trim).unwrap_or_default();
        if text == "localhost" {
            return Ok(IpAddr::from([127, 0, 0, 1]));
        }
        text.parse().map_err(|_| "must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1".into())
    }
    fn show(&self) -> Value {
        Value::from(self.to_string())
    }
}

/// Durations carry their unit (`30s`): a bare number has none, and the sources count some in ms, some in s.
impl Leaf for Duration {
    fn kind() -> String {
        "duration with a unit (250ms, 30s, 5m, 24h)".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        let rule = "must be a duration with a unit, such as 250ms, 30s, 5m or 24h";
        let Value::String(text) = value else { return Err(rule.into()) };
        let text = text.trim();
        if text != "0" && text.parse::<f64>().is_ok() {
            return Err(rule.into());
        }
        parse_duration(text, BareUnit::Millis).map_err(|_| rule.into())
    }
    fn show(&self) -> Value {
        Value::from(show_duration(*self))
    }
}

/// Nothing, or a value. `""`, `none` and YAML's null mean nothing.
impl<T: Leaf> Leaf for Option<T> {
    fn kind() -> String {
        format!("{}, or unset", T::kind())
    }
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) if matches!(text.trim(), "" | "none") => Ok(None),
            other => T::read(other).map(Some),
        }
    }
    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, Leaf::show)
    }
}

/// A list; as text its items are separated by commas.
impl Leaf for Vec<String> {
    fn kind() -> String {
        "list of text (or one text with commas)".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(items) => items.iter().map(String::read).collect(),
            Value::String(text) => {
                Ok(text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect())
            }
            Value::Null => Ok(Vec::new()),
            _ => Err("must be a list of texts, or one text with commas".into()),
        }
    }
    fn show(&self) -> Value {
        Value::from(self.clone())
    }
}

/// A number of bytes: `64KiB`, `8MB` (2^20 each), or a bare number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` times 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }
    /// `n` times 1024² bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }
    /// `n` times 1024³ bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n * 1024 * 1024 * 1024)
    }
    /// As a length; `usize::MAX` when it does not fit.
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
    /// Whether it is zero.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Leaf for Bytes {
    fn kind() -> String {
        "bytes (65536, 64KB, 8MB; 1KB = 1024)".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        let rule = "must be a number of bytes, such as 65536, 64KB or 8MB";
        match value {
            Value::Number(n) => n.as_u64().map(Self).ok_or_else(|| rule.into()),
            Value::String(text) => match text.trim().parse() {
                Ok(bytes) => Ok(Self(bytes)),
                Err(_) => base::units::parse_memory(text).map(Self).map_err(|_| rule.into()),
            },
            _ => Err(rule.into()),
        }
    }
    fn show(&self) -> Value {
        Value::from(base::units::show_memory(self.0))
    }
}

/// A URL that may hold a password: masked whenever it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }
    /// The URL with its password, for the driver.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_url(&self.0))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_url(&self.0))
    }
}

impl Leaf for SecretUrl {
    fn kind() -> String {
        "URL (its password is masked when shown)".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        String::read(value).map(|text| Self(text.trim().to_owned()))
    }
    fn show(&self) -> Value {
        Value::from(self.0.clone())
    }
}

/// Replaces the password of a URL, in its authority or its query, by `****`.
/// A secret: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl Leaf for Secret {
    fn kind() -> String {
        "secret text".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        String::read(value).map(Self)
    }
    fn show(&self) -> Value {
        Value::from("****")
    }
}

pub(crate) fn mask_url(text: &str) -> String {
    let mut out = text.to_owned();
    if let Some(start) = out.find("://").map(|at| at + 3) {
        let end = out[start..].find(['/', '?', '#']).map_or(out.len(), |at| start + at);
        // The last '@' ends the credentials: a password may hold one, a host cannot. A password may also hold an
        // unescaped '/': then the '@' lies behind `end`, and everything before it is taken for credentials.
        let at = out[start..end].rfind('@').or_else(|| out[start..].rfind('@')).map(|at| start + at);
        if let Some(at) = at
            && let Some(colon) = out[start..at].find(':').map(|c| start + c)
        {
            out.replace_range(colon + 1..at, "****");
        }
    }
    for key in ["password=", "passwd=", "token=", "secret="] {
        if let Some(start) = out.to_ascii_lowercase().find(key).map(|at| at + key.len()) {
            let end = out[start..].find(['&', ' ', '#']).map_or(out.len(), |at| start + at);
            out.replace_range(start..end, "****");
        }
    }
    out
}

/// A closed set of words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The word in a file.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
        }

        impl Leaf for $name {
            fn kind() -> String { [$(concat!("`", $text, "`")),*].join(", ") }
            fn read(value: &Value) -> Result<Self, String> {
                match value.as_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
                    $(Some($text) => Ok(Self::$variant),)*
                    _ => Err(format!("must be one of {}", [$($text),*].join(", "))),
                }
            }
            fn show(&self) -> Value { Value::from(self.as_str()) }
        }
    };
}

words!(
    /// How log lines look.
    LogFormat {
        /// `json` in production, `pretty` on a terminal or in any other run mode.
        Auto = "auto",
        /// Lines for people.
        Pretty = "pretty",
        /// One JSON object a line.
        Json = "json",
    }
);

words!(
    /// How the delay grows from retry to retry.
    Backoff {
        /// The base delay each time.
        Fixed = "fixed",
        /// The base delay times the number of the retry.
        Linear = "linear",
        /// The base delay doubled with each retry, with jitter.
        Exponential = "exponential",
    }
);

words!(
    /// Which entry of the result cache goes when there is no room.
    CacheStrategy {
        /// The one that was not used for the longest time.
        Lru = "lru",
        /// The one that is used least often.
        Lfu = "lfu",
        /// The one that has been there for the longest time.
        Fifo = "fifo",
    }
);

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// In this process when its role runs here, else on this machine at its default port.
    Auto,
    /// In this process.
    Here,
    /// Elsewhere: one address for each replica, `http://host:port`.
    At(Vec<String>),
}

impl Leaf for PeerAddress {
    fn kind() -> String {
        "`auto`, `here`, or addresses `http://host:port` with commas".into()
    }
    fn read(value: &Value) -> Result<Self, String> {
        let words = Vec::<String>::read(value)?;
        match words.first().map(String::as_str) {
            Some("auto") if words.len() == 1 => return Ok(Self::Auto),
            Some("here") if words.len() == 1 => return Ok(Self::Here),
            _ => {}
        }
        let good = |a: &String| {
            a.parse::<http::Uri>()
                .is_ok_and(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some())
        };
        if words.is_empty() || !words.iter().all(good) {
            return Err("must be `auto`, `here` or addresses such as http://planner:3022".into());
        }
        Ok(Self::At(words))
    }
    fn show(&self) -> Value {
        match self {
            Self::Auto => Value::from("auto"),
            Self::Here => Value::from("here"),
            Self::At(addresses) => Value::from(addresses.join(",")),
        }
    }
}
