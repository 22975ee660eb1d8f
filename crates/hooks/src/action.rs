//! What a hook does.

use crate::builtin::Args;

/// What a hook does, read from its `command`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// An executable by its absolute path; `args` are its arguments.
    Command(String),
    /// A POST to this URL.
    Webhook(String),
    /// A call of the agent that offers this capability.
    Agent(String),
    /// A function of this build.
    Builtin(Builtin),
}

macro_rules! builtins {
    ($($(#[$doc:meta])* $name:ident = $text:literal, [$($arg:literal),*];)*) => {
        /// A function of this build.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Builtin { $($(#[$doc])* $name,)* }

        impl Builtin {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The name after `builtin:`.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            /// Names of the arguments it takes, written `name=value`.
            pub const fn args(self) -> &'static [&'static str] { match self { $(Self::$name => &[$($arg),*],)* } }
        }
    };
}

builtins! {
    /// Answers a search with what an equal search found before.
    SearchCacheLookup = "search_cache_lookup", [];
    /// Keeps what a search found.
    SearchCacheFill = "search_cache_fill", [];
    /// Checks a file, or the text in the input: size, type, UTF-8, JSON, YAML.
    FileValidation = "file_validation", ["path", "field", "max_bytes", "types", "format"];
    /// Formats a file by the formatter of its extension.
    Formatter = "formatter", ["path", "language", "field"];
    /// Checks a command against a list of allowed programs.
    SecurityCheck = "security_check", ["allow", "field"];
    /// Writes variables of the session.
    MemoryUpdate = "memory_update", ["key", "field"];
    /// Posts a short message to a webhook.
    Notify = "notify", ["url"];
    /// Chooses the agent by capability and cost.
    AssignAgent = "assign_agent", ["capability", "max_cost", "prefer"];
    /// Saves the end of the execution in the session.
    SessionSave = "session_save", ["key"];
    /// Loads the session's variables.
    SessionRestore = "session_restore", [];
}

impl Builtin {
    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|b| b.as_str() == text)
    }

    /// Whether it needs a session store.
    pub const fn needs_memory(self) -> bool {
        matches!(self, Self::MemoryUpdate | Self::SessionSave | Self::SessionRestore)
    }
}

impl Action {
    /// Reads a `command`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("builtin:") {
            return Builtin::parse(name).map(Self::Builtin).ok_or_else(|| {
                let all: Vec<&str> = Builtin::ALL.iter().map(|b| b.as_str()).collect();
                format!("no built-in function is called {name:?}; there are {}", all.join(", "))
            });
        }
        if let Some(capability) = text.strip_prefix("agent:") {
            return base::ids::check_key("capability", capability)
                .map(|()| Self::Agent(capability.into()))
                .map_err(|e| e.to_string());
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return crate::net::check_url(text).map(|()| Self::Webhook(text.into()));
        }
        if text.starts_with('/') {
            let dotted = text.split('/').any(|part| matches!(part, "." | ".."));
            return match dotted || text.ends_with('/') || text.contains('\0') {
                true => Err("must be the plain absolute path of an executable".into()),
                false => Ok(Self::Command(text.into())),
            };
        }
        Err("must be the absolute path of an executable, an http(s) URL, agent:CAPABILITY or builtin:NAME; \
             no shell reads it"
            .into())
    }

    /// `command`, `webhook`, `agent` or `builtin`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Webhook(_) => "webhook",
            Self::Agent(_) => "agent",
            Self::Builtin(_) => "builtin",
        }
    }

    /// Checks the arguments that go with it.
    pub(crate) fn check_args(&self, args: &[String]) -> Result<(), String> {
        match self {
            Self::Command(_) => Ok(()),
            Self::Webhook(_) | Self::Agent(_) if args.is_empty() => Ok(()),
            Self::Webhook(_) | Self::Agent(_) => Err("a webhook and an agent take no arguments".into()),
            Self::Builtin(function) => Args::read(*function, args).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_what_it_is() {
        for (text, want) in [
            ("/usr/bin/sort", Some(Action::Command("/usr/bin/sort".into()))),
            ("https://hooks.example.com/x", Some(Action::Webhook("https://hooks.example.com/x".into()))),
            ("agent:review", Some(Action::Agent("review".into()))),
            ("builtin:notify", Some(Action::Builtin(Builtin::Notify))),
            ("sort", None),
            ("rm -rf /", None),
            ("/usr/bin/../bin/sh", None),
            ("/usr/bin/", None),
            ("agent:", None),
            ("builtin:eval", None),
            ("file:///etc/passwd", None),
            ("http://", None),
        ] {
            assert_eq!(Action::parse(text).ok(), want, "{text}");
        }
        assert!(Action::parse("builtin:eval").unwrap_err().contains("search_cache_lookup"));
    }
}
