//! What the planner does, without transport.

use std::{sync::Arc, time::Instant};

use base::{CallContext, Clock as _, ErrorCode, Tenant, Timestamp, WorkflowId};
use language::{Analysis, Compiled, Dialect, Format, Offers, Outcome, Pattern, Patterns};
use moka::sync::Cache;
use proto::executor::v1::{ListExecutionsRequest, executor_service_client::ExecutorServiceClient};
use runtime::{PeerChannel, Settings, SystemClock};
use serde_json::Value;
use store::planner::{PatternUse, PlannerStore, PutVersionError, WorkflowFilter, WorkflowVersion};

use crate::{
    config::Options, editions::Editions, error::PlannerError, fleet::Fleet, metrics::PlannerMetrics,
    patterns::Known,
};

/// The planner's parts. Shared by all requests.
pub(crate) struct App {
    pub(crate) store: PlannerStore,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) executor: PeerChannel,
    pub(crate) metrics: PlannerMetrics,
    pub(crate) options: Options,
    /// Accepted inline definitions by the hash of their text: clients send the same one with every start.
    pub(crate) compiled: Cache<[u8; 32], Arc<Compiled>>,
    /// Patterns of users by the hash of their text.
    pub(crate) patterns: Cache<String, Arc<Pattern>>,
    pub(crate) editions: Editions,
}

/// A cache of as many entries as plans are kept.
pub(crate) fn cache<K, V>(settings: &Settings) -> Cache<K, V>
where
    K: Eq + std::hash::Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::new(u64::from(settings.planner.plan_cache_max))
}

/// A definition as it came.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// The text.
    pub(crate) source: String,
    /// `None` = found out.
    pub(crate) format: Option<Format>,
}

/// What a caller names: UUID, name or `name@version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// As it was given.
    pub(crate) text: String,
    pub(crate) workflow: WorkflowId,
    pub(crate) version: Option<String>,
}

impl Named {
    pub(crate) fn parse(tenant: &Tenant, text: &str) -> Result<Self, PlannerError> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let bad = |rule: String| PlannerError::BadRequest { field: "ref", rule };
        if let Some(version) = version {
            base::ids::check_key("version", version).map_err(|e| bad(e.to_string()))?;
        }
        let workflow = match name.parse::<WorkflowId>() {
            Ok(id) => id,
            Err(_) => {
                base::ids::check_key("workflow name", name).map_err(|e| bad(e.to_string()))?;
                WorkflowId::from_name(tenant, name)
            }
        };
        Ok(Self { text: text.to_owned(), workflow, version: version.map(str::to_owned) })
    }
}

/// Names a plan.
fn edition(version: &str, content_hash: &str, created_at: Timestamp) -> String {
    format!("{version} {content_hash} {}", created_at.micros())
}

/// The same of a version that was read.
pub(crate) fn edition_of(row: &WorkflowVersion) -> String {
    edition(&row.version, &row.content_hash, row.created_at)
}

/// A definition that was checked, and the patterns of users that it was expanded with.
pub(crate) struct Checked {
    pub(crate) outcome: Outcome,
    pub(crate) uses: Vec<PatternUse>,
}

/// A stored version and what was found in it.
pub(crate) struct Stored {
    pub(crate) version: WorkflowVersion,
    pub(crate) findings: Vec<base::Finding>,
    pub(crate) analysis: Analysis,
}

impl App {
    /// Reads and checks a definition with the patterns that there are now.
    pub(crate) async fn check(&self, tenant: &Tenant, given: &Given) -> Result<Checked, PlannerError> {
        let known = self.known(tenant, &given.source).await?;
        self.compile(tenant, given, known).await
    }

