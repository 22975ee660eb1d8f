//! Workflows and versions.

use base::{Tenant, Timestamp, WorkflowId};
use store::{
    Database, DatabaseOptions,
    planner::{
        DeletePatternError, PatternUse, PlannerStore, PutPatternError, PutVersionError, StoredPattern,
        WorkflowFilter, WorkflowVersion,
    },
};

fn version(name: &str, version: &str, hash: &str, ms: i64) -> WorkflowVersion {
    let tenant = Tenant::default();
    WorkflowVersion {
        workflow_id: WorkflowId::from_name(&tenant, name),
        tenant,
        name: name.into(),
        version: version.into(),
        orchestration_pattern: "supervisor".into(),
        tags: vec!["red".into(), "blue green".into()],
        tasks: 3,
        content_hash: hash.into(),
        dialect: "canonical".into(),
        format: "yaml".into(),
        source: "name: x # as given\n".into(),
        definition: "{\"name\": \"x\"}".into(),
        plan: "{\"nodes\":[1]}".into(),
        created_at: Timestamp::from_millis(ms),
        updated_at: Timestamp::from_millis(ms),
    }
}

async fn open(database: Database) -> PlannerStore {
    PlannerStore::open(&database, &DatabaseOptions::default()).await.unwrap()
}

async fn a_version_never_changes(database: Database) {
    let store = open(database).await;
    let first = version("research", "1.0.0", "h1", 1);
    assert!(store.put_version(&first, &[]).await.unwrap());
    assert!(!store.put_version(&version("research", "1.0.0", "h1", 9), &[]).await.unwrap());
    let conflict = store.put_version(&version("research", "1.0.0", "h2", 9), &[]).await.unwrap_err();
    assert!(matches!(conflict, PutVersionError::Conflict { stored_hash, .. } if stored_hash == "h1"));
    let (tenant, id) = (Tenant::default(), first.workflow_id);
    assert_eq!(store.get_version(&tenant, id, None).await.unwrap(), Some(first.clone()));

    let second = version("research", "0.9.0", "h3", 5);
    assert!(store.put_version(&second, &[]).await.unwrap());
    assert!(!store.put_version(&first, &[]).await.unwrap(), "an old version again is no new one");
    assert_eq!(store.get_version(&tenant, id, None).await.unwrap(), Some(second), "the newest came last");
    assert_eq!(store.get_version(&tenant, id, Some("1.0.0")).await.unwrap(), Some(first));
    assert_eq!(store.list_versions(&tenant, id).await.unwrap(), ["0.9.0", "1.0.0"]);
    let other = Tenant::new("other").unwrap();
    assert_eq!(store.get_version(&other, id, None).await.unwrap(), None);
    assert!(store.list_versions(&other, id).await.unwrap().is_empty());
}

async fn lists_show_the_newest_version_of_what_fits(database: Database) {
    let store = open(database).await;
    for (name, number, hash) in
        [("b", "1", "x"), ("a", "1", "x"), ("a", "2", "y"), ("ab", "1", "x"), ("c", "1", "x")]
    {
        let mut new = version(name, number, hash, 1);
        if name == "c" {
            new.orchestration_pattern = "swarm".into();
            new.tags = Vec::new();
        }
        store.put_version(&new, &[]).await.unwrap();
    }
    let list = async |filter: WorkflowFilter, after, limit| {
        let rows = store.list_workflows(&filter, after, limit).await.unwrap();
        rows.into_iter().map(|row| format!("{}@{}", row.name, row.version)).collect::<Vec<_>>()
    };
    let all = WorkflowFilter::default;
    assert_eq!(list(all(), None, 10).await, ["a@2", "ab@1", "b@1", "c@1"]);
    assert_eq!(list(all(), Some("ab"), 1).await, ["b@1"]);
    assert_eq!(
        list(WorkflowFilter { name_prefix: Some("a".into()), ..all() }, None, 10).await,
        ["a@2", "ab@1"]
    );
    let swarm = WorkflowFilter { orchestration_pattern: Some("swarm".into()), ..all() };
    assert_eq!(list(swarm, None, 10).await, ["c@1"]);
    let tagged = |tag: &str| WorkflowFilter { tag: Some(tag.into()), ..all() };
    assert_eq!(list(tagged("blue green"), None, 10).await, ["a@2", "ab@1", "b@1"]);
    assert!(list(tagged("green"), None, 10).await.is_empty(), "a part of a tag is no tag");
    let other = WorkflowFilter { tenant: Tenant::new("other").unwrap(), ..all() };
    assert!(list(other, None, 10).await.is_empty());
}

async fn deleting_the_newest_brings_back_the_one_before(database: Database) {
    let store = open(database).await;
    for (number, hash) in [("1", "x"), ("2", "y"), ("3", "z")] {
        store.put_version(&version("a", number, hash, 1), &[]).await.unwrap();
    }
    let (tenant, id) = (Tenant::default(), version("a", "1", "x", 1).workflow_id);
    assert_eq!(store.delete(&Tenant::new("other").unwrap(), id, None).await.unwrap(), 0);
    assert_eq!(store.delete(&tenant, id, Some("3")).await.unwrap(), 1);
    assert_eq!(store.delete(&tenant, id, Some("3")).await.unwrap(), 0);
    let newest = store.get_version(&tenant, id, None).await.unwrap().map(|v| v.version);
    assert_eq!(newest.as_deref(), Some("2"));
    assert_eq!(store.delete(&tenant, id, None).await.unwrap(), 2);
    assert!(store.get_version(&tenant, id, None).await.unwrap().is_none());
    assert!(store.list_workflows(&WorkflowFilter::default(), None, 10).await.unwrap().is_empty());
    assert!(store.put_version(&version("a", "1", "other", 1), &[]).await.unwrap(), "the name is free again");
}

