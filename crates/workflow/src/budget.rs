//! What an execution may spend: reserved before a call leaves, lent to sub-workflows until they end, settled after.
//!
//! A sub-workflow is lent its task's own share, or all that is left. While only loans stand between a task and the budget,
//! the task waits for them to come back; when the budget is spent it fails. So all executions below one another together
//! stay within the limit of the first, whatever runs beside what.

use base::ExecutionId;

use crate::{
    event::CallKey,
    facts::{ChildStart, Spending},
    plan::{Budget, NodeKind},
    state::State,
};

impl State {
    /// What was spent so far, by this execution and its sub-workflows that ended.
    pub fn spent(&self) -> Spending {
        self.spent
    }

    /// What calls under way may still spend, and what sub-workflows under way were lent.
    pub fn reserved(&self) -> Spending {
        self.reserved.plus(self.lent())
    }

    /// What the parent of a sub-workflow is told that it spent, when it has ended. What it lent itself and has not come back
    /// (to a detached sub-workflow, or to one that was cancelled with it) counts as spent: nobody hears of it any more.
    pub fn spent_at_end(&self) -> Spending {
        self.spent.plus(self.lent())
    }

    /// What it may spend: the lower of the plan's and the start's limits; 0 = no limit.
    pub fn budget(&self) -> Budget {
        let (plan, start) = (&self.plan.plan().limits.budget, &self.created.settings.budget);
        let lower = |a: u64, b: u64| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        Budget {
            calls: lower(plan.calls, start.calls),
            tokens: lower(plan.tokens, start.tokens),
            money_micros: lower(plan.money_micros, start.money_micros),
            depth: lower(u64::from(plan.depth), u64::from(start.depth)) as u32,
        }
    }

    /// Whether the call may leave now: there is a place under [`State::calls_max`], and nothing that it needs of the budget
    /// is lent to a sub-workflow.
    pub fn has_room(&self, call: CallKey) -> bool {
        self.room() > 0 && !self.waits_for_loans(call.task)
    }

    /// The task that started a sub-workflow which has not ended, reset or not.
    pub fn task_of_child(&self, execution: ExecutionId) -> Option<u32> {
        self.loans.get(&execution).map(|(task, _)| *task)
    }

    fn lent(&self) -> Spending {
        self.loans.values().fold(Spending::default(), |sum, (_, loan)| sum.plus(*loan))
    }

    /// Whether the task may not go on now, and may once sub-workflows give back what they do not spend.
    fn waits_for_loans(&self, task: u32) -> bool {
        if self.loans.is_empty() || !self.is_bound(task) {
            return false;
        }
        let enough = |held| match self.task_plan(task).kind {
            NodeKind::Call => self.short(task, held).is_none(),
            NodeKind::Child(_) => self.left(task, held).is_some(),
            _ => true,
        };
        !enough(self.reserved()) && enough(self.reserved)
    }

    /// Whether the sub-workflow of a task that may start waits for others to give back what they do not spend. A call that
    /// does is ready meanwhile: its limits of waiting hold.
    pub(crate) fn starts_later(&self, task: u32) -> bool {
        !self.loans.is_empty()
            && matches!(self.task_plan(task).kind, NodeKind::Child(_))
            && self.waits_for_loans(task)
    }

    /// Why the budget allows no further call of the task.
    pub(crate) fn overspent(&self, task: u32) -> Option<String> {
        if self.is_bound(task) { self.short(task, self.reserved()) } else { None }
    }

    /// What the sub-workflow of a task may spend; `None` = nothing is left.
    pub(crate) fn loan(&self, task: u32) -> Option<Budget> {
        if self.is_bound(task) {
            return self.left(task, self.reserved());
        }
        Some(Budget { depth: self.budget().depth, ..Budget::default() })
    }

    /// Compensation is not held to the budget.
    fn is_bound(&self, task: u32) -> bool {
        self.undo_of(self.tasks[task as usize].turn).is_none()
    }

    fn short(&self, task: u32, held: Spending) -> Option<String> {
        let (budget, spent, next) = (self.budget(), self.spent, self.task_plan(task).spend);
        let over = |limit: u64, spent: u64, held: u64, next: u64| {
            limit > 0 && spent.saturating_add(held).saturating_add(next.max(1)) > limit
        };
        if over(budget.calls, spent.calls, held.calls, 1) {
            return Some(format!("the budget of {} calls is spent", budget.calls));
        }
        if over(budget.tokens, spent.tokens, held.tokens, next.tokens) {
            let (limit, left) = (budget.tokens, budget.tokens.saturating_sub(spent.tokens + held.tokens));
            let need = next.tokens;
            return Some(format!("the budget of {limit} tokens has {left} left, the call needs {need}"));
        }
        if over(budget.money_micros, spent.money_micros, held.money_micros, next.money_micros) {
            let limit = budget.money_micros;
            let left = limit.saturating_sub(spent.money_micros + held.money_micros);
            let need = next.money_micros;
            return Some(format!("the budget of {limit} millionths has {left} left, the call needs {need}"));
        }
        None
    }

    /// The task's own share, at most what is left; without a share all of it.
    fn left(&self, task: u32, held: Spending) -> Option<Budget> {
        let (all, gone) = (self.budget(), self.spent.plus(held));
        let own = self.task_plan(task).spend;
        let left = |limit: u64, gone: u64, own: u64| match (limit, own) {
            (0, own) => Some(own),
            (limit, own) => match limit.saturating_sub(gone) {
                0 => None,
                left if own == 0 => Some(left),
                left => Some(left.min(own)),
            },
        };
        Some(Budget {
            calls: left(all.calls, gone.calls, own.calls)?,
            tokens: left(all.tokens, gone.tokens, own.tokens)?,
            money_micros: left(all.money_micros, gone.money_micros, own.money_micros)?,
            depth: all.depth,
        })
    }

    /// A sub-workflow starts with what it was given.
    pub(crate) fn lend(&mut self, task: u32, child: &ChildStart) {
        let Budget { calls, tokens, money_micros, .. } = child.budget;
        if child.lent {
            self.loans.insert(child.execution, (task, Spending { calls, tokens, money_micros }));
        }
    }

    /// A sub-workflow ended and spent this; the rest of what it was lent comes back.
    pub(crate) fn settle_loan(&mut self, child: Option<ExecutionId>, spent: Spending) {
        self.spent = self.spent.plus(spent);
        if let Some(child) = child {
            self.loans.remove(&child);
        }
    }
}