    /// Reads and checks a definition. Large ones take a while: this runs beside the runtime's threads.
    pub(crate) async fn compile(
        &self,
        tenant: &Tenant,
        given: &Given,
        known: Known,
    ) -> Result<Checked, PlannerError> {
        let view = self.fleet.of(tenant);
        let (options, given) = (self.options.clone(), given.clone());
        let started = Instant::now();
        let work = move || {
            let offers = view.as_ref().map(|view| view as &dyn Offers);
            let options = language::Options {
                format: given.format,
                limits: options.limits,
                defaults: options.defaults,
                offers,
                patterns: Some(&known as &dyn Patterns),
                providers: Some(&options.providers),
                kinds: options.kinds,
            };
            let outcome = language::compile(&given.source, &options);
            Checked { outcome, uses: known.used() }
        };
        let checked = tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "a definition could not be read");
            PlannerError::Internal
        })?;
        self.metrics.compiled(started.elapsed(), checked.outcome.compiled.is_some());
        Ok(checked)
    }

    /// Stores a definition as a version; the same content again is the same version.
    pub(crate) async fn create(&self, tenant: &Tenant, given: &Given) -> Result<Stored, PlannerError> {
        let Checked { outcome, uses } = self.check(tenant, given).await?;
        let code = outcome.error_code().unwrap_or(ErrorCode::InvalidDefinition);
        let Some(compiled) = outcome.compiled else {
            return Err(PlannerError::Rejected { code, findings: outcome.findings });
        };
        let version = self.put(tenant, given, &compiled, &uses).await?;
        let analysis = self.analyse(tenant, &compiled.plan);
        Ok(Stored { version, findings: outcome.findings, analysis })
    }

    async fn put(
        &self,
        tenant: &Tenant,
        given: &Given,
        compiled: &Compiled,
        uses: &[PatternUse],
    ) -> Result<WorkflowVersion, PlannerError> {
        let new = row(tenant, given, compiled)?;
        let _changes = self.editions.change();
        let stored = self.store.put_version(&new, uses).await.map_err(|error| match error {
            PutVersionError::Conflict { .. } => {
                PlannerError::Exists { name: new.name.clone(), version: new.version.clone() }
            }
            PutVersionError::BadTag(tag) => PlannerError::BadRequest {
                field: "source",
                rule: format!("the tag {tag:?} holds a line break"),
            },
            PutVersionError::PatternGone(what) => PlannerError::BadRequest {
                field: "source",
                rule: format!("the pattern {what} was deleted meanwhile"),
            },
            PutVersionError::Store(error) => PlannerError::Store(error),
        })?;
        if stored {
            return Ok(new);
        }
        // The version was there: its own times and text, not those of the repetition.
        let there = self.store.get_version(tenant, new.workflow_id, Some(&new.version)).await?;
        Ok(there.unwrap_or(new))
    }

    /// The plan of an inline definition, which is stored first unless that is not wanted.
    pub(crate) async fn inline(
        &self,
        tenant: &Tenant,
        given: &Given,
        store: bool,
    ) -> Result<WorkflowVersion, PlannerError> {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(given.format.map_or("", Format::as_str).as_bytes())
            .update(b"\n")
            .update(given.source.as_bytes());
        let key = *hasher.finalize().as_bytes();
        if let Some(compiled) = self.compiled.get(&key) {
            return if store {
                self.put(tenant, given, &compiled, &[]).await
            } else {
                row(tenant, given, &compiled)
            };
        }
        let Checked { outcome, uses } = self.check(tenant, given).await?;
        let code = outcome.error_code().unwrap_or(ErrorCode::InvalidDefinition);
        let Some(compiled) = outcome.compiled else {
            return Err(PlannerError::Rejected { code, findings: outcome.findings });
        };
        let compiled = Arc::new(compiled);
        // What became of a pattern of a user depends on the tenant, and on the patterns that there are.
        if uses.is_empty() {
            self.compiled.insert(key, compiled.clone());
        }
        if store { self.put(tenant, given, &compiled, &uses).await } else { row(tenant, given, &compiled) }
    }

    /// A version, or the newest.
    pub(crate) async fn get(&self, tenant: &Tenant, named: &Named) -> Result<WorkflowVersion, PlannerError> {
        let found = self.store.get_version(tenant, named.workflow, named.version.as_deref()).await?;
        found.ok_or_else(|| PlannerError::NotFound(named.text.clone()))
    }

    /// What names the plan of a version, or of the newest.
    pub(crate) async fn edition(&self, tenant: &Tenant, named: &Named) -> Result<Arc<str>, PlannerError> {
        let key = (tenant.clone(), named.workflow, named.version.clone());
        let at = self.editions.now();
        if let Some(known) = self.editions.get(&key, at) {
            return Ok(known);
        }
        let found = self.store.get_edition(tenant, named.workflow, named.version.as_deref()).await?;
        let (version, hash, created_at) = found.ok_or_else(|| PlannerError::NotFound(named.text.clone()))?;
        let edition: Arc<str> = edition(&version, &hash, created_at).into();
        self.editions.put(key, at, &edition);
        Ok(edition)
    }

    /// All versions of a workflow, newest first.
    pub(crate) async fn versions(
        &self,
        tenant: &Tenant,
        id: WorkflowId,
    ) -> Result<Vec<String>, PlannerError> {
        Ok(self.store.list_versions(tenant, id).await?)
    }

    /// A page of workflows by name, and where the next one starts.
    pub(crate) async fn list(
        &self,
        filter: &WorkflowFilter,
        after: Option<&str>,
        size: u32,
    ) -> Result<(Vec<WorkflowVersion>, Option<String>), PlannerError> {
        // One more than asked for tells whether there is a next page.
        let mut rows = self.store.list_workflows(filter, after, size.saturating_add(1)).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next = rows.last().filter(|_| more).map(|row| row.name.clone());
        Ok((rows, next))
    }

    /// Deletes a version or a whole workflow that has no active executions.
    pub(crate) async fn delete(&self, context: &CallContext, named: &Named) -> Result<u64, PlannerError> {
        let tenant = &context.tenant;
        let found = self.get(tenant, named).await?;
        let workflow = match &named.version {
            Some(version) => format!("{}@{version}", found.name),
            None => found.name.clone(),
        };
        let executions = self.active(context, &workflow).await?;
        if !executions.is_empty() {
            return Err(PlannerError::Active { workflow, executions });
        }
        let _changes = self.editions.change();
        match self.store.delete(tenant, named.workflow, named.version.as_deref()).await? {
            0 => Err(PlannerError::NotFound(named.text.clone())),
            deleted => Ok(deleted),
        }
    }

    /// Some active executions of `workflow`. Only an executor knows.
    async fn active(&self, context: &CallContext, workflow: &str) -> Result<Vec<String>, PlannerError> {
        let page = proto::common::v1::PageRequest { page_size: 10, page_token: String::new() };
        let request =
            ListExecutionsRequest { page: Some(page), workflow: workflow.to_owned(), ..Default::default() };
        let mut client = ExecutorServiceClient::new(self.executor.clone());
        match client.list_executions(runtime::call::request(context, request)).await {
            Ok(found) => Ok(found.into_inner().executions.into_iter().map(|e| e.execution_id).collect()),
            Err(status) => {
                tracing::info!(reason = %status.message(), "the executor could not be asked for active executions");
                Err(PlannerError::ExecutorAway)
            }
        }
    }

    /// What a plan will do, with the agents that could do it.
    pub(crate) fn explain(&self, tenant: &Tenant, plan: &workflow::plan::Plan) -> Value {
        let view = self.fleet.of(tenant);
        language::explain(plan, view.as_ref().map(|view| view as &dyn Offers))
    }

    fn analyse(&self, tenant: &Tenant, plan: &workflow::plan::Plan) -> Analysis {
        let view = self.fleet.of(tenant);
        let started = Instant::now();
        let analysis = language::analyse(plan, view.as_ref().map(|view| view as &dyn Offers));
        self.metrics.analysed(started.elapsed(), plan, &analysis);
        analysis
    }
}

