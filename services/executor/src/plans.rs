//! Compiled plans of workflow versions, cached. Nothing is compiled on the hot path.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use api::Fault;
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use base::{CallContext, ErrorCode, WorkflowId};
use catalog::{Candidate, Need, Outcome, Snapshot};
use jsonschema::Validator;
use language::{Choice, Job};
use serde_json::Value;
use workflow::{
    Compiled, State,
    plan::{NodeKind, Plan, TaskPlan, Wait},
};

use crate::engine::{NeedClass, Preference};

/// A workflow version, ready to run.
pub struct PlanEntry {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its name.
    pub name: Arc<str>,
    /// The version.
    pub version: Arc<str>,
    /// Names the stored plan that this was compiled from.
    pub(crate) edition: Arc<str>,
    /// The plan.
    pub compiled: Arc<Compiled>,
    /// What each node needs, in the order of the compiled plan's nodes.
    needs: Vec<Arc<NeedClass>>,
    /// What those need that an answer may name, by node and name.
    picks: HashMap<u32, BTreeMap<String, Arc<NeedClass>>>,
    /// Executions at once, as the version says.
    concurrency: Option<u32>,
    /// Nodes that call, with the same need as an earlier one, share its number.
    same: Vec<Option<u32>>,
    input: Option<Validator>,
    outputs: Vec<Option<Validator>>,
    inputs: Vec<Option<Validator>>,
    /// Forms of approvals.
    forms: HashMap<u32, Validator>,
    /// Payloads of signals by name: every schema that the plan gives for one.
    signals: BTreeMap<String, Vec<Validator>>,
    /// The pre-check of one fleet.
    checked: ArcSwapOption<Checked>,
}

type Checked = (Arc<Snapshot>, Result<Arc<Allotted>, Fault>);

/// What a fleet can do for a plan.
#[derive(Clone, Debug, Default)]
pub struct Allotted {
    /// Agents that could serve the tasks, each once, by id; of each task the 16 best.
    pub candidates: Vec<Arc<str>>,
    /// When the last task is done, with the agents that the tasks were given.
    pub estimated: Duration,
}

/// Candidates of each task that a start names, best first: they are written with every execution, and a fleet may have
/// thousands that fit.
const CANDIDATES_MAX: usize = 16;
/// The cheapest and the fastest agents that a task is allocated from: so many of each.
const CHOICES_MAX: usize = 8;
/// Plans with more tasks are allocated off the threads that carry the executions.
const TASKS_INLINE_MAX: usize = 1000;

/// Where plans come from.
#[async_trait]
pub trait PlanSource: Send + Sync + 'static {
    /// The plan of `workflow` (UUID, name or `name@version`), or of an inline definition (text and format), which is
    /// stored first.
    async fn plan(
        &self,
        context: &CallContext,
        workflow: &str,
        inline: Option<(&str, &str)>,
    ) -> Result<FoundPlan, Fault>;

    /// The plan that a definition (text and format) would have. Nothing is stored. A source that has plans only, and no
    /// compiler, refuses it.
    async fn draft(&self, _context: &CallContext, _definition: (&str, &str)) -> Result<FoundPlan, Fault> {
        Err(Fault::bad("definition", "definitions are not compiled here: give plan_json"))
    }

    /// The same for a workflow of which the caller has the plan called `edition`; `None` = it is still that one.
    async fn changed(
        &self,
        context: &CallContext,
        workflow: &str,
        edition: &str,
    ) -> Result<Option<FoundPlan>, Fault> {
        let found = self.plan(context, workflow, None).await?;
        Ok(Some(found).filter(|found| found.edition != edition || edition.is_empty()))
    }
}

/// A plan as the planner gives it.
#[derive(Clone, Debug)]
pub struct FoundPlan {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Names this plan; another one when the version was deleted and stored anew. Empty = versions never change.
    pub edition: String,
    /// The plan as JSON.
    pub plan_json: String,
}

impl PlanEntry {
    /// Compiles what the planner gave.
    pub fn new(found: FoundPlan) -> Result<Self, Fault> {
        let bad = |what: String| {
            Fault::new(
                ErrorCode::Internal,
                format!("the plan of {}@{} is unusable: {what}", found.name, found.version),
            )
        };
        let plan: Plan = serde_json::from_str(&found.plan_json).map_err(|e| bad(e.to_string()))?;
        let compiled = Arc::new(Compiled::new(plan).map_err(|e| bad(e.to_string()))?);
        let names = (found.workflow_id, found.name.as_str().into(), found.version.as_str().into());
        let entry = Self::of(names, compiled).map_err(bad)?;
        Ok(Self { edition: found.edition.as_str().into(), ..entry })
    }

