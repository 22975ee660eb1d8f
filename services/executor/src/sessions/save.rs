//! What an execution leaves behind.

use api::Fault;
use base::{ExecutionId, Payload, Tenant};
use serde_json::{Map, Value};
use store::sessions::SavedExecution;
use workflow::{State, Status, fold};

use super::{
    book::{Leavings, Sessions, members},
    rules::{check_vars, fitting, lay_over, parts},
};
use crate::engine::{ReadBack, away};

/// An execution that has ended, as far as its session is concerned.
struct Ended {
    session: String,
    status: Status,
    /// What it loaded.
    base: Map<String, Value>,
    /// What it leaves; or why it cannot be said.
    ours: Result<Map<String, Value>, String>,
    input: Payload,
    output: Option<Payload>,
}

impl Sessions {
    /// Saves what an execution left, once. An execution that did not complete leaves nothing but its place in the list:
    /// half of its work is no conversation.
    ///
    /// # Errors
    /// When the store or the planner is away: nothing was saved, and the next look finds it again.
    pub async fn save(&self, tenant: &Tenant, id: ExecutionId) -> Result<(), Fault> {
        let Some(member) = self.store.member(tenant, id).await.map_err(away)? else { return Ok(()) };
        if member.saved_at.is_some() {
            return Ok(());
        }
        let Some(ended) = self.ended(tenant, id, member.session_id).await? else { return Ok(()) };
        let by = format!("execution {id}");
        let changed = self.change(tenant, &ended.session, &by, |vars, stamp| {
            Ok(((), self.leavings(&ended, id, vars, stamp)))
        });
        match changed.await {
            Ok(_) => {}
            // Deleted meanwhile: there is nothing to save into.
            Err(fault) if fault.code == base::ErrorCode::NotFound => {
                let note = "the session was deleted".to_owned();
                let saved = SavedExecution { execution_id: id, status: ended.status.as_str().into(), note };
                self.store.mark_saved(tenant, &saved, self.clock.now()).await.map_err(away)?;
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn leavings(
        &self,
        ended: &Ended,
        id: ExecutionId,
        vars: &mut super::rules::Vars,
        stamp: super::rules::Stamp<'_>,
    ) -> Leavings {
        let mut notes = Vec::new();
        let mut turns = Vec::new();
        if ended.status == Status::Completed {
            match &ended.ours {
                Err(why) => notes.push(format!("its variables were not saved: {why}")),
                Ok(ours) => {
                    let mut next = vars.clone();
                    let conflicts = lay_over(&mut next, &ended.base, ours.clone(), stamp);
                    match check_vars(&next, &self.options) {
                        Err(fault) => notes.push(format!("its variables were not saved: {fault}")),
                        Ok(()) => {
                            *vars = next;
                            if !conflicts.is_empty() {
                                let names = conflicts.join(", ");
                                notes.push(format!(
                                    "others had changed {names} meanwhile; the changes were joined"
                                ));
                            }
                        }
                    }
                }
            }
            let room = self.options.turns_bytes_max / 4;
            let said = |role: &str, what: &Payload| (role.to_owned(), fitting(parts(what), room), Some(id));
            turns.push(said("user", &ended.input));
            turns.extend(ended.output.iter().map(|output| said("agent", output)));
        } else {
            notes.push("it did not complete: nothing of it was saved".to_owned());
        }
        let status = ended.status.as_str().to_owned();
        let saved = SavedExecution { execution_id: id, status, note: notes.join("; ") };
        Leavings { turns, saved: Some(saved) }
    }

    /// `None`: it has not ended (or is gone).
    async fn ended(&self, tenant: &Tenant, id: ExecutionId, session: String) -> Result<Option<Ended>, Fault> {
        let shared = self.engine.shared();
        let read = shared.read(id).await?.filter(|r| r.row.tenant == *tenant && r.row.completed_at.is_some());
        let Some((row, events)) = read.map(ReadBack::events) else { return Ok(None) };
        let plan = shared.plan_by_id(tenant, row.workflow_id, &row.workflow_version).await?;
        let state = fold(id, plan.compiled.clone(), &events).ok_or_else(Fault::internal)?;
        if !state.status().is_final() {
            return Ok(None);
        }
        let settings = &state.created().settings;
        Ok(Some(Ended {
            session,
            status: state.status(),
            base: members(settings.vars.as_ref()),
            ours: left(&state),
            input: state.created().input.clone(),
            output: state.output().cloned(),
        }))
    }
}

/// The variables that an execution leaves: what its workflow says, else its variables as they stand.
fn left(state: &State) -> Result<Map<String, Value>, String> {
    match state.session_vars().map_err(|e| e.to_string())? {
        Value::Object(members) => Ok(members),
        _ => Err("session.save is no object".to_owned()),
    }
}
