//! The SQL of [`list_executions`](super::Executions::list_executions), the same for both databases.

use std::fmt::Write;

use base::{Tenant, WorkflowId};
use uuid::Uuid;

use super::{Cursor, ExecutionFilter};

const STATUSES_MAX: usize = 16;
const REASONS_MAX: usize = 32;

/// A value to bind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arg {
    Text(String),
    Id(Uuid),
    Int(i64),
}

/// What differs between the databases.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    /// What a placeholder begins with.
    pub(crate) sign: char,
    /// Columns of an [`ExecutionRow`](super::ExecutionRow), in the order both readers expect.
    pub(crate) columns: &'static str,
    /// Condition on `allocated_agents`; `{}` is the placeholder of the agent.
    pub(crate) has_agent: &'static str,
}

struct Select<'a> {
    dialect: Dialect,
    filter: &'a ExecutionFilter,
    after: Option<Cursor>,
    limit: i64,
    sql: String,
    args: Vec<Arg>,
}

/// The query and its values. `limit` rows are asked for as they are.
///
/// Several statuses become a union of one ordered, limited select each, so that every part walks an index in order and
/// nothing is sorted beyond `limit` rows per status. Several reasons of standing still do the same.
pub(crate) fn list_sql(
    dialect: Dialect,
    filter: &ExecutionFilter,
    after: Option<Cursor>,
    limit: i64,
) -> (String, Vec<Arg>) {
    let mut select = Select { dialect, filter, after, limit, sql: String::new(), args: Vec::new() };
    let statuses = &filter.statuses[..filter.statuses.len().min(STATUSES_MAX)];
    let reasons = &filter.stuck[..filter.stuck.len().min(REASONS_MAX)];
    match (statuses, reasons) {
        // Few carry the same correlation id: its index finds them, and the rest is looked at there.
        _ if filter.correlation_id.is_some() => {
            select.of_filter();
            select.one_of("coalesce(status, '')", statuses);
            select.one_of("coalesce(stuck_reason, '')", reasons);
            select.after_place();
        }
        ([], []) => select.part(None),
        ([one], []) => select.part(Some(one)),
        (many, []) => select.union(many, |select, status| select.part(Some(status))),
        (_, [one]) => select.stuck(one, statuses),
        (_, many) => select.union(many, |select, reason| select.stuck(reason, statuses)),
    }
    (select.sql, select.args)
}

impl Select<'_> {
    fn bind(&mut self, arg: Arg) -> String {
        self.args.push(arg);
        format!("{}{}", self.dialect.sign, self.args.len())
    }

    fn and(&mut self, condition: &str, arg: Arg) {
        let place = self.bind(arg);
        let _ = write!(self.sql, " AND {}", condition.replace("{}", &place));
    }

    fn part(&mut self, status: Option<&str>) {
        self.of_filter();
        if let Some(status) = status {
            self.and("status = {}", Arg::Text(status.to_owned()));
        }
        self.after_place();
    }

    fn stuck(&mut self, reason: &str, statuses: &[String]) {
        self.of_filter();
        self.and("stuck_reason = {}", Arg::Text(reason.to_owned()));
        self.one_of("coalesce(status, '')", statuses);
        self.after_place();
    }

    fn union<T>(&mut self, many: &[T], mut part: impl FnMut(&mut Self, &T)) {
        for (n, one) in many.iter().enumerate() {
            self.sql.push_str(if n == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
            part(self, one);
            let _ = write!(self.sql, ") AS p{n}");
        }
        self.order();
    }

    /// `what` is not a bare column, so that no index of it is taken instead of the one that is meant.
    fn one_of(&mut self, what: &str, values: &[String]) {
        let places: Vec<String> = values.iter().map(|v| self.bind(Arg::Text(v.clone()))).collect();
        if !places.is_empty() {
            let _ = write!(self.sql, " AND {what} IN ({})", places.join(", "));
        }
    }

    /// The columns, and every condition but that on the status.
    fn of_filter(&mut self) {
        let tenant = self.bind(Arg::Text(self.filter.tenant.as_str().to_owned()));
        let _ = write!(self.sql, "SELECT {} FROM executions WHERE tenant = {tenant}", self.dialect.columns);
        if let Some(workflow) = self.filter.workflow_id {
            self.and("workflow_id = {}", Arg::Id(workflow.uuid()));
        }
        if let Some(correlation) = &self.filter.correlation_id {
            self.and("correlation_id = {}", Arg::Text(correlation.clone()));
        }
        if let Some(from) = self.filter.started_from {
            self.and("started_at >= {}", Arg::Int(from.micros()));
        }
        if let Some(before) = self.filter.started_before {
            self.and("started_at < {}", Arg::Int(before.micros()));
        }
        if let Some(agent) = &self.filter.agent {
            self.and(self.dialect.has_agent, Arg::Text(agent.clone()));
        }
    }

    fn after_place(&mut self) {
        if let Some(after) = self.after {
            let at = self.bind(Arg::Int(after.started_at.micros()));
            let id = self.bind(Arg::Id(after.execution_id.uuid()));
            let _ = write!(self.sql, " AND (started_at, execution_id) < ({at}, {id})");
        }
        self.order();
    }

    fn order(&mut self) {
        let limit = self.bind(Arg::Int(self.limit));
        let _ = write!(self.sql, " ORDER BY started_at DESC, execution_id DESC LIMIT {limit}");
    }
}

/// Executions of a workflow that have not ended, newest first.
pub(crate) fn active_sql(
    dialect: Dialect,
    tenant: &Tenant,
    workflow: WorkflowId,
    limit: u32,
) -> (String, Vec<Arg>) {
    let (columns, sign) = (dialect.columns, dialect.sign);
    let sql = format!(
        "SELECT {columns} FROM executions WHERE tenant = {sign}1 AND workflow_id = {sign}2 AND completed_at IS NULL
         ORDER BY started_at DESC, execution_id DESC LIMIT {sign}3"
    );
    let args = vec![Arg::Text(tenant.as_str().to_owned()), Arg::Id(workflow.uuid()), Arg::Int(limit.into())];
    (sql, args)
}

/// Cuts the one row too many that tells whether there is a next page.
pub(crate) fn page(mut rows: Vec<super::ExecutionRow>, limit: usize) -> super::Page<super::ExecutionRow> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| Cursor { started_at: row.started_at, execution_id: row.execution_id });
    super::Page { rows, next }
}
