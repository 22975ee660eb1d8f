//! Names of tasks: what people, commands and message ids see; and where a task stands.

use std::sync::Arc;

use base::Payload;

use crate::{
    facts::{ChildStart, UserEvent},
    plan::{Need, NodeKind, TaskPlan, Wait},
    state::State,
    turn::Turn,
    wait::{Asked, Waiting},
};

impl State {
    /// What the task at `task` is.
    ///
    /// # Panics
    /// When there is no task of this index; indices come from [`State::tasks`] and its calls.
    pub fn task_plan(&self, task: u32) -> &TaskPlan {
        self.plan.node(self.tasks[task as usize].node)
    }

    /// Its id in the plan; in a turn after the path of the scope and the turn's number, `improve[2].draft`; a
    /// compensation after what it undoes, `book:compensate`.
    pub fn task_path(&self, task: u32) -> String {
        let Some(state) = self.tasks.get(task as usize) else { return task.to_string() };
        let turn = &self.turns[state.turn as usize];
        let removed = state.more.as_ref().and_then(|m| m.removed.as_deref());
        let own = removed.unwrap_or(self.plan.node(state.node).id.as_str());
        match turn.scope {
            None => own.to_owned(),
            Some(undone) if turn.undo => format!("{}:compensate", self.task_path(undone)),
            Some(scope) => format!("{}[{}].{own}", self.task_path(scope), turn.number),
        }
    }

    /// The task with this path. After a reset the newest one.
    pub fn find_task(&self, path: &str) -> Option<u32> {
        let plain = !path.contains(['[', ':']);
        if plain && self.revision == 0 {
            return self.plan.task_index(path);
        }
        let live = |t: &u32| self.is_live(self.tasks[*t as usize].turn) && self.task_path(*t) == path;
        (0..self.tasks.len() as u32).rev().find(live)
    }

    /// Whether no reset has dropped the turn, or one around it.
    pub(crate) fn is_live(&self, turn: u32) -> bool {
        let mut index = turn;
        loop {
            let at = &self.turns[index as usize];
            let Some(owner) = at.scope else { return true };
            let own = self.tasks[owner as usize].turns().map_or(&[][..], |s| &s.turns);
            if !at.undo && own.get(at.number as usize) != Some(&index) {
                return false;
            }
            index = self.tasks[owner as usize].turn;
        }
    }

    /// Tasks that stand before `task`, in the order of the plan.
    pub fn before(&self, task: u32) -> Vec<u32> {
        let Some(state) = self.tasks.get(task as usize) else { return Vec::new() };
        let turn = &self.turns[state.turn as usize];
        self.plan.node(state.node).after.iter().map(|&offset| turn.task(offset)).collect()
    }

    /// The execution itself (number 0) and every turn of every scope.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The turn that `task` stands in; `None` for a task of the plan itself.
    pub fn turn_of(&self, task: u32) -> Option<&Turn> {
        let turn = self.tasks.get(task as usize)?.turn;
        (turn != 0).then(|| &self.turns[turn as usize])
    }

    /// Which agents may do the task: as its plan says, or as an earlier answer named.
    pub fn need(&self, task: u32) -> &Need {
        let plan = self.task_plan(task);
        let picked = self.tasks[task as usize].picked();
        let named = picked.zip(plan.pick.as_ref()).and_then(|(name, pick)| pick.among.get(&**name));
        named.unwrap_or(&plan.need)
    }

    /// The sub-workflow that the task started.
    pub fn child(&self, task: u32) -> Option<&Arc<ChildStart>> {
        match self.tasks.get(task as usize)?.waiting()? {
            Waiting::Child { child, .. } => Some(child),
            _ => None,
        }
    }

    /// The event that the task publishes.
    pub fn emitted(&self, task: u32) -> Option<&Arc<UserEvent>> {
        match self.tasks.get(task as usize)?.waiting()? {
            Waiting::Publish { event, .. } => Some(event),
            _ => None,
        }
    }

    /// What the task asks people.
    pub fn approval(&self, task: u32) -> Option<&Asked> {
        match self.tasks.get(task as usize)?.waiting()? {
            Waiting::Approval(asked) => Some(asked),
            _ => None,
        }
    }

    /// Principals who may answer the approval now; empty = anybody with the right to operate executions.
    pub fn may_answer(&self, task: u32) -> Vec<String> {
        let (Some(asked), NodeKind::Wait(Wait::Approval(plan))) =
            (self.approval(task), &self.task_plan(task).kind)
        else {
            return Vec::new();
        };
        if plan.who.is_empty() {
            return Vec::new();
        }
        let later = plan.escalate.iter().take(asked.escalated as usize).flat_map(|step| &step.who);
        plan.who.iter().chain(later).cloned().collect()
    }

    /// The signals that tasks wait for now, with their tasks.
    pub fn awaited_signals(&self) -> impl Iterator<Item = (u32, &str)> {
        (0..self.tasks.len() as u32).filter_map(|t| {
            let open =
                matches!(self.tasks[t as usize].waiting(), Some(Waiting::Signal { payload: None, .. }));
            match &self.task_plan(t).kind {
                NodeKind::Wait(Wait::Signal { name, .. }) if open => Some((t, name.as_str())),
                _ => None,
            }
        })
    }

    /// Variables as they stand; `None` before the first are set.
    pub fn vars(&self) -> Option<&serde_json::Value> {
        self.vars.as_deref()
    }

    /// The input that tasks scheduled from now on see.
    pub fn input(&self) -> &Payload {
        self.inputs.last().map_or(&self.created.input, |(_, input)| input)
    }

    /// How often the plan was changed while it ran.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// The topic that drives the task, when events do.
    pub fn driven_by(&self, task: u32) -> Option<&str> {
        match self.modes.get(&task) {
            Some(switched) => switched.as_deref(),
            None if self.plan.plan().event_driven.is_empty() => None,
            None => {
                let state = self.tasks.get(task as usize).filter(|t| t.turn == 0)?;
                self.plan.plan().event_driven.get(&self.plan.node(state.node).id).map(String::as_str)
            }
        }
    }

    /// The task whose compensation the turn (or one around it) is.
    pub(crate) fn undo_of(&self, turn: u32) -> Option<u32> {
        let mut at = &self.turns[turn as usize];
        loop {
            match at.scope {
                Some(task) if at.undo => return Some(task),
                Some(task) => at = &self.turns[self.tasks[task as usize].turn as usize],
                None => return None,
            }
        }
    }
}
