//! The hooks: changes are checked and stored, and every replica knows them as a local snapshot.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use api::Fault;
use arc_swap::ArcSwap;
use base::{CallContext, Clock, ErrorCode, Finding, Severity, Timestamp};
use hooks::{Hook, HookSpec, Invalid, Matcher, OnFailure, Rules, Trigger};
use store::{
    StoreError,
    hooks::{HookError, HookFilter, HookRow, HookStore, RunFilter, RunRow},
};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

use crate::engine::away;

/// A change of a hook, as callers ask for it.
#[derive(Clone, Debug)]
pub struct HookChange {
    /// What it is to be.
    pub spec: HookSpec,
    /// The revision that it must have; `None` = any.
    pub expected: Option<u64>,
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Of this hook, by id or name; empty = all. A hook that is gone is found by its id.
    pub hook: String,
    /// The other filters; tenant and hook are set here.
    pub filter: RunFilter,
    /// Start and id of the last one seen.
    pub before: Option<(Timestamp, Uuid)>,
    /// Rows wanted.
    pub limit: u32,
}

/// The hooks.
pub struct Book {
    store: HookStore,
    clock: Arc<dyn Clock>,
    rules: Rules,
    hooks_max: u64,
    matcher: ArcSwap<Matcher>,
    /// Whether there is any enabled hook: read on the path of every commit and call.
    active: AtomicBool,
    /// Revision of the snapshot.
    known: Mutex<Option<u64>>,
    pub(crate) changed: Notify,
}

impl Book {
    pub(crate) fn new(store: HookStore, clock: Arc<dyn Clock>, rules: Rules, hooks_max: u64) -> Self {
        Self {
            store,
            clock,
            rules,
            hooks_max,
            matcher: ArcSwap::default(),
            active: AtomicBool::new(false),
            known: Mutex::new(None),
            changed: Notify::new(),
        }
    }

    /// Whether any hook of any tenant is enabled.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// The enabled hooks as this replica knows them.
    pub fn matcher(&self) -> Arc<Matcher> {
        self.matcher.load_full()
    }

    /// What the installation allows, asked again before each run.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Reads the hooks when they changed.
    ///
    /// # Errors
    /// The store is away.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        let revision = self.store.hooks_revision().await?;
        if *known == Some(revision) {
            return Ok(());
        }
        let rows = self.store.enabled_hooks().await?;
        let hooks = rows.into_iter().filter_map(|row| {
            let (id, name) = (row.hook_id, row.name.clone());
            let hook = hook_of(row);
            if let Err(error) = &hook {
                tracing::error!(hook = %id, %name, %error, "a hook cannot be read by this build and does not run");
            }
            hook.ok()
        });
        let matcher = Matcher::new(hooks);
        let active = !matcher.is_empty();
        self.matcher.store(Arc::new(matcher));
        self.active.store(active, Ordering::Release);
        *known = Some(revision);
        drop(known);
        self.changed.notify_one();
        Ok(())
    }

    /// Stores a new hook.
    ///
    /// # Errors
    /// A field that is wrong, a name that is taken, too many hooks, the store.
    pub async fn create(
        &self,
        context: &CallContext,
        id: Option<Uuid>,
        spec: HookSpec,
    ) -> Result<HookRow, Fault> {
        spec.check(&self.rules).map_err(|wrong| refused(&wrong))?;
        let now = self.clock.now();
        let mut row = row_of(context, id.unwrap_or_else(Uuid::now_v7), spec, now);
        match self.store.put_hook(&row, self.hooks_max).await {
            Ok(()) => {}
            // A repeat with the caller's own id differs in its time only.
            Err(HookError::Changed(revision)) => {
                let found = self.find(context, &row.hook_id.to_string()).await?;
                (row.created_at, row.updated_at, row.revision) =
                    (found.created_at, found.updated_at, found.revision);
                if found != row {
                    return Err(fault(HookError::Changed(revision), &row.name));
                }
            }
            Err(error) => return Err(fault(error, &row.name)),
        }
        self.refresh().await.map_err(away)?;
        Ok(row)
    }

    /// Replaces a hook.
    ///
    /// # Errors
    /// As [`Book::create`]; not there; changed meanwhile.
    pub async fn update(
        &self,
        context: &CallContext,
        key: &str,
        change: HookChange,
    ) -> Result<HookRow, Fault> {
        change.spec.check(&self.rules).map_err(|wrong| refused(&wrong))?;
        let found = self.find(context, key).await?;
        let row = row_of(context, found.hook_id, change.spec, self.clock.now());
        let stored = self.store.replace_hook(&row, change.expected).await.map_err(|e| fault(e, &row.name))?;
        self.refresh().await.map_err(away)?;
        Ok(stored)
    }

    /// Deletes a hook.
    ///
    /// # Errors
    /// Not there; changed meanwhile; the store.
    pub async fn delete(&self, context: &CallContext, key: &str, expected: Option<u64>) -> Result<(), Fault> {
        let found = self.find(context, key).await?;
        let deleted = self.store.delete_hook(&context.tenant, found.hook_id, expected).await;
        deleted.map_err(|e| fault(e, key))?;
        self.refresh().await.map_err(away)
    }

    /// One hook, by id or name.
    ///
    /// # Errors
    /// Not there; the store.
    pub async fn find(&self, context: &CallContext, key: &str) -> Result<HookRow, Fault> {
        let found = self.store.get_hook(&context.tenant, key).await.map_err(away)?;
        found.ok_or_else(|| Fault::not_found("hook", key))
    }

    /// Hooks by name, after `after`.
    ///
    /// # Errors
    /// The store.
    pub async fn list(&self, filter: &HookFilter, after: &str, limit: u32) -> Result<Vec<HookRow>, Fault> {
        self.store.list_hooks(filter, Some(after), limit).await.map_err(away)
    }

    /// The log of runs, newest first.
    ///
    /// # Errors
    /// A hook that is not there; the store.
    pub async fn runs(&self, context: &CallContext, query: RunQuery) -> Result<Vec<RunRow>, Fault> {
        let hook = match query.hook.as_str() {
            "" => None,
            key => Some(match Uuid::try_parse(key) {
                Ok(id) => id,
                Err(_) => self.find(context, key).await?.hook_id,
            }),
        };
        let filter = RunFilter { tenant: context.tenant.clone(), hook, ..query.filter };
        self.store.list_runs(&filter, query.before, query.limit).await.map_err(away)
    }

    /// One run.
    ///
    /// # Errors
    /// Not there; the store.
    pub async fn run(&self, context: &CallContext, id: Uuid) -> Result<RunRow, Fault> {
        let found = self.store.get_run(&context.tenant, id).await.map_err(away)?;
        found.ok_or_else(|| Fault::not_found("run of a hook", id))
    }
}

