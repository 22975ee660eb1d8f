//! Patterns: the built-in ones, those of users, and what goes wrong.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use std::sync::Arc;

use base::Finding;
use language::{
    Compiled, Limits, Options, Pattern, Patterns, VersionRange, built_in_pattern_sources, built_in_patterns,
    compile, parse_pattern, render,
};
use workflow::plan::{Join, NodeKind, Rest, ScopeMode, TaskPlan};

fn ok(source: &str) -> Compiled {
    let outcome = compile(source, &Options::default());
    outcome.compiled.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "x", source)))
}

fn findings(source: &str) -> Vec<Finding> {
    compile(source, &Options::default()).findings
}

const AGENTS: &str = "agents:
  lead: {capabilities: [leading]}
  ada: {capabilities: [writing]}
  bob: {capabilities: [reading]}
  eve: {capabilities: [judging]}
";

/// One use of every built-in pattern.
const USES: &[(&str, &str)] = &[
    ("supervisor", "{supervisor: lead, workers: [ada, bob]}"),
    (
        "hierarchical",
        "{supervisor: lead, teams: {front: {supervisor: ada, workers: [bob]}, back: {supervisor: bob, workers: [eve]}}}",
    ),
    ("handoff", "{start: ada, agents: [ada, bob]}"),
    ("swarm", "{agents: ada, width: 2}"),
    ("network", "{peers: [ada, bob, eve]}"),
    ("router", "{router: lead, agents: [ada, bob]}"),
    ("round-robin", "{participants: [ada, bob], moderator: lead}"),
    ("plan-execute-replan", "{planner: lead, executor: ada}"),
    ("evaluator-optimizer", "{optimizer: ada, evaluator: eve}"),
    ("debate", "{debaters: [ada, bob], judge: eve, rounds: 3}"),
    ("pair", "{author: ada, reviewer: bob}"),
    ("race", "{contestants: [ada, bob], accept: 'tasks.answer.output.score > 0.5'}"),
    ("map-reduce", "{mapper: ada, reducer: lead}"),
    ("manual", "{agents: [ada, bob]}"),
];

fn with(name: &str, with: &str) -> String {
    format!("name: w\nversion: '1'\n{AGENTS}orchestration_pattern: {name}\nwith: {with}\n")
}

fn body(task: &TaskPlan) -> (&[TaskPlan], &ScopeMode) {
    match &task.kind {
        NodeKind::Scope(scope) => (&scope.tasks, &scope.mode),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_built_in_pattern_is_a_valid_pattern_and_has_a_use_here() {
    assert_eq!(built_in_patterns().len(), built_in_pattern_sources().len());
    assert_eq!(built_in_patterns().len(), USES.len());
    for source in built_in_pattern_sources() {
        let outcome = parse_pattern(source, &Limits::default(), None);
        let pattern = outcome.pattern.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "p", source)));
        assert_eq!(outcome.findings, [], "{}", pattern.name);
        assert!(!pattern.description.is_empty() && !pattern.parameters.is_empty());
        assert!(pattern.parameters.iter().all(|p| !p.description.is_empty()), "{}", pattern.name);
        assert_eq!(pattern.describe()["parameters"].as_array().unwrap().len(), pattern.parameters.len());
    }
}