    /// Derives what is needed to run a compiled plan.
    ///
    /// # Errors
    /// A JSON Schema of the plan that does not compile.
    fn of(
        (id, name, version): (WorkflowId, Arc<str>, Arc<str>),
        compiled: Arc<Compiled>,
    ) -> Result<Self, String> {
        let schema = |value: &Option<Value>| value.as_ref().map(validator).transpose();
        let nodes = || (0..compiled.nodes()).map(|n| (n, compiled.node(n)));
        let outputs = nodes().map(|(_, t)| schema(&t.output_schema)).collect::<Result<_, _>>()?;
        let inputs = nodes().map(|(_, t)| schema(&t.input_schema)).collect::<Result<_, _>>()?;
        let forms = nodes().filter_map(|(n, t)| Some((n, form_of(t)?)));
        let forms = forms.map(|(n, form)| Ok((n, validator(form)?))).collect::<Result<_, String>>()?;
        let needs = nodes().map(|(_, t)| Arc::new(NeedClass::new(need_of(t, &t.need)))).collect();
        let picks = nodes().filter_map(|(n, t)| Some((n, picks_of(t)?))).collect();
        Ok(Self {
            workflow_id: id,
            name,
            version,
            edition: Arc::default(),
            needs,
            picks,
            concurrency: compiled.plan().limits.concurrency,
            same: same_needs(&compiled),
            input: schema(&compiled.plan().input_schema)?,
            outputs,
            inputs,
            forms,
            signals: signals_of(&compiled)?,
            checked: ArcSwapOption::empty(),
            compiled,
        })
    }

    /// The same workflow with the plan that an execution goes on with.
    ///
    /// # Errors
    /// A JSON Schema of the plan that does not compile.
    pub(crate) fn changed(&self, compiled: &Arc<Compiled>) -> Result<Self, String> {
        let names = (self.workflow_id, self.name.clone(), self.version.clone());
        Ok(Self { concurrency: self.concurrency, ..Self::of(names, compiled.clone())? })
    }

    /// What an execution of it takes a place of.
    pub(crate) fn claim(&self, tenant: &base::Tenant) -> crate::engine::Claim {
        crate::engine::Claim { tenant: tenant.clone(), workflow: self.workflow_id, limit: self.concurrency() }
    }

    /// What the task needs: as its plan says, or as an earlier answer named.
    pub(crate) fn need(&self, state: &State, task: u32) -> Option<&Arc<NeedClass>> {
        let own = state.tasks().get(task as usize)?;
        let named = || self.picks.get(&own.node())?.get(&**own.picked()?);
        named().or_else(|| self.needs.get(own.node() as usize))
    }

    /// Checks the form that somebody fills in for an approval; the error names the place in it.
    ///
    /// # Errors
    /// The form breaks its schema.
    pub(crate) fn check_form(&self, node: u32, form: &base::Payload) -> Result<(), String> {
        check(self.forms.get(&node), form, "form")
    }

    /// Checks what a signal says against every schema that the plan gives for its name; the error names the place in it.
    ///
    /// # Errors
    /// The payload breaks one of them.
    pub(crate) fn check_signal(&self, name: &str, payload: &base::Payload) -> Result<(), String> {
        let schemas = self.signals.get(name).into_iter().flatten();
        schemas.into_iter().try_for_each(|schema| check(Some(schema), payload, "payload"))
    }

    /// Checks the execution's input; the error names the place in it.
    pub fn check_input(&self, input: &base::Payload) -> Result<(), Fault> {
        let Some(validator) = &self.input else { return Ok(()) };
        let bad = |what: String, place: String| {
            Err(Fault::new(ErrorCode::InvalidArgument, what).field(format!("input{place}")))
        };
        let Some(value) = input.json() else { return bad("the input is not JSON".into(), String::new()) };
        match validator.iter_errors(&value).next() {
            Some(e) => {
                bad(format!("the input breaks the workflow's schema: {e}"), e.instance_path().to_string())
            }
            None => Ok(()),
        }
    }