/// Every wrong field, the first one named.
fn refused(wrong: &[Invalid]) -> Fault {
    let finding = |w: &Invalid| Finding::new(Severity::Error, "hook", w.field, w.rule.clone());
    let findings = wrong.iter().map(finding).collect();
    let first = wrong.first().map_or(("spec", ""), |w| (w.field, w.rule.as_str()));
    Fault::bad(first.0, first.1).findings(findings)
}

fn fault(error: HookError, name: &str) -> Fault {
    match error {
        HookError::NameTaken(_) => {
            Fault::new(ErrorCode::AlreadyExists, format!("another hook is called {name}")).field("name")
        }
        HookError::Full(most) => {
            let rule = format!("there are {most} hooks already (hooks.hooks_max); delete one first");
            Fault::new(ErrorCode::ResourceExhausted, rule)
        }
        HookError::NotFound => Fault::not_found("hook", name),
        HookError::Changed(revision) => {
            let rule = format!("the hook is at revision {revision}: read it again and repeat the change");
            Fault::new(ErrorCode::Conflict, rule).field("expected_revision")
        }
        HookError::Store(error) => away(error),
    }
}

fn row_of(context: &CallContext, hook_id: Uuid, spec: HookSpec, now: Timestamp) -> HookRow {
    HookRow {
        tenant: context.tenant.clone(),
        hook_id,
        name: spec.name,
        trigger: spec.trigger.as_str().into(),
        command: spec.command,
        args: spec.args,
        always_run: spec.always_run,
        timeout_ms: spec.timeout_ms,
        enabled: spec.enabled,
        priority: spec.priority,
        on_failure: spec.on_failure.map(|o| o.as_str().to_owned()),
        condition: spec.when,
        revision: 1,
        created_at: now,
        updated_at: now,
    }
}

/// What a row says. It was checked when it was stored.
pub(crate) fn spec_of(row: &HookRow) -> Result<HookSpec, Invalid> {
    let trigger = Trigger::parse(&row.trigger);
    let unknown = |field, text: &str| Invalid { field, rule: format!("{text:?} is unknown to this build") };
    let on_failure = match &row.on_failure {
        None => None,
        Some(text) => Some(OnFailure::parse(text).ok_or_else(|| unknown("on_failure", text))?),
    };
    Ok(HookSpec {
        name: row.name.clone(),
        trigger: trigger.ok_or_else(|| unknown("trigger", &row.trigger))?,
        command: row.command.clone(),
        args: row.args.clone(),
        always_run: row.always_run,
        timeout_ms: row.timeout_ms,
        enabled: row.enabled,
        priority: row.priority,
        on_failure,
        when: row.condition.clone(),
    })
}

fn hook_of(row: HookRow) -> Result<Arc<Hook>, Invalid> {
    let spec = spec_of(&row)?;
    Hook::restore(row.hook_id, row.tenant, spec, row.revision, row.created_at, row.updated_at)
}