/// The row of a new version.
fn row(tenant: &Tenant, given: &Given, compiled: &Compiled) -> Result<WorkflowVersion, PlannerError> {
    let mut plan = compiled.plan.clone();
    if matches!(compiled.definition.dialect, Dialect::Chain | Dialect::Graph) {
        // What the figures and records of its executions are counted under.
        plan.metadata.insert("dialect".into(), compiled.definition.dialect.as_str().into());
    }
    let plan = serde_json::to_string(&plan).map_err(|error| {
        tracing::error!(%error, "a plan could not be written");
        PlannerError::Internal
    })?;
    let now = SystemClock.now();
    let tags = match compiled.plan.metadata.get("tags") {
        Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    Ok(WorkflowVersion {
        workflow_id: WorkflowId::from_name(tenant, &compiled.plan.name),
        tenant: tenant.clone(),
        name: compiled.plan.name.clone(),
        version: compiled.plan.version.clone(),
        orchestration_pattern: compiled.plan.pattern.clone(),
        tags,
        tasks: u32::try_from(compiled.plan.tasks.len()).unwrap_or(u32::MAX),
        content_hash: compiled.content_hash.clone(),
        dialect: compiled.definition.dialect.as_str().into(),
        format: given.format.unwrap_or_else(|| Format::of(&given.source)).as_str().into(),
        source: given.source.clone(),
        definition: compiled.canonical.clone(),
        plan,
        created_at: now,
        updated_at: now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_named_by_uuid_name_or_version() {
        let tenant = Tenant::default();
        let id = WorkflowId::from_name(&tenant, "research");
        for (text, version) in [
            ("research".to_owned(), None),
            ("research@1.0".to_owned(), Some("1.0")),
            (id.to_string(), None),
            (format!("{id}@2"), Some("2")),
        ] {
            let named = Named::parse(&tenant, &text).unwrap();
            assert_eq!((named.workflow, named.version.as_deref()), (id, version), "{text}");
        }
        for bad in ["", "a b", "x@", "x@a b", "@1"] {
            assert!(matches!(Named::parse(&tenant, bad), Err(PlannerError::BadRequest { .. })), "{bad}");
        }
    }
}