#[test]
fn every_built_in_pattern_expands_to_a_plan_that_its_canonical_form_reads_back() {
    for (name, arguments) in USES {
        let source = with(name, arguments);
        let outcome = compile(&source, &Options::default());
        assert_eq!(outcome.findings, [], "{name}");
        let first = outcome.compiled.unwrap();
        assert_eq!(first.plan.pattern, *name);
        assert_eq!(first.plan.tasks.len(), 1);
        assert_eq!(first.plan.tasks[0].id, *name);
        assert_eq!(first.plan.schema, workflow::plan::PLAN_SCHEMA_NODES);
        let again = compile(&first.canonical, &Options::default());
        let again = again.compiled.unwrap_or_else(|| panic!("{name}: {:?}", again.findings));
        assert_eq!(again.plan.tasks, first.plan.tasks, "{name}");
        assert_eq!(again.canonical, first.canonical, "{name}");
        workflow::Compiled::new(first.plan).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn loops_of_patterns_are_bounded_and_picks_are_limited_to_who_is_named() {
    fn check(tasks: &[TaskPlan], name: &str) -> usize {
        let mut picks = 0;
        for task in tasks {
            if let Some(pick) = &task.pick {
                picks += 1;
                assert!(!pick.among.is_empty(), "{name}");
                assert!(pick.among.iter().all(|(role, need)| need.role.as_ref() == Some(role)), "{name}");
            }
            if let NodeKind::Scope(scope) = &task.kind {
                if let ScopeMode::Loop { max, .. } = scope.mode {
                    assert!(max <= 1000, "{name}");
                }
                picks += check(&scope.tasks, name);
            }
        }
        picks
    }
    for (name, arguments) in USES {
        let picks = check(&ok(&with(name, arguments)).plan.tasks, name);
        let routed =
            !["swarm", "map-reduce", "plan-execute-replan", "evaluator-optimizer", "pair"].contains(name);
        assert_eq!(picks > 0, routed, "{name}");
    }
}

#[test]
fn parameters_reach_the_plan() {
    let plan = ok(&with("supervisor", "{supervisor: lead, workers: [ada, bob], max_steps: 7}")).plan;
    let (tasks, mode) = body(&plan.tasks[0]);
    let ScopeMode::Loop { max, history, .. } = mode else { panic!("{mode:?}") };
    assert_eq!((*max, *history), (7, true));
    assert_eq!(tasks[0].need.role.as_deref(), Some("lead"));
    assert_eq!(tasks[1].pick.as_ref().unwrap().among.keys().collect::<Vec<_>>(), ["ada", "bob"]);
    let race = ok(&with("race", "{contestants: [ada, bob]}")).plan;
    let (tasks, _) = body(&race.tasks[0]);
    let ScopeMode::ForEach { list, join, rest, .. } = body(&tasks[0]).1 else { panic!() };
    assert_eq!((list.as_str(), *join, *rest), ("[\"ada\",\"bob\"]", Join::Any, Rest::Cancel));
    let teams = ok(&with(USES[1].0, USES[1].1)).plan;
    let (tasks, _) = body(&teams.tasks[0]);
    let ids: Vec<_> = tasks.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids, ["decide", "choose", "refuse", "team-front", "team-back", "answers"]);
    assert_eq!(body(&tasks[3]).0[1].pick.as_ref().unwrap().among.keys().collect::<Vec<_>>(), ["bob"]);
}

#[test]
fn several_patterns_stand_in_one_definition_beside_plain_tasks() {
    let source = format!(
        "name: w\n{AGENTS}tasks:
  - {{id: collect, agent: ada}}
  - id: discuss
    depends_on: [collect]
    input: ${{ tasks.collect.output }}
    pattern: {{name: debate, version: ^1, with: {{debaters: [ada, bob], judge: eve}}}}
  - id: polish
    depends_on: [discuss]
    timeout: 1h
    pattern: {{name: pair, with: {{author: ada, reviewer: bob}}}}
  - {{id: publish, agent: lead, depends_on: [polish]}}
"
    );
    let plan = ok(&source).plan;
    assert_eq!(
        plan.tasks.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(),
        ["collect", "discuss", "polish", "publish"]
    );
    assert_eq!(plan.tasks[1].input, workflow::plan::InputSpec::Template("${ tasks.collect.output }".into()));
    assert_eq!(plan.tasks[2].timeouts.total, Some(std::time::Duration::from_secs(3600)));
    assert_eq!(plan.tasks[3].after, [2]);
}

#[test]
fn a_pattern_without_parameters_names_the_graph_as_it_is_written() {
    let graph = "name: w\norchestration_pattern: supervisor\ntasks: [{id: a}, {id: b, depends_on: [a]}]\n";
    let found = findings(graph);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code.as_str(), found[0].line), ("pattern-as-written", 2));
    assert_eq!(ok(graph).plan.tasks.len(), 2);
    assert_eq!(ok(graph).plan.schema, workflow::plan::PLAN_SCHEMA_CALLS);
    assert!(ok(&graph.replace("supervisor", "custom")).plan.pattern == "custom");
}

