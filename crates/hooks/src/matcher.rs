//! Which hooks answer to an occasion.

use std::{collections::HashMap, sync::Arc};

use base::Tenant;
use uuid::Uuid;

use crate::{Hook, Occasion, Trigger};

/// All hooks that are enabled, ready to be asked. Built when hooks change, read without a lock.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    by_tenant: HashMap<Tenant, HashMap<Trigger, Vec<Arc<Hook>>>>,
}

impl Matcher {
    /// Sorts the enabled ones by priority (lower first), then by creation, then by id.
    pub fn new(hooks: impl IntoIterator<Item = Arc<Hook>>) -> Self {
        let mut by_tenant: HashMap<Tenant, HashMap<Trigger, Vec<Arc<Hook>>>> = HashMap::new();
        for hook in hooks.into_iter().filter(|hook| hook.spec.enabled) {
            let tenant = by_tenant.entry(hook.tenant.clone()).or_default();
            tenant.entry(hook.spec.trigger).or_default().push(hook);
        }
        for hooks in by_tenant.values_mut().flat_map(HashMap::values_mut) {
            hooks.sort_by_key(|hook| (hook.spec.priority, hook.created_at, hook.id));
        }
        Self { by_tenant }
    }

    /// Whether there is nothing to ask for, for any tenant.
    pub fn is_empty(&self) -> bool {
        self.by_tenant.is_empty()
    }

    /// Whether `tenant` has a hook for `trigger`, whatever its condition says.
    pub fn listens(&self, tenant: &Tenant, trigger: Trigger) -> bool {
        self.by_tenant.get(tenant).is_some_and(|hooks| hooks.contains_key(&trigger))
    }

    /// The enabled hook called `id`.
    pub fn hook(&self, tenant: &Tenant, id: Uuid) -> Option<&Arc<Hook>> {
        let mut hooks = self.by_tenant.get(tenant)?.values().flatten();
        hooks.find(|hook| hook.id == id)
    }

    /// The hooks that answer, in the order in which they run. A condition that cannot be evaluated counts as false,
    /// except before a call: there the hook is among them, and fails when it is its turn, so that a check is not passed
    /// by a mistake in its condition.
    pub fn matching(&self, tenant: &Tenant, occasion: &Occasion) -> Vec<Arc<Hook>> {
        let hooks = self.by_tenant.get(tenant).and_then(|hooks| hooks.get(&occasion.trigger));
        let answers = |hook: &&Arc<Hook>| {
            // What happened before somebody asked for it is not theirs.
            occasion.at >= hook.created_at
                && hook.applies(&occasion.document).unwrap_or_else(|_| occasion.trigger.is_gate())
        };
        hooks.into_iter().flatten().filter(answers).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{HookSpec, Subject};

    fn hook(name: &str, priority: i32, edit: impl FnOnce(&mut HookSpec)) -> Arc<Hook> {
        let mut spec = HookSpec::new(name, Trigger::PostTask, "/bin/cat");
        spec.priority = priority;
        edit(&mut spec);
        let at = Timestamp::from_micros(10);
        Hook::restore(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()), Tenant::default(), spec, 1, at, at)
            .unwrap()
    }

    fn occasion(trigger: Trigger, at: i64) -> Occasion {
        Occasion {
            trigger,
            subject: Subject::default(),
            at: Timestamp::from_micros(at),
            document: json!({"task": {"id": "a", "status": "failed"}}),
        }
    }

    fn names(matcher: &Matcher, occasion: &Occasion) -> Vec<String> {
        matcher.matching(&Tenant::default(), occasion).iter().map(|hook| hook.spec.name.clone()).collect()
    }

    #[test]
    fn lower_priorities_run_first() {
        let hooks = [hook("late", 200, |_| {}), hook("first", -5, |_| {}), hook("usual", 100, |_| {})];
        assert_eq!(names(&Matcher::new(hooks), &occasion(Trigger::PostTask, 20)), ["first", "usual", "late"]);
    }

    #[test]
    fn only_hooks_of_the_trigger_of_the_tenant_that_are_enabled_and_old_enough_answer() {
        let hooks = [
            hook("right", 1, |_| {}),
            hook("other trigger", 1, |s| s.trigger = Trigger::PreTask),
            hook("disabled", 1, |s| s.enabled = false),
        ];
        let matcher = Matcher::new(hooks);
        assert_eq!(names(&matcher, &occasion(Trigger::PostTask, 20)), ["right"]);
        assert_eq!(names(&matcher, &occasion(Trigger::PostTask, 9)), [""; 0], "it happened before the hook");
        let stranger = Tenant::new("acme").unwrap();
        assert!(matcher.matching(&stranger, &occasion(Trigger::PostTask, 20)).is_empty());
        assert!(matcher.listens(&Tenant::default(), Trigger::PreTask));
        assert!(!matcher.listens(&stranger, Trigger::PreTask));
        assert!(Matcher::new([hook("disabled", 1, |s| s.enabled = false)]).is_empty());
    }

    #[test]
    fn a_condition_selects_and_a_broken_one_holds_back_a_call_only() {
        let hooks = |trigger: Trigger| {
            let of = |name: &str, when: &str| {
                let when = when.to_owned();
                hook(name, 1, |s| (s.trigger, s.when) = (trigger, when))
            };
            Matcher::new([
                of("a", "task.status == 'failed'"),
                of("b", "task.id == 'b'"),
                of("c", "task.nothing.more == 1"),
            ])
        };
        for (trigger, want) in [(Trigger::PostTask, &["a"][..]), (Trigger::PreTask, &["a", "c"])] {
            let mut found = names(&hooks(trigger), &occasion(trigger, 20));
            found.sort();
            assert_eq!(found, want, "{trigger:?}");
        }
        let matcher = hooks(Trigger::PreTask);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"c");
        let broken = matcher.hook(&Tenant::default(), id).unwrap();
        assert!(broken.applies(&json!({})).unwrap_err().contains("condition"));
    }
}
