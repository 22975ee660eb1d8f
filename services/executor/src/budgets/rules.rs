//! What is left, and of what. Pure.

use api::Fault;
use base::{ErrorCode, Timestamp};
use store::budgets::{Amounts, BudgetRow, UsageRow};
use workflow::{Event, Kind, plan::Budget};

use crate::engine::FROM_CACHE;

/// Periods of budgets, as callers write them.
pub(super) const PERIODS: [&str; 3] = ["day", "month", "total"];

/// The spans that `now` lies in, one for each of [`PERIODS`]. Days and months are those of UTC.
pub(super) fn spans(now: Timestamp) -> [String; 3] {
    let text = now.rfc3339();
    let part = |bytes: usize| text.get(..bytes).unwrap_or_default();
    [format!("day:{}", part(10)), format!("month:{}", part(7)), "total".to_owned()]
}

/// The span of a budget's period that `now` lies in.
pub(super) fn span(period: &str, now: Timestamp) -> String {
    let at = PERIODS.iter().position(|p| *p == period).unwrap_or(2);
    let [day, month, total] = spans(now);
    [day, month, total].into_iter().nth(at).unwrap_or_default()
}

/// What an execution spent. An answer from the cache is no call. Sub-workflows are executions of their own.
pub(super) fn spent(events: &[Event]) -> Amounts {
    let mut sum = Amounts::default();
    for event in events {
        match &event.kind {
            Kind::AttemptStarted { to, .. } if &*to.reason != FROM_CACHE => sum.calls += 1,
            Kind::Spent { usage, .. } => {
                sum.tokens = sum.tokens.saturating_add(usage.tokens);
                sum.money_micros = sum.money_micros.saturating_add(usage.money_micros);
            }
            _ => {}
        }
    }
    sum
}

/// What is left of all `budgets` together; 0 = no limit.
///
/// # Errors
/// `budget_exceeded` naming the budget that is used up.
pub(super) fn left(budgets: &[&BudgetRow], usage: &[UsageRow], now: Timestamp) -> Result<Budget, Fault> {
    let mut left = Budget::default();
    for budget in budgets {
        let span = span(&budget.period, now);
        let row = usage.iter().find(|u| u.scope == budget.scope && u.span == span);
        let used = row.map_or(Amounts::default(), |u| u.spent);
        for (what, limit, used, left) in [
            ("calls", budget.limits.calls, used.calls, &mut left.calls),
            ("tokens", budget.limits.tokens, used.tokens, &mut left.tokens),
            ("money_micros", budget.limits.money_micros, used.money_micros, &mut left.money_micros),
        ] {
            if limit == 0 {
                continue;
            }
            if used >= limit {
                return Err(exceeded(budget, what, (used, limit)));
            }
            let rest = limit - used;
            *left = if *left == 0 { rest } else { rest.min(*left) };
        }
    }
    Ok(left)
}

fn exceeded(budget: &BudgetRow, what: &str, (used, limit): (u64, u64)) -> Fault {
    let whose =
        if budget.scope.is_empty() { "the tenant".to_owned() } else { format!("workflow {}", budget.scope) };
    let when = match budget.period.as_str() {
        "day" => "today (UTC)",
        "month" => "this month (UTC)",
        _ => "in all",
    };
    let text = format!(
        "{whose} has spent {used} of {limit} {what} {when}: raise the budget, or wait for the next period"
    );
    Fault::new(ErrorCode::BudgetExceeded, text).field(what)
}

/// The lower of two budgets, part by part; 0 = no limit.
pub(super) fn lower(a: Budget, b: Budget) -> Budget {
    let min = |a: u64, b: u64| match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    };
    Budget {
        calls: min(a.calls, b.calls),
        tokens: min(a.tokens, b.tokens),
        money_micros: min(a.money_micros, b.money_micros),
        depth: if a.depth == 0 { b.depth } else { a.depth },
    }
}

#[cfg(test)]
mod tests {
    use base::Tenant;

    use super::*;

    fn budget(scope: &str, period: &str, calls: u64, tokens: u64) -> BudgetRow {
        let limits = Amounts { calls, tokens, money_micros: 0 };
        let (scope, period) = (scope.into(), period.into());
        BudgetRow { tenant: Tenant::default(), scope, period, limits, updated_at: Timestamp::default() }
    }

    fn used(scope: &str, span: &str, calls: u64, tokens: u64) -> UsageRow {
        let spent = Amounts { calls, tokens, money_micros: 0 };
        UsageRow { scope: scope.into(), span: span.into(), spent, executions: 1 }
    }

    #[test]
    fn the_smallest_rest_of_all_budgets_is_left_and_what_is_used_up_is_named() {
        let now = Timestamp::parse_rfc3339("2026-11-21T10:00:00Z").unwrap();
        let (day, all, own) =
            (budget("", "day", 10, 0), budget("", "total", 100, 50), budget("w", "month", 5, 0));
        let budgets = [&day, &all, &own];
        let usage = [
            used("", "day:2026-11-21", 2, 7),
            used("", "day:2026-11-20", 10, 0),
            used("", "total", 12, 7),
            used("w", "month:2026-11", 1, 0),
            used("other", "month:2026-11", 5, 0),
        ];
        let rest = left(&budgets, &usage, now).unwrap();
        assert_eq!((rest.calls, rest.tokens, rest.money_micros), (4, 43, 0));
        assert_eq!(left(&[], &usage, now).unwrap(), Budget::default());
        let full = [used("w", "month:2026-11", 5, 0)];
        let refused = left(&budgets, &full, now).unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::BudgetExceeded, "calls"));
        assert!(refused.message.contains("workflow w has spent 5 of 5 calls this month"), "{refused}");
        let next = Timestamp::parse_rfc3339("2026-12-01T00:00:00Z").unwrap();
        assert_eq!(left(&[&own], &full, next).unwrap().calls, 5, "a new month");
    }

    #[test]
    fn the_lower_limit_holds_and_none_is_no_limit() {
        let a = Budget { calls: 3, tokens: 0, ..Budget::default() };
        let b = Budget { calls: 5, tokens: 7, ..Budget::default() };
        assert_eq!(lower(a, b), Budget { calls: 3, tokens: 7, ..Budget::default() });
        assert_eq!(lower(Budget::default(), a), a);
    }
}
