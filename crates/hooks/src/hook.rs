//! A hook, and the rules that it is checked by before it is stored.

use std::{collections::BTreeSet, sync::Arc};

use base::{Tenant, Timestamp};
use expr::{Expr, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Action, Builtin, Trigger};

/// `timeout_ms` of a hook that sets none.
pub const TIMEOUT_DEFAULT_MS: u32 = 30_000;
/// `priority` of a hook that sets none.
const PRIORITY_DEFAULT: i32 = 100;
const NAME_CHARS_MAX: usize = 255;
const COMMAND_BYTES_MAX: usize = 4096;
const ARGS_MAX: usize = 64;
const ARG_BYTES_MAX: usize = 4096;
const WHEN_BYTES_MAX: usize = 4096;

/// What a failure of the hook means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is critical: the task is not called, or the execution is cancelled.
    Abort,
    /// It is noted, and everything goes on.
    Warn,
}

impl OnFailure {
    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Warn => "warn",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Abort, Self::Warn].into_iter().find(|o| o.as_str() == text)
    }
    /// What holds for a hook that does not say: a gate aborts, anything else warns.
    pub const fn default_of(trigger: Trigger) -> Self {
        if trigger.is_gate() { Self::Abort } else { Self::Warn }
    }
}

/// What a user says about a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSpec {
    /// For people; unique within the tenant. 1 to 255 characters.
    pub name: String,
    /// When it runs.
    pub trigger: Trigger,
    /// What it does: an executable's absolute path, a URL, `agent:CAPABILITY` or `builtin:NAME`.
    pub command: String,
    /// Arguments of a command or a built-in function. At most 64 of 4 KiB.
    pub args: Vec<String>,
    /// Runs even when an earlier hook of the same occasion failed critically.
    pub always_run: bool,
    /// Longest run, milliseconds, at least 1.
    pub timeout_ms: u32,
    /// Whether it runs at all.
    pub enabled: bool,
    /// Lower numbers run first.
    pub priority: i32,
    /// What its failure means; `None` = abort before a call, warn otherwise.
    pub on_failure: Option<OnFailure>,
    /// A CEL condition over the document that the hook is given; empty = always.
    pub when: String,
}

