//! Patterns of users: registering, finding, deleting, and the view that definitions are expanded with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use base::{CallContext, Clock as _, ErrorCode, Finding, Tenant};
use language::{Pattern, Patterns, VersionRange, built_in_patterns, parse_pattern, read_pattern};
use runtime::SystemClock;
use store::planner::{DeletePatternError, PatternUse, PutPatternError, StoredPattern};

use crate::{app::App, error::PlannerError};

/// Most versions of patterns of one tenant: a definition that names a pattern sees them all.
const VERSIONS_MAX: u32 = 1000;
/// It is the name of the list in the REST API.
const TAKEN: &str = "available";

/// The patterns of one tenant as the language sees them. Remembers which ones were asked for and found.
#[derive(Debug, Default)]
pub(crate) struct Known {
    patterns: Vec<Arc<Pattern>>,
    used: Mutex<BTreeSet<PatternUse>>,
}

impl Known {
    /// What was found in it so far.
    pub(crate) fn used(self) -> Vec<PatternUse> {
        self.used.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
    }
}

impl Patterns for Known {
    fn find(&self, name: &str, range: &VersionRange) -> Option<Arc<Pattern>> {
        let named = || self.patterns.iter().filter(|pattern| pattern.name == name);
        let newest = range.newest(named().map(|pattern| pattern.version.as_str()))?;
        let found = named().find(|pattern| pattern.version == newest)?;
        let used = PatternUse { name: found.name.clone(), version: found.version.clone() };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(used);
        Some(found.clone())
    }
    fn names(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.patterns.iter().map(|pattern| &pattern.name).collect();
        names.into_iter().cloned().collect()
    }
}

/// A pattern with what its text does not say.
pub(crate) struct Shown {
    pub(crate) pattern: Arc<Pattern>,
    /// Newest first.
    pub(crate) versions: Vec<String>,
    /// Of a user; `None` = built-in.
    pub(crate) stored: Option<StoredPattern>,
    pub(crate) built_in_source: Option<&'static str>,
}

fn split(reference: &str) -> Result<(&str, Option<&str>), PlannerError> {
    let (name, version) = match reference.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (reference, None),
    };
    for (kind, text) in [("pattern", Some(name)), ("version", version)] {
        if let Some(Err(bad)) = text.map(|text| base::ids::check_key(kind, text)) {
            return Err(PlannerError::BadRequest { field: "ref", rule: bad.to_string() });
        }
    }
    Ok((name, version))
}

/// Newest first.
fn ordered(mut versions: Vec<String>) -> Vec<String> {
    let range = VersionRange::default();
    let mut sorted = Vec::with_capacity(versions.len());
    while let Some(newest) = range.newest(versions.iter().map(String::as_str)).map(str::to_owned) {
        versions.retain(|version| *version != newest);
        sorted.push(newest);
    }
    sorted
}

fn built_in(name: &str) -> Option<Shown> {
    let at = built_in_patterns().iter().position(|pattern| pattern.name == name)?;
    let pattern = built_in_patterns()[at].clone();
    Some(Shown {
        versions: vec![pattern.version.clone()],
        stored: None,
        built_in_source: language::built_in_pattern_sources().get(at).copied(),
        pattern,
    })
}

impl App {
    /// The patterns that `source` can name. A text without the word names none.
    pub(crate) async fn known(&self, tenant: &Tenant, source: &str) -> Result<Known, PlannerError> {
        if !source.contains("pattern") && !source.contains("Pattern") {
            return Ok(Known::default());
        }
        let names = self.store.list_patterns(tenant).await?;
        self.load(tenant, names).await
    }

    /// The patterns that a stored version was expanded with, and no others.
    pub(crate) async fn known_to(
        &self,
        tenant: &Tenant,
        name: &str,
        version: &str,
    ) -> Result<Known, PlannerError> {
        let uses = self.store.patterns_of(tenant, name, version).await?;
        if uses.is_empty() {
            return Ok(Known::default());
        }
        let mut names = self.store.list_patterns(tenant).await?;
        names.retain(|(pattern, _)| uses.contains(pattern));
        self.load(tenant, names).await
    }

    async fn load(&self, tenant: &Tenant, names: Vec<(PatternUse, String)>) -> Result<Known, PlannerError> {
        let mut patterns = Vec::with_capacity(names.len());
        for (named, hash) in names {
            if let Some(pattern) = self.patterns.get(&hash) {
                patterns.push(pattern);
                continue;
            }
            // Deleted since it was listed: nobody can have used it.
            let Some(stored) = self.store.get_pattern(tenant, &named.name, &named.version).await? else {
                continue;
            };
            patterns.push(self.read(&stored)?);
        }
        Ok(Known { patterns, used: Mutex::default() })
    }

    fn read(&self, stored: &StoredPattern) -> Result<Arc<Pattern>, PlannerError> {
        if let Some(pattern) = self.patterns.get(&stored.content_hash) {
            return Ok(pattern);
        }
        let Some(pattern) = read_pattern(&stored.source, &self.options.limits) else {
            tracing::error!(pattern = %stored.name, version = %stored.version, "a stored pattern cannot be read");
            return Err(PlannerError::Internal);
        };
        let pattern = Arc::new(pattern);
        self.patterns.insert(stored.content_hash.clone(), pattern.clone());
        Ok(pattern)
    }

