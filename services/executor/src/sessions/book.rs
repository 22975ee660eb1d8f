//! Loading and changing sessions. Every change reads, decides, and writes when nobody was faster.

use std::sync::Arc;

use api::Fault;
use base::{CallContext, Clock, ErrorCode, ExecutionId, Payload, Tenant};
use serde_json::{Map, Value};
use store::sessions::{MemberRow, SavedExecution, SessionChange, SessionRow, SessionStore, TurnRow};
use uuid::Uuid;
use workflow::plan::SessionSpec;

use super::rules::{self, SessionOptions, Stamp, Vars};
use crate::engine::{Engine, away};

/// How often a change is tried again when others were faster.
const TRIES_MAX: usize = 50;
/// Executions that one start saves before it loads, at most; the sweep takes the rest.
const BEFORE_START_MAX: u32 = 100;

/// The sessions of all tenants.
#[derive(Clone)]
pub struct Sessions {
    pub(super) store: SessionStore,
    pub(super) engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Arc<SessionOptions>,
}

/// What an execution is started with.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The session.
    pub session: Arc<str>,
    /// Its variables: an object.
    pub vars: Payload,
    /// Its newest turns, oldest first: a list.
    pub history: Payload,
}

/// What a change adds beside the variables.
#[derive(Default)]
pub(super) struct Leavings {
    /// Role, parts and execution of turns that are appended.
    pub(super) turns: Vec<(String, String, Option<ExecutionId>)>,
    pub(super) saved: Option<SavedExecution>,
}

impl Sessions {
    /// Over the executor's tables. Times of changes are `clock`'s.
    pub fn new(store: SessionStore, engine: Engine, clock: Arc<dyn Clock>, options: SessionOptions) -> Self {
        Self { store, engine, clock, options: Arc::new(options) }
    }

    /// The bounds.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// An execution is about to start in a session, which is made when it is not there. What executions of the session
    /// left that have ended is saved first: whoever saw one end and starts the next sees what it left.
    ///
    /// # Errors
    /// `invalid_argument` for the id, `already_exists` when the execution belongs to another session.
    pub async fn open(
        &self,
        tenant: &Tenant,
        session: &str,
        (execution, workflow): (ExecutionId, &str),
        spec: Option<&SessionSpec>,
    ) -> Result<Snapshot, Fault> {
        rules::check_id(session)?;
        let now = self.clock.now();
        self.store.create(tenant, session, now).await.map_err(away)?;
        self.store.join(tenant, session, execution, workflow, now).await.map_err(away)?;
        let unsaved = self.store.unsaved(tenant, session, BEFORE_START_MAX).await.map_err(away)?;
        for ended in unsaved {
            self.save(tenant, ended).await?;
        }
        let row = self.row(tenant, session).await?;
        let names = spec.map_or(&[][..], |spec| &spec.load);
        let vars = rules::loaded(&read_vars(&row)?, names);
        let turns = spec.map_or(self.options.history, |spec| spec.history);
        let turns = match turns {
            0 => Vec::new(),
            n => self.store.newest_turns(tenant, session, n).await.map_err(away)?,
        };
        Ok(Snapshot {
            session: session.into(),
            vars: Payload::from_value(&Value::Object(vars)),
            history: Payload::from_value(&turns.iter().map(rules::shown).collect::<Value>()),
        })
    }

    pub(super) async fn row(&self, tenant: &Tenant, session: &str) -> Result<SessionRow, Fault> {
        let row = self.store.get(tenant, session).await.map_err(away)?;
        row.ok_or_else(|| Fault::not_found("session", session))
    }