impl HookSpec {
    /// A hook with every default.
    pub fn new(name: impl Into<String>, trigger: Trigger, command: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            trigger,
            command: command.into(),
            args: Vec::new(),
            always_run: false,
            timeout_ms: TIMEOUT_DEFAULT_MS,
            enabled: true,
            priority: PRIORITY_DEFAULT,
            on_failure: None,
            when: String::new(),
        }
    }

    /// Checks it against the rules of the installation.
    ///
    /// # Errors
    /// Every field that is wrong, with the rule and the remedy.
    pub fn check(&self, rules: &Rules) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        let mut need = |ok: bool, field: &'static str, rule: String| {
            if !ok {
                wrong.push(Invalid { field, rule });
            }
        };
        let length = self.name.chars().count();
        let printable = !self.name.chars().any(char::is_control) && self.name.trim() == self.name;
        need(
            (1..=NAME_CHARS_MAX).contains(&length) && printable,
            "name",
            format!("must be 1 to {NAME_CHARS_MAX} characters, without line breaks and blanks around it"),
        );
        need(
            (1..=rules.timeout_max_ms).contains(&self.timeout_ms),
            "timeout_ms",
            format!("must be 1 to {} (hooks.timeout_max)", rules.timeout_max_ms),
        );
        let args_fit = self.args.len() <= ARGS_MAX
            && self.args.iter().all(|a| a.len() <= ARG_BYTES_MAX && !a.contains('\0'));
        need(args_fit, "args", format!("must be at most {ARGS_MAX} texts of {ARG_BYTES_MAX} bytes"));
        need(
            self.command.len() <= COMMAND_BYTES_MAX,
            "command",
            format!("must have at most {COMMAND_BYTES_MAX} bytes"),
        );
        if let Err(rule) = self.condition() {
            need(false, "when", rule);
        }
        match Action::parse(&self.command) {
            Err(rule) => need(false, "command", rule),
            Ok(action) => {
                if let Err(rule) = rules.allow(&action) {
                    need(false, "command", rule);
                }
                if let Err(rule) = action.check_args(&self.args) {
                    need(false, "args", rule);
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn condition(&self) -> Result<Option<Expr>, String> {
        if self.when.is_empty() {
            return Ok(None);
        }
        if self.when.len() > WHEN_BYTES_MAX {
            return Err(format!("must have at most {WHEN_BYTES_MAX} bytes"));
        }
        Expr::compile(&self.when).map(Some).map_err(|e| e.to_string())
    }
}

/// What the installation allows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Executables by absolute path.
    pub commands: BTreeSet<String>,
    /// Longest timeout, milliseconds.
    pub timeout_max_ms: u32,
    /// Whether webhooks can be signed.
    pub webhooks: bool,
    /// Whether sessions are kept.
    pub memory: bool,
}

impl Rules {
    /// Whether an action may be taken: asked when a hook is stored, and again each time before it runs.
    ///
    /// # Errors
    /// The rule that stands against it.
    pub fn allow(&self, action: &Action) -> Result<(), String> {
        match action {
            Action::Command(path) if !self.commands.contains(path) => {
                Err(format!("{path} is not an allowed executable; name it in hooks.commands"))
            }
            Action::Webhook(_) | Action::Builtin(Builtin::Notify) if !self.webhooks => {
                Err("webhooks are signed and no secret is set; set hooks.webhook_secret".into())
            }
            Action::Builtin(function) if function.needs_memory() && !self.memory => {
                Err(format!("builtin:{} needs sessions, which are turned off here", function.as_str()))
            }
            _ => Ok(()),
        }
    }
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    /// Its name.
    pub field: &'static str,
    /// The rule it breaks, and the remedy.
    pub rule: String,
}

/// A stored hook.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Names it for ever.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: Tenant,
    /// What its owner said.
    pub spec: HookSpec,
    /// What it does.
    pub action: Action,
    /// Its condition.
    pub when: Option<Expr>,
    /// Rises with every change.
    pub revision: u64,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

impl Hook {
    /// A hook as it was stored. It was checked then; what cannot be read any more is an error.
    ///
    /// # Errors
    /// Command or condition cannot be read by this build.
    pub fn restore(
        id: Uuid,
        tenant: Tenant,
        spec: HookSpec,
        revision: u64,
        created_at: Timestamp,
        updated_at: Timestamp,
    ) -> Result<Arc<Self>, Invalid> {
        let action = Action::parse(&spec.command).map_err(|rule| Invalid { field: "command", rule })?;
        let when = spec.condition().map_err(|rule| Invalid { field: "when", rule })?;
        Ok(Arc::new(Self { id, tenant, spec, action, when, revision, created_at, updated_at }))
    }

    /// Whether its condition holds for a document, whose members are the variables.
    ///
    /// # Errors
    /// The condition cannot be evaluated.
    pub fn applies(&self, document: &Value) -> Result<bool, String> {
        let Some(when) = &self.when else { return Ok(true) };
        let mut scope = Scope::new();
        for (name, value) in document.as_object().into_iter().flatten() {
            scope.set(name.clone(), value.clone());
        }
        when.eval_bool(&scope).map_err(|e| format!("its condition cannot be evaluated: {e}"))
    }

    /// What its failure means.
    pub fn on_failure(&self) -> OnFailure {
        self.spec.on_failure.unwrap_or(OnFailure::default_of(self.spec.trigger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            commands: ["/usr/bin/sort".to_owned()].into(),
            timeout_max_ms: 300_000,
            webhooks: true,
            memory: false,
        }
    }

    #[test]
    fn a_new_hook_has_the_documented_defaults() {
        let spec = HookSpec::new("n", Trigger::PostTask, "/usr/bin/sort");
        let found = (spec.args.len(), spec.always_run, spec.timeout_ms, spec.enabled, spec.priority);
        assert_eq!(found, (0, false, 30_000, true, 100));
        assert!(spec.check(&rules()).is_ok());
        assert_eq!(OnFailure::default_of(Trigger::PreEdit), OnFailure::Abort);
        assert_eq!(OnFailure::default_of(Trigger::SessionEnd), OnFailure::Warn);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let spec = |edit: fn(&mut HookSpec)| {
            let mut spec = HookSpec::new("n", Trigger::PreTask, "/usr/bin/sort");
            edit(&mut spec);
            spec
        };
        type Edit = fn(&mut HookSpec);
        let cases: [(&str, Edit); 14] = [
            ("name", |s| s.name = String::new()),
            ("name", |s| s.name = "x".repeat(256)),
            ("name", |s| s.name = "a\nb".into()),
            ("timeout_ms", |s| s.timeout_ms = 0),
            ("timeout_ms", |s| s.timeout_ms = 300_001),
            ("args", |s| s.args = vec![String::new(); 65]),
            ("args", |s| s.args = vec!["x".repeat(4097)]),
            ("args", |s| s.args = vec!["a\0b".into()]),
            ("command", |s| s.command = "/bin/sh".into()),
            ("command", |s| s.command = "sort".into()),
            ("command", |s| s.command = "builtin:session_save".into()),
            ("when", |s| s.when = "task.id ==".into()),
            ("args", |s| {
                s.command = "builtin:notify".into();
                s.args = vec!["colour=red".into()];
            }),
            ("args", |s| {
                s.command = "https://example.com/".into();
                s.args = vec!["x".into()];
            }),
        ];
        for (field, edit) in cases {
            let wrong = spec(edit).check(&rules()).unwrap_err();
            assert_eq!(wrong.iter().map(|w| w.field).collect::<Vec<_>>(), [field], "{wrong:?}");
        }
        let wrong = spec(|s| {
            s.name.clear();
            s.timeout_ms = 0;
        });
        assert_eq!(wrong.check(&rules()).unwrap_err().len(), 2);
    }

    #[test]
    fn webhooks_need_a_secret() {
        let spec = HookSpec::new("n", Trigger::Notification, "https://example.com/");
        assert!(spec.check(&rules()).is_ok());
        let wrong = spec.check(&Rules { webhooks: false, ..rules() }).unwrap_err();
        assert!(wrong[0].rule.contains("hooks.webhook_secret"), "{wrong:?}");
    }
}