async fn concurrent_writers_of_one_version_agree(database: Database) {
    let store = open(database).await;
    let writes = (0..8).map(|n| {
        let (store, new) = (store.clone(), version("a", "1", if n % 2 == 0 { "x" } else { "y" }, 1));
        tokio::spawn(async move { store.put_version(&new, &[]).await })
    });
    let (mut stored, mut conflicts) = (0, 0);
    for write in futures::future::join_all(writes).await {
        match write.unwrap() {
            Ok(true) => stored += 1,
            Ok(false) => {}
            Err(PutVersionError::Conflict { .. }) => conflicts += 1,
            Err(err) => panic!("{err}"),
        }
    }
    assert_eq!((stored, conflicts), (1, 4));
}

async fn a_tag_with_a_line_break_is_refused(database: Database) {
    let store = open(database).await;
    let mut new = version("a", "1", "x", 1);
    new.tags.push("a\nb".into());
    assert!(matches!(store.put_version(&new, &[]).await, Err(PutVersionError::BadTag(_))));
}

fn pattern(name: &str, version: &str, hash: &str) -> StoredPattern {
    StoredPattern {
        tenant: Tenant::default(),
        name: name.into(),
        version: version.into(),
        content_hash: hash.into(),
        source: "pattern: x # as given\n".into(),
        created_at: Timestamp::from_millis(1),
    }
}

fn using(name: &str, version: &str) -> PatternUse {
    PatternUse { name: name.into(), version: version.into() }
}

async fn a_version_of_a_pattern_never_changes(database: Database) {
    let store = open(database).await;
    let tenant = Tenant::default();
    assert!(store.put_pattern(&pattern("p", "1", "h"), &[], 3).await.unwrap());
    assert!(!store.put_pattern(&pattern("p", "1", "h"), &[], 3).await.unwrap());
    let other = store.put_pattern(&pattern("p", "1", "other"), &[], 3).await;
    assert!(matches!(other, Err(PutPatternError::Conflict { version }) if version == "1"));
    assert!(store.put_pattern(&pattern("p", "2", "i"), &[], 3).await.unwrap());
    let gone = store.put_pattern(&pattern("q", "1", "j"), &[using("p", "3")], 3).await;
    assert!(matches!(gone, Err(PutPatternError::Gone(what)) if what == "p@3"));
    assert!(store.get_pattern(&tenant, "q", "1").await.unwrap().is_none(), "nothing is half stored");
    assert!(store.put_pattern(&pattern("q", "1", "j"), &[using("p", "2")], 3).await.unwrap());
    let full = store.put_pattern(&pattern("r", "1", "k"), &[], 3).await;
    assert!(matches!(full, Err(PutPatternError::Full(3))));
    assert_eq!(store.get_pattern(&tenant, "p", "1").await.unwrap(), Some(pattern("p", "1", "h")));
    let names = store.list_patterns(&tenant).await.unwrap();
    assert_eq!(
        names,
        [(using("p", "1"), "h".into()), (using("p", "2"), "i".into()), (using("q", "1"), "j".into())]
    );
    assert!(store.list_patterns(&Tenant::new("other").unwrap()).await.unwrap().is_empty());
}

async fn a_pattern_stays_while_something_was_expanded_with_it(database: Database) {
    let store = open(database).await;
    let tenant = Tenant::default();
    store.put_pattern(&pattern("p", "1", "h"), &[], 9).await.unwrap();
    store.put_pattern(&pattern("p", "2", "i"), &[], 9).await.unwrap();
    store.put_pattern(&pattern("q", "1", "j"), &[using("p", "2")], 9).await.unwrap();
    let new = version("a", "1", "x", 1);
    assert!(store.put_version(&new, &[using("p", "1"), using("q", "1")]).await.unwrap());
    let gone = store.put_version(&version("b", "1", "x", 1), &[using("p", "9")]).await;
    assert!(matches!(gone, Err(PutVersionError::PatternGone(what)) if what == "p@9"));
    assert!(store.list_versions(&tenant, version("b", "1", "x", 1).workflow_id).await.unwrap().is_empty());
    assert_eq!(store.patterns_of(&tenant, "a", "1").await.unwrap(), [using("p", "1"), using("q", "1")]);
    let users =
        async |name: &str, version: Option<&str>| match store.delete_pattern(&tenant, name, version).await {
            Err(DeletePatternError::Used { by }) => by,
            Err(other) => panic!("{other}"),
            Ok(deleted) => vec![deleted.to_string()],
        };
    assert_eq!(users("p", None).await, ["workflow a@1", "pattern q@1"]);
    assert_eq!(users("p", Some("2")).await, ["pattern q@1"]);
    assert_eq!(users("nobody", None).await, ["0"]);
    assert_eq!(store.delete(&tenant, new.workflow_id, None).await.unwrap(), 1);
    assert_eq!(users("q", Some("1")).await, ["1"], "the workflow is gone");
    assert_eq!(users("p", None).await, ["2"]);
}

on_every_database!(
    a_version_of_a_pattern_never_changes,
    a_pattern_stays_while_something_was_expanded_with_it,
    a_version_never_changes,
    lists_show_the_newest_version_of_what_fits,
    deleting_the_newest_brings_back_the_one_before,
    concurrent_writers_of_one_version_agree,
    a_tag_with_a_line_break_is_refused,
);