    /// Reads the session, lets `decide` change its variables, and writes it with what is left beside them, again until
    /// nobody was faster.
    pub(super) async fn change<T>(
        &self,
        tenant: &Tenant,
        session: &str,
        by: &str,
        mut decide: impl FnMut(&mut Vars, Stamp<'_>) -> Result<(T, Leavings), Fault>,
    ) -> Result<(T, SessionRow), Fault> {
        for _ in 0..TRIES_MAX {
            let mut row = self.row(tenant, session).await?;
            let mut vars = read_vars(&row)?;
            let now = self.clock.now().max(row.updated_at);
            let stamp = Stamp { version: row.version + 1, now, by };
            let (answer, leavings) = decide(&mut vars, stamp)?;
            row.vars = serde_json::to_string(&vars).map_err(|_| Fault::internal())?;
            row.vars_count = vars.len() as u64;
            row.updated_at = now;
            let (turns, keep_from) = self.append(&mut row, &leavings).await?;
            let change = SessionChange { row, turns, keep_from, saved: leavings.saved };
            if self.store.change(&change, Uuid::now_v7()).await.map_err(away)? {
                let mut row = change.row;
                row.version += 1;
                return Ok((answer, row));
            }
            if self.is_saved(&change).await? {
                return Ok((answer, change.row));
            }
        }
        let text = format!("session {session} is changed by many at once: try again");
        Err(Fault::new(ErrorCode::Unavailable, text).retry_after_ms(200))
    }

    /// Whether somebody else has saved what this change was to save.
    async fn is_saved(&self, change: &SessionChange) -> Result<bool, Fault> {
        let Some(saved) = &change.saved else { return Ok(false) };
        let member = self.member(&change.row.tenant, saved.execution_id).await?;
        Ok(member.is_none_or(|member| member.saved_at.is_some()))
    }

    /// Numbers new turns, and finds which old ones go. Counts in `row` are those after the change.
    async fn append(&self, row: &mut SessionRow, leavings: &Leavings) -> Result<(Vec<TurnRow>, u64), Fault> {
        let options = &self.options;
        let mut turns = Vec::with_capacity(leavings.turns.len());
        for (role, parts, execution_id) in &leavings.turns {
            let bytes = (role.len() + parts.len()) as u64;
            row.turns_total += bytes;
            turns.push(TurnRow {
                turn: row.turns_next,
                role: role.clone(),
                parts: parts.clone(),
                execution_id: *execution_id,
                at: row.updated_at,
                bytes,
                ends: row.turns_total,
            });
            row.turns_next += 1;
            row.turns_count += 1;
            row.turns_bytes += bytes;
        }
        if row.turns_count <= options.turns_max && row.turns_bytes <= options.turns_bytes_max {
            return Ok((turns, 0));
        }
        let first = row.turns_next.saturating_sub(options.turns_max).max(1);
        let begins = row.turns_total.saturating_sub(options.turns_bytes_max);
        let stored =
            self.store.first_kept(&row.tenant, &row.session_id, first, begins).await.map_err(away)?;
        let fits = |turn: &&TurnRow| turn.turn >= first && turn.ends - turn.bytes >= begins;
        let kept = stored.as_ref().or_else(|| turns.iter().find(fits));
        let (keep_from, start) =
            kept.map_or((row.turns_next, row.turns_total), |turn| (turn.turn, turn.ends - turn.bytes));
        row.turns_count = row.turns_next - keep_from;
        row.turns_bytes = row.turns_total - start;
        turns.retain(|turn| turn.turn >= keep_from);
        Ok((turns, keep_from))
    }

    /// Makes an empty session.
    pub(super) async fn create(&self, context: &CallContext, id: &str) -> Result<SessionRow, Fault> {
        rules::check_id(id)?;
        if !self.store.create(&context.tenant, id, self.clock.now()).await.map_err(away)? {
            return Err(
                Fault::new(ErrorCode::AlreadyExists, format!("session {id} exists")).field("session_id")
            );
        }
        self.row(&context.tenant, id).await
    }

    /// Sets one variable.
    pub(super) async fn set(
        &self,
        context: &CallContext,
        session: &str,
        (name, value): (&str, Value),
        expected: Option<u64>,
    ) -> Result<rules::Var, Fault> {
        let changed = self.change(&context.tenant, session, who(context), |vars, stamp| {
            rules::set(vars, (name, value.clone()), expected, stamp, &self.options)?;
            Ok((vars.get(name).cloned(), Leavings::default()))
        });
        changed.await?.0.ok_or_else(Fault::internal)
    }

    /// Deletes one variable.
    pub(super) async fn unset(
        &self,
        context: &CallContext,
        session: &str,
        name: &str,
        expected: Option<u64>,
    ) -> Result<(), Fault> {
        let changed = self.change(&context.tenant, session, who(context), |vars, _| {
            rules::delete(vars, name, expected)?;
            Ok(((), Leavings::default()))
        });
        changed.await.map(drop)
    }

    /// Adds a turn.
    pub(super) async fn say(
        &self,
        context: &CallContext,
        session: &str,
        role: &str,
        content: &Payload,
    ) -> Result<TurnRow, Fault> {
        rules::check_name("role", role)?;
        let parts = rules::parts(content).to_string();
        let (bytes, max) = ((parts.len() + role.len()) as u64, self.options.turns_bytes_max);
        if bytes > max {
            let text = format!("the turn has {bytes} bytes, the limit is {max} (sessions.turns_size_max)");
            return Err(Fault::new(ErrorCode::PayloadTooLarge, text).field("content"));
        }
        let turn = (role.to_owned(), parts.clone(), None);
        let changed = self.change(&context.tenant, session, who(context), |_, _| {
            Ok(((), Leavings { turns: vec![turn.clone()], saved: None }))
        });
        let ((), row) = changed.await?;
        Ok(TurnRow {
            turn: row.turns_next - 1,
            role: role.to_owned(),
            parts,
            execution_id: None,
            at: row.updated_at,
            bytes,
            ends: row.turns_total,
        })
    }

    /// The execution as a member of its session.
    pub async fn member(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Option<MemberRow>, Fault> {
        self.store.member(tenant, execution).await.map_err(away)
    }
}

fn who(context: &CallContext) -> &str {
    if context.principal.is_empty() { "anonymous" } else { &context.principal }
}

pub(super) fn read_vars(row: &SessionRow) -> Result<Vars, Fault> {
    serde_json::from_str(&row.vars).map_err(|e| {
        tracing::error!(session = %row.session_id, error = %e, "the variables of a session cannot be read");
        Fault::internal()
    })
}

/// The members of an object; none for anything else.
pub(super) fn members(payload: Option<&Payload>) -> Map<String, Value> {
    payload.and_then(Payload::json).and_then(|value| value.as_object().cloned()).unwrap_or_default()
}