    /// Checks and stores a version of a pattern; the same text again is the same version.
    pub(crate) async fn register_pattern(
        &self,
        tenant: &Tenant,
        source: String,
    ) -> Result<(Shown, Vec<Finding>), PlannerError> {
        let known = self.known(tenant, &source).await?;
        let limits = self.options.limits;
        let work = move || {
            let outcome = parse_pattern(&source, &limits, Some(&known));
            (outcome, known.used(), source)
        };
        let (outcome, uses, source) = tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "a pattern could not be read");
            PlannerError::Internal
        })?;
        let Some(pattern) = outcome.pattern else {
            let code = ErrorCode::InvalidDefinition;
            return Err(PlannerError::Rejected { code, findings: outcome.findings });
        };
        let bad = |rule: String| PlannerError::BadRequest { field: "source", rule };
        if pattern.name == TAKEN || built_in(&pattern.name).is_some() {
            return Err(bad(format!("{:?} is taken: choose another name for the pattern", pattern.name)));
        }
        let new = StoredPattern {
            tenant: tenant.clone(),
            name: pattern.name.clone(),
            version: pattern.version.clone(),
            content_hash: blake3::hash(source.as_bytes()).to_hex().to_string(),
            source,
            created_at: SystemClock.now(),
        };
        self.store.put_pattern(&new, &uses, VERSIONS_MAX).await.map_err(|error| match error {
            PutPatternError::Conflict { .. } => {
                PlannerError::Exists { name: new.name.clone(), version: new.version.clone() }
            }
            PutPatternError::Gone(what) => bad(format!("the pattern {what} was deleted meanwhile")),
            PutPatternError::Full(most) => PlannerError::Full { most },
            PutPatternError::Store(error) => PlannerError::Store(error),
        })?;
        let shown = self.pattern(tenant, &format!("{}@{}", new.name, new.version)).await?;
        Ok((shown, outcome.findings))
    }

    /// `name` or `name@version`.
    pub(crate) async fn pattern(&self, tenant: &Tenant, reference: &str) -> Result<Shown, PlannerError> {
        let (name, version) = split(reference)?;
        let missing = || PlannerError::NoPattern(reference.to_owned());
        if let Some(found) = built_in(name) {
            let fits = version.is_none_or(|version| version == found.pattern.version);
            return fits.then_some(found).ok_or_else(missing);
        }
        let names = self.store.list_patterns(tenant).await?;
        let versions = names.into_iter().filter(|(p, _)| p.name == name).map(|(p, _)| p.version).collect();
        let versions = ordered(versions);
        let wanted = version.or(versions.first().map(String::as_str)).ok_or_else(missing)?;
        let stored = self.store.get_pattern(tenant, name, wanted).await?.ok_or_else(missing)?;
        let pattern = self.read(&stored)?;
        Ok(Shown { pattern, versions, stored: Some(stored), built_in_source: None })
    }

    /// Built-in ones first, then those of the tenant by name, each in its newest version.
    pub(crate) async fn all_patterns(&self, tenant: &Tenant) -> Result<Vec<Shown>, PlannerError> {
        let mut all: Vec<Shown> =
            built_in_patterns().iter().filter_map(|pattern| built_in(&pattern.name)).collect();
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (pattern, _) in self.store.list_patterns(tenant).await? {
            names.entry(pattern.name).or_default().push(pattern.version);
        }
        for (name, versions) in names {
            let versions = ordered(versions);
            let Some(newest) = versions.first() else { continue };
            let Some(stored) = self.store.get_pattern(tenant, &name, newest).await? else { continue };
            all.push(Shown {
                pattern: self.read(&stored)?,
                versions,
                stored: Some(stored),
                built_in_source: None,
            });
        }
        Ok(all)
    }

    /// Deletes a version, or all of a name; says how many went.
    pub(crate) async fn delete_pattern(
        &self,
        context: &CallContext,
        reference: &str,
    ) -> Result<u64, PlannerError> {
        let (name, version) = split(reference)?;
        if built_in(name).is_some() {
            return Err(PlannerError::BuiltIn(name.to_owned()));
        }
        match self.store.delete_pattern(&context.tenant, name, version).await {
            Ok(0) => Err(PlannerError::NoPattern(reference.to_owned())),
            Ok(deleted) => Ok(deleted),
            Err(DeletePatternError::Used { by }) => {
                Err(PlannerError::PatternUsed { pattern: reference.to_owned(), by })
            }
            Err(DeletePatternError::Store(error)) => Err(PlannerError::Store(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_in_the_range_is_found_and_remembered() {
        let read = |version: &str| {
            let text = format!("pattern: p\nversion: \"{version}\"\nbody: {{tasks: [{{id: a}}]}}");
            Arc::new(read_pattern(&text, &language::Limits::default()).unwrap())
        };
        let known =
            Known { patterns: vec![read("1.9.0"), read("1.10.0"), read("2.0.0")], used: Mutex::default() };
        assert_eq!(known.names(), ["p"]);
        let range = VersionRange::parse("^1").unwrap();
        assert_eq!(known.find("p", &range).unwrap().version, "1.10.0");
        assert!(known.find("q", &range).is_none());
        assert_eq!(known.used(), [PatternUse { name: "p".into(), version: "1.10.0".into() }]);
        assert_eq!(
            ordered(["1.9.0", "2.0.0", "1.10.0"].map(String::from).to_vec()),
            ["2.0.0", "1.10.0", "1.9.0"]
        );
    }

    #[test]
    fn a_reference_is_a_name_or_a_name_with_a_version() {
        assert_eq!(split("a").unwrap(), ("a", None));
        assert_eq!(split("a@1").unwrap(), ("a", Some("1")));
        assert!(split("a b").is_err() && split("a@").is_err() && split("").is_err());
    }
}