    /// Checks what an agent answered for a task of this node.
    pub fn check_output(&self, node: u32, output: &base::Payload) -> Result<(), String> {
        check(self.outputs.get(node as usize).and_then(Option::as_ref), output, "output")
    }

    /// Checks what an agent is about to be given for a task of this node.
    pub fn check_task_input(&self, node: u32, input: &base::Payload) -> Result<(), String> {
        check(self.inputs.get(node as usize).and_then(Option::as_ref), input, "input")
    }

    /// Gives each task its agent: no plan with these agents is done earlier, and what is not critical goes to the
    /// cheapest that keeps it so. The dispatcher prefers them, and those that are as good, from then on.
    ///
    /// # Errors
    /// `insufficient_resources` when no registered agent can ever serve a task.
    pub async fn allot(self: &Arc<Self>, fleet: &Arc<Snapshot>) -> Result<Arc<Allotted>, Fault> {
        let known = self.checked.load();
        if let Some((_, result)) = known.as_deref().filter(|(seen, _)| Arc::ptr_eq(seen, fleet)) {
            return result.clone();
        }
        let result = if self.needs.len() <= TASKS_INLINE_MAX {
            self.look_for(fleet)
        } else {
            let (own, fleet) = (self.clone(), fleet.clone());
            let looked = tokio::task::spawn_blocking(move || own.look_for(&fleet)).await;
            looked.map_err(|_| Fault::internal())?
        };
        self.checked.store(Some(Arc::new((fleet.clone(), result.clone()))));
        result
    }

    fn look_for(&self, fleet: &Snapshot) -> Result<Arc<Allotted>, Fault> {
        let tasks = &self.compiled.plan().tasks;
        let mut candidates = BTreeSet::new();
        let (mut agents, mut capacities) = (HashMap::new(), Vec::new());
        let mut choices: HashMap<u32, Vec<Choice>> = HashMap::new();
        let mut matches = HashMap::new();
        let nodes = (0..self.compiled.nodes()).map(|t| (t, self.compiled.node(t)));
        for (t, task) in nodes.filter(|(t, _)| self.same[*t as usize] == Some(*t)) {
            let matched = fleet.matches(&self.needs[t as usize].need);
            if let Outcome::Never(reason) = &matched.outcome {
                let text =
                    format!("task {} can never run: {reason}; register an agent that can do it", task.id);
                return Err(Fault::new(ErrorCode::InsufficientResources, text).field(task.id.clone()));
            }
            let shown = matched.candidates.iter().take(CANDIDATES_MAX);
            candidates.extend(shown.map(|c| Arc::<str>::from(c.agent.id().as_str())));
            let choice = |c: &Candidate| {
                let agent = *agents.entry(c.agent.id().clone()).or_insert_with(|| {
                    capacities.push(u32::try_from(c.agent.capacity()).unwrap_or(u32::MAX));
                    capacities.len() as u32 - 1
                });
                Choice { agent, duration: task.expected.or(c.expected), cost: c.cost }
            };
            choices.insert(t, matched.choices(CHOICES_MAX).into_iter().map(choice).collect());
            matches.insert(t, matched);
        }
        let none = Vec::new();
        let jobs = tasks.iter().zip(&self.same).map(|(task, same)| Job {
            after: &task.after,
            calls: language::calls(task),
            choices: same.and_then(|same| choices.get(&same)).unwrap_or(&none),
        });
        let jobs: Vec<Job<'_>> = jobs.collect();
        let calls_max = self.compiled.plan().limits.max_calls.unwrap_or(u32::MAX);
        let allocation = language::allocate(&jobs, &capacities, calls_max);
        for (t, (given, same)) in allocation.jobs.iter().zip(&self.same).enumerate() {
            let of_it = same.and_then(|same| matches.get(&same)).zip(given.choice);
            let preferred = of_it.and_then(|(of_it, at)| {
                let chosen = *of_it.choices(CHOICES_MAX).get(at as usize)?;
                let good: Vec<_> = of_it.as_good_as(chosen, tasks[t].expected).collect();
                // When one is as good as the other there is nothing to prefer.
                let some = good.len() < of_it.candidates.len();
                some.then(|| Preference::new(good.iter().map(|c| c.agent.id().clone()), given.slack))
            });
            self.needs[t].prefer(preferred);
        }
        Ok(Arc::new(Allotted { candidates: candidates.into_iter().collect(), estimated: allocation.length }))
    }

