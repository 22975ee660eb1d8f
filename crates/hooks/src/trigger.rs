//! When a hook runs.

use serde::{Deserialize, Serialize};

macro_rules! triggers {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// When a hook runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Trigger { $($(#[$doc])* $name,)* }

        impl Trigger {
            /// All eleven.
            pub const ALL: [Self; 11] = [$(Self::$name,)*];
            /// The text form of definitions, tables and answers.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
        }
    };
}

triggers! {
    /// A task is ready and its call has not left.
    PreTask = "pre_task";
    /// A task completed or failed for good.
    PostTask = "post_task";
    /// As `pre_task`, for a capability tagged `search`.
    PreSearch = "pre_search";
    /// As `pre_task`, for a capability tagged `edit`.
    PreEdit = "pre_edit";
    /// As `post_task`, for a capability tagged `edit`.
    PostEdit = "post_edit";
    /// As `pre_task`, for a capability tagged `command`.
    PreCommand = "pre_command";
    /// As `post_task`, for a capability tagged `command`.
    PostCommand = "post_command";
    /// An execution began.
    SessionStart = "session_start";
    /// An execution ended.
    SessionEnd = "session_end";
    /// An execution began with what a session held, or a paused one goes on.
    SessionRestore = "session_restore";
    /// Any lifecycle event of an execution; `when` says which.
    Notification = "notification";
}

impl Trigger {
    /// Reads the text form; `pre-task` is read as `pre_task`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.replace('-', "_");
        Self::ALL.into_iter().find(|trigger| trigger.as_str() == text)
    }

    /// Whether a call waits for it.
    pub const fn is_gate(self) -> bool {
        matches!(self, Self::PreTask | Self::PreSearch | Self::PreEdit | Self::PreCommand)
    }

    /// The tag that a capability must carry for it; `None` = any capability.
    pub const fn tag(self) -> Option<&'static str> {
        match self {
            Self::PreSearch => Some("search"),
            Self::PreEdit | Self::PostEdit => Some("edit"),
            Self::PreCommand | Self::PostCommand => Some("command"),
            _ => None,
        }
    }

    /// The triggers that a call fires before it leaves, for a capability with these tags, in their order.
    pub fn before<'a>(tags: &'a [String]) -> impl Iterator<Item = Self> + use<'a> {
        Self::tagged([Self::PreTask, Self::PreSearch, Self::PreEdit, Self::PreCommand], tags)
    }

    /// The triggers that a task fires when it has ended, for a capability with these tags, in their order.
    pub fn after<'a>(tags: &'a [String]) -> impl Iterator<Item = Self> + use<'a> {
        Self::tagged([Self::PostEdit, Self::PostCommand, Self::PostTask], tags)
    }

    fn tagged<const N: usize>(all: [Self; N], tags: &[String]) -> impl Iterator<Item = Self> {
        all.into_iter().filter(|t| t.tag().is_none_or(|tag| tags.iter().any(|own| own == tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trigger_reads_back_with_either_spelling() {
        for trigger in Trigger::ALL {
            assert_eq!(Trigger::parse(trigger.as_str()), Some(trigger));
            assert_eq!(Trigger::parse(&trigger.as_str().replace('_', "-")), Some(trigger));
            assert_eq!(serde_json::to_value(trigger).unwrap(), trigger.as_str());
        }
        assert_eq!(Trigger::parse("post_search"), None);
    }

    #[test]
    fn search_edit_and_command_need_their_tag() {
        let tags = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let before = |words: &[&str]| Trigger::before(&tags(words)).collect::<Vec<_>>();
        let after = |words: &[&str]| Trigger::after(&tags(words)).collect::<Vec<_>>();
        assert_eq!(before(&[]), [Trigger::PreTask]);
        assert_eq!(before(&["search"]), [Trigger::PreTask, Trigger::PreSearch]);
        assert_eq!(before(&["command", "edit"]), [Trigger::PreTask, Trigger::PreEdit, Trigger::PreCommand]);
        assert_eq!(after(&["search"]), [Trigger::PostTask]);
        assert_eq!(after(&["edit"]), [Trigger::PostEdit, Trigger::PostTask]);
    }
}