#[test]
fn wrong_uses_are_found_where_they_stand() {
    for (source, want) in [
        ("orchestration_pattern: debatte\nwith: {}\n", "unsupported-pattern 2:24"),
        ("orchestration_pattern: swarn\ntasks: [{id: a}]\n", "unsupported-pattern 2:24"),
        ("orchestration_pattern: race@^2\nwith: {}\n", "unsupported-pattern 2:24"),
        ("orchestration_pattern: race\nwith: {contestants: [a]}\n", "bad-parameter 3:21"),
        ("orchestration_pattern: router\nwith: {router: a}\n", "missing-parameter 2:24"),
        (
            "orchestration_pattern: router\nwith: {router: a, agents: [b], agnets: [c]}\n",
            "unknown-parameter 3:32",
        ),
        ("orchestration_pattern: router\nwith: [a]\n", "bad-type 3:7"),
        ("with: {a: 1}\ntasks: [{id: a}]\n", "missing-key 2:1"),
        ("tasks: [{id: a, pattern: {version: 1}}]\n", "missing-key 2:26"),
        (
            "tasks: [{id: a, pattern: {name: router, with: {router: a, agents: [b]}, wit: 1}}]\n",
            "unknown-key 2:73",
        ),
        ("tasks: [{id: a, pattern: 7}]\n", "bad-type 2:26"),
        (
            "tasks: [{id: a, loop: {max: 1}, pattern: {name: pair, with: {author: a, reviewer: b}}, tasks: []}]\n",
            "bad-value 2:88",
        ),
        (
            "agents: {x: {}}\norchestration_pattern: router\nwith: {router: x, agents: [y]}\n",
            "unknown-role 4:28",
        ),
        ("orchestration_pattern: swarm\nwith: {agents: a, items: 'input.'}\n", "bad-expression 2:24"),
    ] {
        let source = format!("name: w\n{source}");
        let found = findings(&source);
        let first = found.iter().find(|f| f.is_error()).unwrap_or_else(|| panic!("{source}"));
        let got = format!("{} {}:{}", first.code, first.line, first.column);
        assert_eq!(got, want, "{source}{}", render(&found, "x", &source));
    }
}

#[test]
fn a_finding_inside_of_a_pattern_points_at_the_use_and_names_the_line_of_the_pattern() {
    let source = "name: w\norchestration_pattern: race\nwith:\n  contestants: [a, b]\n  accept: tasks.anser.output.ok\n";
    let found = findings(source);
    assert_eq!((found[0].code.as_str(), found[0].line, found[0].column), ("unknown-variable", 2, 24));
    assert!(found[0].message.ends_with("(pattern `race`, line 19)"), "{}", found[0].message);
}

struct Mine(Vec<Arc<Pattern>>);

impl Patterns for Mine {
    fn find(&self, name: &str, range: &VersionRange) -> Option<Arc<Pattern>> {
        let mut fitting = self.0.iter().filter(|p| p.name == name && range.holds(&p.version));
        fitting.next_back().cloned()
    }
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|p| p.name.clone()).collect()
    }
}

fn mine(sources: &[&str]) -> Mine {
    let mut known = Mine(Vec::new());
    for source in sources {
        let outcome = parse_pattern(source, &Limits::default(), Some(&known));
        let pattern = outcome.pattern.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "p", source)));
        known.0.push(Arc::new(pattern));
    }
    known
}

const TWICE: &str = "pattern: twice
version: 1.1.0
description: Two drafts, one choice
parameters:
  writers: {type: roles}
  judge: {type: role}
  loud: {type: boolean, default: false}
uses: [debate@^1, pair]
body:
  tasks:
    - $each: $(writers)
      $as: writer
      $do: {id: draft-$(writer_key), agent: $(writer)}
    - id: check
      depends_on: [{$each: $(writers), $as: w, $do: draft-$(w_key)}]
      input: {$if: $(loud), $then: {voice: loud}, $else: {voice: low}}
      pattern: {name: debate, with: {debaters: [$(writers...), $(judge)], judge: $(judge), rounds: 1}}
  output: ${ tasks.check.output }
";

#[test]
fn users_build_patterns_of_their_own_from_others() {
    let known = mine(&[TWICE]);
    let source = "name: w\ntasks:\n- id: a\n  pattern: {name: twice, with: {writers: [x, y, z], judge: j, loud: true}}\n";
    let options = Options { patterns: Some(&known), ..Options::default() };
    let outcome = compile(source, &options);
    let plan = outcome.compiled.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "x", source))).plan;
    let (tasks, _) = body(&plan.tasks[0]);
    assert_eq!(
        tasks.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(),
        ["draft-0", "draft-1", "draft-2", "check"]
    );
    assert_eq!(tasks[3].after, [0, 1, 2]);
    assert_eq!(tasks[3].input, workflow::plan::InputSpec::Template(serde_json::json!({"voice": "loud"})));
    let debaters = &body(&body(&tasks[3]).0[0]).0[0];
    let ScopeMode::ForEach { list, .. } = body(debaters).1 else { panic!() };
    assert_eq!(list, "[\"x\",\"y\",\"z\",\"j\"]");
    let unknown = compile(&source.replace("twice", "twise"), &options).findings;
    assert_eq!(unknown[0].remedy, "did you mean `twice`?");
}