    /// Executions of the workflow at once, when it limits them above one (one is a unique row instead).
    pub fn concurrency(&self) -> Option<u32> {
        self.concurrency.filter(|n| *n > 1)
    }

    /// Whether only one execution may be active.
    pub fn exclusive(&self) -> bool {
        self.concurrency == Some(1)
    }
}

/// Schemas of what agents declare they answer, compiled once for each revision of an agent.
pub(crate) struct CapabilitySchemas(moka::sync::Cache<(base::AgentId, u64, String), Option<Arc<Validator>>>);

impl Default for CapabilitySchemas {
    fn default() -> Self {
        Self(moka::sync::Cache::new(10_000))
    }
}

impl CapabilitySchemas {
    /// Checks an answer against the output schema of the capability, when it declares one.
    pub(crate) fn check_output(
        &self,
        agent: &catalog::AgentEntry,
        capability: &str,
        output: &base::Payload,
    ) -> Result<(), String> {
        let Some(schema) = agent.definition.capability(capability).and_then(|c| c.output_schema.as_ref())
        else {
            return Ok(());
        };
        let key = (agent.id().clone(), agent.revision, capability.to_owned());
        // The registry refuses schemas that do not compile; one that does not is no reason to refuse an answer.
        let compiled = self.0.get_with(key, || validator(schema).ok().map(Arc::new));
        check(compiled.as_deref(), output, "output")
    }
}

pub(crate) fn check(
    validator: Option<&Validator>,
    payload: &base::Payload,
    what: &str,
) -> Result<(), String> {
    let Some(validator) = validator else { return Ok(()) };
    let value = payload.json().ok_or_else(|| format!("the {what} is not JSON, its schema asks for it"))?;
    match validator.iter_errors(&value).next() {
        Some(e) => Err(format!("the {what} breaks its schema at {:?}: {e}", e.instance_path().to_string())),
        None => Ok(()),
    }
}

pub(crate) fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::options().build(schema).map_err(|e| format!("a JSON Schema does not compile: {e}"))
}

fn need_of(task: &TaskPlan, need: &workflow::plan::Need) -> Need {
    Need {
        agent: need.agent.clone(),
        agent_type: need.agent_type.clone(),
        capabilities: need.capabilities.clone(),
        capability: need.capability.clone(),
        tags: need.tags.clone(),
        requirements: need.requirements.clone(),
        resources: task.resources,
        region: None,
    }
}

fn form_of(task: &TaskPlan) -> Option<&Value> {
    match &task.kind {
        NodeKind::Wait(Wait::Approval(approval)) => approval.form.as_ref(),
        _ => None,
    }
}

/// A name means one thing in an execution: whoever takes the signal, it fits what each of its waits asks for.
fn signals_of(compiled: &Compiled) -> Result<BTreeMap<String, Vec<Validator>>, String> {
    let mut out: BTreeMap<String, Vec<Validator>> = BTreeMap::new();
    let mut known: Vec<(&str, &Value)> = Vec::new();
    for node in 0..compiled.nodes() {
        let NodeKind::Wait(Wait::Signal { name, schema: Some(schema) }) = &compiled.node(node).kind else {
            continue;
        };
        if !known.contains(&(name.as_str(), schema)) {
            known.push((name, schema));
            out.entry(name.clone()).or_default().push(validator(schema)?);
        }
    }
    Ok(out)
}

fn picks_of(task: &TaskPlan) -> Option<BTreeMap<String, Arc<NeedClass>>> {
    let class = |need| Arc::new(NeedClass::new(need_of(task, need)));
    Some(task.pick.as_ref()?.among.iter().map(|(name, need)| (name.clone(), class(need))).collect())
}

/// For each node the first one with the same need and the same time; `None` for those that call nobody.
fn same_needs(compiled: &Compiled) -> Vec<Option<u32>> {
    let mut first: HashMap<String, u32> = HashMap::new();
    let same = (0..compiled.nodes()).map(|n| {
        let task = compiled.node(n);
        // Whom an answer will name is not known yet.
        if task.kind != NodeKind::Call || task.pick.is_some() {
            return None;
        }
        let key = format!("{:?} {:?} {:?}", task.need, task.resources, task.expected);
        Some(*first.entry(key).or_insert(n))
    });
    same.collect()
}
