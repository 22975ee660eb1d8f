//! Which hooks answer to an occasion.

use std::{collections::HashMap, sync::Arc};

use base::Tenant;
use expr::Scope;

use crate::{Hook, Occasion, Trigger};

/// All hooks that are enabled, ready to be asked. Built when hooks change, read without a lock.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    by_tenant: HashMap<Tenant, HashMap<Trigger, Vec<Arc<Hook>>>>,
}

/// The hooks that answer to an occasion.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// In the order in which they run.
    pub run: Vec<Arc<Hook>>,
    /// Their condition cannot be evaluated: they do not run. With the reason.
    pub failed: Vec<(Arc<Hook>, String)>,
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

    /// The hooks that answer. A condition that cannot be evaluated counts as false: nothing runs because of a mistake.
    pub fn matching(&self, tenant: &Tenant, occasion: &Occasion) -> Matched {
        let mut matched = Matched::default();
        let hooks = self.by_tenant.get(tenant).and_then(|hooks| hooks.get(&occasion.trigger));
        let mut scope = None;
        for hook in hooks.into_iter().flatten() {
            // What happened before somebody asked for it is not his.
            if occasion.at < hook.created_at {
                continue;
            }
            let Some(when) = &hook.when else {
                matched.run.push(hook.clone());
                continue;
            };
            match when.eval_bool(scope.get_or_insert_with(|| scope_of(occasion))) {
                Ok(true) => matched.run.push(hook.clone()),
                Ok(false) => {}
                Err(why) => matched.failed.push((hook.clone(), why.to_string())),
            }
        }
        matched
    }
}

/// Each member of the document is a variable.
fn scope_of(occasion: &Occasion) -> Scope {
    let mut scope = Scope::new();
    for (name, value) in occasion.document.as_object().into_iter().flatten() {
        scope.set(name.clone(), value.clone());
    }
    scope
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

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
        matcher.matching(&Tenant::default(), occasion).run.iter().map(|hook| hook.spec.name.clone()).collect()
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
        assert!(matcher.matching(&stranger, &occasion(Trigger::PostTask, 20)).run.is_empty());
        assert!(matcher.listens(&Tenant::default(), Trigger::PreTask));
        assert!(!matcher.listens(&stranger, Trigger::PreTask));
        assert!(Matcher::new([hook("disabled", 1, |s| s.enabled = false)]).is_empty());
    }

    #[test]
    fn a_condition_selects_and_a_broken_one_is_told() {
        let matcher = Matcher::new([
            hook("yes", 1, |s| s.when = "task.status == 'failed'".into()),
            hook("no", 1, |s| s.when = "task.id == 'b'".into()),
            hook("broken", 1, |s| s.when = "task.nothing.more == 1".into()),
        ]);
        let occasion = occasion(Trigger::PostTask, 20);
        assert_eq!(names(&matcher, &occasion), ["yes"]);
        let failed = matcher.matching(&Tenant::default(), &occasion).failed;
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].0.spec.name, "broken");
    }
}
