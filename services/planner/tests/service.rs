//! The planner over its contracts, on both databases, beside a scripted registry and executor.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests too

mod common;

use base::ErrorCode;
use common::{Planner, agent, each_backend, fault};
use proto::{
    common::v1::PageRequest,
    planner::{
        internal::v1::GetPlanRequest,
        v1::{
            CreateWorkflowRequest, DeletePatternRequest, DeleteWorkflowRequest, ExplainPlanRequest,
            GetPatternRequest, GetWorkflowRequest, ListPatternsRequest, ListWorkflowsRequest,
            RegisterPatternRequest, ValidateWorkflowRequest,
        },
    },
};
use serde_json::Value;

const S3: &str = include_str!("../../../crates/language/tests/data/s3/multi_agent_research.yaml");

fn definition(name: &str, version: &str, task: &str) -> String {
    format!("name: {name}\nversion: \"{version}\"\ntasks: [{{id: {task}}}]\n")
}

fn create(source: impl Into<String>) -> CreateWorkflowRequest {
    CreateWorkflowRequest { source: source.into(), ..Default::default() }
}

fn get(text: &str) -> GetWorkflowRequest {
    GetWorkflowRequest { r#ref: text.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_is_stored_once_and_found_by_all_its_names() {
    for backend in each_backend() {
        let mut p = Planner::start(&backend, Vec::new()).await;
        let made = p.public.create_workflow(create(S3)).await.unwrap().into_inner();
        assert_eq!(made.status, "validated");
        assert!(made.findings.iter().all(|f| f.severity != "error") && !made.findings.is_empty());
        let estimated: Value = serde_json::from_str(&made.estimated_resources_json).unwrap();
        assert_eq!(estimated["agents"], 4, "a supervisor and three researchers");
        assert_eq!(estimated["memory_bytes"], 6u64 << 30, "three researchers at once");
        let workflow = made.workflow.unwrap();
        assert_eq!((workflow.name.as_str(), workflow.version.as_str()), ("multi_agent_research", "1.0"));
        assert_eq!((workflow.dialect.as_str(), workflow.tasks), ("workflow", 3));
        assert_eq!(workflow.source, S3);
        assert!(workflow.created_at.ends_with('Z') && workflow.content_hash.len() == 64);

        let again = p.public.create_workflow(create(S3)).await.unwrap().into_inner().workflow.unwrap();
        assert_eq!(again.created_at, workflow.created_at, "the same content is the same version");

        let id = workflow.workflow_id.as_str();
        for text in ["multi_agent_research", "multi_agent_research@1.0", id, &format!("{id}@1.0")] {
            let found = p.public.get_workflow(get(text)).await.unwrap().into_inner();
            assert_eq!(
                (found.workflow_id.as_str(), found.versions.as_slice()),
                (id, ["1.0".to_owned()].as_slice())
            );
            let canonical: Value = serde_json::from_str(&found.definition_json).unwrap();
            assert_eq!(canonical["agents"]["researchers"]["count"], 3);
        }
        for text in ["nobody", "multi_agent_research@2", "0198c0de-0000-7000-8000-000000000000"] {
            let missing = fault(p.public.get_workflow(get(text)).await.unwrap_err());
            assert_eq!(missing.code, ErrorCode::NotFound, "{text}");
        }
        let bad = fault(p.public.get_workflow(get("a b")).await.unwrap_err());
        assert_eq!((bad.code, bad.field.as_str()), (ErrorCode::InvalidArgument, "ref"));
        p.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_immutable_and_the_newest_comes_first() {
    for backend in each_backend() {
        let mut p = Planner::start(&backend, Vec::new()).await;
        p.public.create_workflow(create(definition("w", "1", "a"))).await.unwrap();
        let other = fault(p.public.create_workflow(create(definition("w", "1", "b"))).await.unwrap_err());
        assert_eq!(other.code, ErrorCode::AlreadyExists);
        assert!(other.message.contains("w@1"), "{}", other.message);
        p.public.create_workflow(create(definition("w", "2", "b"))).await.unwrap();
        let newest = p.public.get_workflow(get("w")).await.unwrap().into_inner();
        assert_eq!(
            (newest.version.as_str(), newest.versions.as_slice()),
            ("2", ["2".to_owned(), "1".to_owned()].as_slice())
        );
        // What was stored is still there after a restart.
        p.stop().await;
        let mut p = Planner::start(&backend, Vec::new()).await;
        assert_eq!(p.public.get_workflow(get("w@1")).await.unwrap().into_inner().version, "1");
        p.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_where_and_why() {
    let backend = each_backend().remove(0);
    let small = agent("pan", r#""resources": {"cpu": {"max": 1}},"#);
    let mut p = Planner::start(&backend, vec![small]).await;
    p.knows_the_fleet().await;
    for (source, code, finding) in [
        ("name: w\ntasks: [{id: a, depend_on: [b]}]", ErrorCode::InvalidDefinition, "unknown-key"),
        ("name: w\ntasks: [", ErrorCode::InvalidDefinition, "syntax"),
        (
            "name: w\norchestration_pattern: swarms\ntasks: [{id: a}]",
            ErrorCode::UnsupportedPattern,
            "unsupported-pattern",
        ),
        (
            "name: w\ntasks: [{id: cook, resources: {cpu: 8}}]",
            ErrorCode::InsufficientResources,
            "insufficient-resources",
        ),
        (
            "name: w\nresources: {cpu: 100}\ntasks: [{id: cook}]",
            ErrorCode::InsufficientResources,
            "insufficient-resources",
        ),
    ] {
        let refused = fault(p.public.create_workflow(create(source)).await.unwrap_err());
        assert_eq!(refused.code, code, "{source}: {refused:?}");
        assert!(refused.findings.iter().any(|f| f.code == finding && f.line > 0), "{source}: {refused:?}");
        let request = ValidateWorkflowRequest {
            source: source.into(),
            file_name: "w.yaml".into(),
            ..Default::default()
        };
        let report = p.public.validate_workflow(request).await.unwrap().into_inner();
        assert!(
            !report.valid && report.rendered.contains(&format!("error[{finding}]")),
            "{}",
            report.rendered
        );
        assert!(report.rendered.contains("w.yaml:"), "{}", report.rendered);
    }
    let absent = p.public.list_workflows(ListWorkflowsRequest::default()).await.unwrap().into_inner();
    assert!(absent.workflows.is_empty(), "what is refused is not stored");
    let bad = CreateWorkflowRequest { format: "xml".into(), ..create("name: w\ntasks: [{id: a}]") };
    let bad = fault(p.public.create_workflow(bad).await.unwrap_err());
    assert_eq!((bad.code, bad.field.as_str()), (ErrorCode::InvalidArgument, "format"));
    p.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_are_missing_are_findings_and_candidates_have_reasons() {
    let backend = each_backend().remove(0);
    let mut p = Planner::start(&backend, vec![agent("pan", ""), agent("pot", "")]).await;
    p.knows_the_fleet().await;
    let source = "name: w\ntasks: [{id: cook}, {id: fly, depends_on: [cook]}]";
    let made = p.public.create_workflow(create(source)).await.unwrap().into_inner();
    let codes: Vec<_> = made.findings.iter().map(|f| (f.severity.as_str(), f.code.as_str())).collect();
    assert_eq!(codes, [("warning", "missing-capability")]);
    let explained =
        p.public.explain_plan(ExplainPlanRequest { r#ref: "w".into(), ..Default::default() }).await;
    let explained = explained.unwrap().into_inner();
    let plan: Value = serde_json::from_str(&explained.plan_json).unwrap();
    assert_eq!(plan["levels"], serde_json::json!([["cook"], ["fly"]]));
    assert_eq!(plan["critical_path"], serde_json::json!(["cook", "fly"]));
    assert_eq!((&plan["estimated_duration_ms"], &plan["unknown_durations"]), (&2000.into(), &1.into()));
    let candidates = plan["tasks"][0]["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2);
    assert!(candidates[0]["reason"].as_str().unwrap().starts_with("1 of 2 that fit"), "{candidates:?}");
    let given = &plan["tasks"][0]["allocation"];
    assert_eq!((&given["agent_id"], &given["duration_ms"]), (&"pan".into(), &2000.into()), "{given}");
    assert_eq!((&given["slack_ms"], &plan["estimated_cost"]), (&0.into(), &0.0.into()));
    assert!(plan["tasks"][1]["shortage"].as_str().unwrap().contains("`fly`"));
    assert_eq!(plan["findings"][0]["code"], "missing-capability");
    assert_eq!(explained.findings.len(), 1);
    let inline = ExplainPlanRequest { source: source.into(), ..Default::default() };
    assert!(p.public.explain_plan(inline).await.is_ok());
    let none = fault(
        p.public
            .explain_plan(ExplainPlanRequest { r#ref: "x".into(), ..Default::default() })
            .await
            .unwrap_err(),
    );
    assert_eq!(none.code, ErrorCode::NotFound);
    p.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_active_executions_is_not_deleted() {
    for backend in each_backend() {
        let mut p = Planner::start(&backend, Vec::new()).await;
        for version in ["1", "2"] {
            p.public.create_workflow(create(definition("w", version, &format!("t{version}")))).await.unwrap();
        }
        let delete = |text: &str| DeleteWorkflowRequest { r#ref: text.into() };
        p.executor.run("w@2", "0198c0de-0000-7000-8000-000000000001");
        let refused = fault(p.public.delete_workflow(delete("w@2")).await.unwrap_err());
        assert_eq!(refused.code, ErrorCode::InvalidState);
        assert_eq!(refused.related, ["0198c0de-0000-7000-8000-000000000001"]);
        assert_eq!(p.public.delete_workflow(delete("w@1")).await.unwrap().into_inner().versions_deleted, 1);
        p.executor.be_away(true);
        let away = fault(p.public.delete_workflow(delete("w@2")).await.unwrap_err());
        assert_eq!(away.code, ErrorCode::Unavailable, "nobody can say whether it is in use");
        p.executor.be_away(false);
        p.executor.end("w@2");
        assert_eq!(p.public.delete_workflow(delete("w")).await.unwrap().into_inner().versions_deleted, 1);
        let gone = fault(p.public.delete_workflow(delete("w")).await.unwrap_err());
        assert_eq!(gone.code, ErrorCode::NotFound);
        p.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_go_by_name_in_pages_and_filters() {
    for backend in each_backend() {
        let mut p = Planner::start(&backend, Vec::new()).await;
        for n in 0..5 {
            let tag = if n % 2 == 0 { "even" } else { "odd" };
            let source = format!("name: w{n}\nversion: \"1\"\ntags: [{tag}]\ntasks: [{{id: a}}]");
            p.public.create_workflow(create(source)).await.unwrap();
        }
        p.public.create_workflow(create(S3)).await.unwrap();
        let mut names = Vec::new();
        let mut token = String::new();
        loop {
            let page = PageRequest { page_size: 2, page_token: token };
            let request = ListWorkflowsRequest { page: Some(page), ..Default::default() };
            let answer = p.public.list_workflows(request).await.unwrap().into_inner();
            assert!(answer.workflows.len() <= 2);
            names.extend(answer.workflows.into_iter().map(|w| w.name));
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["multi_agent_research", "w0", "w1", "w2", "w3", "w4"]);
        for (request, want) in [
            (ListWorkflowsRequest { name_prefix: "w".into(), ..Default::default() }, 5),
            (ListWorkflowsRequest { tag: "odd".into(), ..Default::default() }, 2),
            (ListWorkflowsRequest { orchestration_pattern: "supervisor".into(), ..Default::default() }, 1),
            (ListWorkflowsRequest { tag: "none".into(), ..Default::default() }, 0),
        ] {
            let found = p.public.list_workflows(request.clone()).await.unwrap().into_inner();
            assert_eq!(found.workflows.len(), want, "{request:?}");
        }
        for (page, field) in [
            (PageRequest { page_size: -1, ..Default::default() }, "page.page_size"),
            (PageRequest { page_size: 1001, ..Default::default() }, "page.page_size"),
            (PageRequest { page_token: "x".into(), ..Default::default() }, "page.page_token"),
        ] {
            let request = ListWorkflowsRequest { page: Some(page), ..Default::default() };
            assert_eq!(fault(p.public.list_workflows(request).await.unwrap_err()).field, field);
        }
        p.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executors_get_plans_by_name_and_of_inline_definitions() {
    for backend in each_backend() {
        let mut p = Planner::start(&backend, Vec::new()).await;
        p.public.create_workflow(create(S3)).await.unwrap();
        let by_name = GetPlanRequest { r#ref: "multi_agent_research".into(), ..Default::default() };
        let plan = p.inside.get_plan(by_name).await.unwrap().into_inner();
        let plan: workflow::plan::Plan = serde_json::from_str(&plan.plan_json).unwrap();
        assert_eq!(plan.tasks.len(), 3);
        workflow::Compiled::new(plan).unwrap();

        let inline = |source: &str| GetPlanRequest { inline_source: source.into(), ..Default::default() };
        let source = "name: quick\ntasks: [{id: a}]";
        let first = p.inside.get_plan(inline(source)).await.unwrap().into_inner();
        assert!(first.version.starts_with('c') && first.version.len() == 13, "{}", first.version);
        let second = p.inside.get_plan(inline(source)).await.unwrap().into_inner();
        assert_eq!((&first.workflow_id, &first.version), (&second.workflow_id, &second.version));
        let stored = p.public.get_workflow(get("quick")).await.unwrap().into_inner();
        assert_eq!((stored.versions.len(), &stored.version), (1, &first.version));
        let changed = p.inside.get_plan(inline("name: quick\ntasks: [{id: b}]")).await.unwrap().into_inner();
        assert_ne!(changed.version, first.version, "another content is another version");
        let refused = fault(p.inside.get_plan(inline("name: quick\ntasks: []")).await.unwrap_err());
        assert_eq!(refused.code, ErrorCode::InvalidDefinition);
        for source in [source, "name: draft\ntasks: [{id: a}]"] {
            let draft = GetPlanRequest { compile_only: true, ..inline(source) };
            let plan = p.inside.get_plan(draft).await.unwrap().into_inner().plan_json;
            assert!(plan.contains("\"tasks\""), "{plan}");
        }
        let draft = fault(p.public.get_workflow(get("draft")).await.unwrap_err());
        assert_eq!(draft.code, ErrorCode::NotFound, "what is only compiled is not stored");
        // Deleted, then started again: stored anew although the compiled form is still in memory.
        p.public.delete_workflow(DeleteWorkflowRequest { r#ref: "quick".into() }).await.unwrap();
        let anew = p.inside.get_plan(inline(source)).await.unwrap().into_inner();
        assert_eq!(anew.version, first.version);
        assert!(p.public.get_workflow(get("quick")).await.is_ok());
        p.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_definition_passes_and_one_over_the_limit_does_not() {
    let backend = each_backend().remove(0);
    let mut p =
        Planner::start_with(&backend, Vec::new(), |settings| settings.planner.nodes_max = 5_000).await;
    let source = |n: usize| {
        let tasks: Vec<_> = (0..n).map(|t| format!("{{\"id\":\"t{t}\",\"capability\":\"work\"}}")).collect();
        format!("{{\"name\":\"large\",\"version\":\"1\",\"tasks\":[{}]}}", tasks.join(","))
    };
    let made = p.public.create_workflow(create(source(5_000))).await.unwrap().into_inner();
    assert_eq!(made.workflow.unwrap().tasks, 5_000);
    let plan =
        p.inside.get_plan(GetPlanRequest { r#ref: "large".into(), ..Default::default() }).await.unwrap();
    assert!(plan.into_inner().plan_json.len() > 1 << 20);
    let refused = fault(p.public.create_workflow(create(source(5_001))).await.unwrap_err());
    assert!(refused.findings.iter().any(|f| f.code == "limit-tasks"), "{refused:?}");
    p.stop().await;
}

/// A pattern of one task called `task`.
fn pattern(version: &str, task: &str) -> RegisterPatternRequest {
    let source = format!(
        "pattern: twice\nversion: \"{version}\"\ndescription: Does it twice.\nparameters:\n  who: {{type: role}}\n  \
         times: {{type: integer, default: 2}}\nbody:\n  tasks: [{{id: {task}, agent: $(who), for_each: [1, 2]}}]\n"
    );
    RegisterPatternRequest { source, ..Default::default() }
}

fn user(version: &str, range: &str) -> CreateWorkflowRequest {
    create(format!(
        "name: user\nversion: \"{version}\"\nagents: {{ann: {{}}}}\ntasks: [{{id: t, pattern: {{name: twice, version: \
         \"{range}\", with: {{who: ann}}}}}}]\n"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_version_keeps_the_pattern_it_was_expanded_with() {
    for backend in each_backend() {
        let mut p = Planner::start(&backend, Vec::new()).await;
        let none = fault(p.public.create_workflow(user("1", "^1")).await.unwrap_err());
        assert_eq!(none.code, ErrorCode::UnsupportedPattern);
        let made = p.patterns.register_pattern(pattern("1.0.0", "work")).await.unwrap().into_inner();
        let made = made.pattern.unwrap();
        assert_eq!((made.name.as_str(), made.version.as_str(), made.built_in), ("twice", "1.0.0", false));
        assert_eq!((made.parameters[0].name.as_str(), made.parameters[0].default_json.as_str()), ("who", ""));
        assert_eq!(made.parameters[1].default_json, "2");
        p.patterns.register_pattern(pattern("1.0.0", "work")).await.unwrap();
        let other = fault(p.patterns.register_pattern(pattern("1.0.0", "play")).await.unwrap_err());
        assert_eq!(other.code, ErrorCode::AlreadyExists);
        let broken =
            RegisterPatternRequest { source: "pattern: x\nbody: {taks: []}\n".into(), ..Default::default() };
        let broken = fault(p.patterns.register_pattern(broken).await.unwrap_err());
        assert_eq!(broken.code, ErrorCode::InvalidDefinition);
        assert!(broken.findings[0].line > 0, "{broken:?}");

        p.public.create_workflow(user("1", "^1")).await.unwrap();
        p.patterns.register_pattern(pattern("1.1.0", "toil")).await.unwrap();
        let plan = async |reference: &str| {
            let request = GetPlanRequest { r#ref: reference.into(), ..Default::default() };
            p.inside.clone().get_plan(request).await.unwrap().into_inner().plan_json
        };
        assert!(plan("user@1").await.contains("\"work\"") && !plan("user@1").await.contains("\"toil\""));
        let explained = ExplainPlanRequest { r#ref: "user@1".into(), ..Default::default() };
        p.public.explain_plan(explained).await.unwrap();
        p.public.create_workflow(user("2", "^1")).await.unwrap();
        assert!(plan("user@2").await.contains("\"toil\""), "a new version sees the newest");

        let all = p.patterns.list_patterns(ListPatternsRequest {}).await.unwrap().into_inner().patterns;
        let own = all.last().unwrap();
        assert_eq!(
            (own.name.as_str(), own.versions.as_slice()),
            ("twice", ["1.1.0".to_owned(), "1.0.0".into()].as_slice())
        );
        assert!(all.iter().any(|p| p.name == "supervisor" && p.built_in) && own.source.is_empty());
        let get = |text: &str| GetPatternRequest { r#ref: text.into() };
        assert!(
            p.patterns.get_pattern(get("twice@1.0.0")).await.unwrap().into_inner().source.contains("work")
        );
        assert_eq!(fault(p.patterns.get_pattern(get("nobody")).await.unwrap_err()).code, ErrorCode::NotFound);

        let drop = |text: &str| DeletePatternRequest { r#ref: text.into() };
        let used = fault(p.patterns.delete_pattern(drop("twice")).await.unwrap_err());
        assert_eq!((used.code, used.related.len()), (ErrorCode::InvalidState, 2), "{used:?}");
        let built_in = fault(p.patterns.delete_pattern(drop("debate")).await.unwrap_err());
        assert_eq!(built_in.code, ErrorCode::InvalidState);
        p.public.delete_workflow(DeleteWorkflowRequest { r#ref: "user".into() }).await.unwrap();
        let gone = p.patterns.delete_pattern(drop("twice")).await.unwrap().into_inner();
        assert_eq!(gone.versions_deleted, 2);
        p.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_is_known_is_not_sent_again_until_the_name_means_another() {
    for backend in each_backend() {
        let p = Planner::start(&backend, Vec::new()).await;
        let source = |version: &str, task: &str| {
            format!(
                "{{\"name\":\"w\",\"version\":\"{version}\",\"tasks\":[{{\"id\":\"{task}\",\"capability\":\"x\"}}]}}"
            )
        };
        let ask = async |known: &str| {
            let request =
                GetPlanRequest { r#ref: "w".into(), known_edition: known.into(), ..Default::default() };
            p.inside.clone().get_plan(request).await
        };
        p.public.clone().create_workflow(create(source("1", "a"))).await.unwrap();
        let first = ask("").await.unwrap().into_inner();
        assert!(!first.unchanged && !first.edition.is_empty() && !first.plan_json.is_empty());
        for _ in 0..2 {
            let again = ask(&first.edition).await.unwrap().into_inner();
            assert!(again.unchanged && again.plan_json.is_empty());
        }
        p.public.clone().create_workflow(create(source("2", "b"))).await.unwrap();
        let second = ask(&first.edition).await.unwrap().into_inner();
        assert_eq!((second.unchanged, second.version.as_str()), (false, "2"), "seen at once");
        // The same number with another content, after the first one was deleted.
        p.public.clone().delete_workflow(DeleteWorkflowRequest { r#ref: "w".into() }).await.unwrap();
        assert_eq!(fault(ask(&second.edition).await.unwrap_err()).code, ErrorCode::NotFound);
        p.public.clone().create_workflow(create(source("2", "c"))).await.unwrap();
        let anew = ask(&second.edition).await.unwrap().into_inner();
        assert!(!anew.unchanged && anew.plan_json.contains("\"c\""));
        p.stop().await;
    }
}