#[test]
fn wrong_patterns_are_refused_before_they_are_used() {
    for (change, want) in [
        (("pattern: twice", "pattern: debate"), "bad-name"),
        (("pattern: twice", "patern: twice"), "unknown-key"),
        (("version: 1.1.0", "version: one two"), "bad-name"),
        (("{type: roles}", "{type: rolls}"), "bad-value"),
        (("{type: roles}", "{type: roles, minItems: many}"), "bad-schema"),
        (("default: false", "default: 7"), "bad-parameter"),
        (("  writers:", "  all writers:"), "bad-name"),
        (("uses: [debate@^1, pair]", "uses: [pair]"), "undeclared-use"),
        (("debate@^1", "debate@^9"), "unsupported-pattern"),
        (("debate@^1", "debate@^"), "bad-value"),
        (("$(loud)", "$(laud)"), "bad-template"),
        (("$each: $(writers)", "$each: $(judge)"), "bad-template"),
        (("$(writers...)", "$(judge...)"), "bad-template"),
        (("draft-$(w_key)", "draft-$(w_key"), "bad-template"),
        (("$then: {voice: loud}", "voice: loud"), "bad-template"),
        (("tasks.check.output", "tasks.chek.output"), "unknown-variable"),
        (("id: check", "id: check\n      colour: red"), "unknown-key"),
        (("body:\n", "boddy:\n"), "unknown-key"),
    ] {
        let source = TWICE.replacen(change.0, change.1, 1);
        assert_ne!(source, TWICE, "{change:?}");
        let outcome = parse_pattern(&source, &Limits::default(), None);
        assert!(outcome.pattern.is_none(), "{change:?}");
        let found: Vec<_> = outcome.findings.iter().map(|f| f.code.as_str()).collect();
        assert!(found.contains(&want), "{change:?}: {}", render(&outcome.findings, "p", &source));
        assert!(outcome.findings.iter().all(|f| f.line > 0), "{change:?}: {:?}", outcome.findings);
    }
    for source in
        ["", "7", "pattern: x", "pattern: x\nbody: 7", "pattern: x\nbody: {}\nparameters: [a]", "a: ["]
    {
        assert!(parse_pattern(source, &Limits::default(), None).pattern.is_none(), "{source}");
    }
}

#[test]
fn a_pattern_that_is_built_from_itself_is_refused() {
    struct One(Arc<Pattern>);
    impl Patterns for One {
        fn find(&self, name: &str, _: &VersionRange) -> Option<Arc<Pattern>> {
            (name == self.0.name).then(|| self.0.clone())
        }
    }
    let simple = "pattern: again\nbody: {tasks: [{id: a}]}\n";
    let first = parse_pattern(simple, &Limits::default(), None).pattern.unwrap();
    let itself = "pattern: again\nuses: [again]\nbody: {tasks: [{id: a, pattern: again}]}\n";
    let outcome = parse_pattern(itself, &Limits::default(), Some(&One(Arc::new(first))));
    assert_eq!(outcome.findings[0].code, "pattern-recursion");
}

#[test]
fn what_a_pattern_makes_is_bounded() {
    let grown = "pattern: grown
parameters: {n: {type: list}}
body:
  tasks:
    - {$each: $(n), $do: {$each: $(n), $as: b, $do: {$each: $(n), $as: c, $do: {id: t-$(each_key)-$(b_key)-$(c_key)}}}}
";
    let known = Mine(vec![Arc::new(
        parse_pattern(grown, &Limits::default(), None)
            .pattern
            .unwrap_or_else(|| panic!("{:?}", parse_pattern(grown, &Limits::default(), None).findings)),
    )]);
    let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let source =
        format!("name: w\ntasks: [{{id: a, pattern: {{name: grown, with: {{n: [{}]}}}}}}]", many.join(", "));
    let limits = Limits { nodes_max: 100_000, ..Limits::default() };
    let outcome = compile(&source, &Options { patterns: Some(&known), limits, ..Options::default() });
    assert_eq!(outcome.findings[0].code, "limit-nodes");
}
