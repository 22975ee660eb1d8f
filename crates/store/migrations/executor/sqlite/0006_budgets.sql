-- What a tenant (scope '') or a workflow (scope = its name) may spend in a period; 0 = no limit.
CREATE TABLE budgets (
    tenant        TEXT   NOT NULL,
    scope         TEXT   NOT NULL,
    period        TEXT   NOT NULL,
    calls         INTEGER NOT NULL,
    tokens        INTEGER NOT NULL,
    money_micros  INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope, period)
) STRICT, WITHOUT ROWID;

-- What executions under a budget have spent, by period ('day:2026-11-21', 'month:2026-11', 'total').
CREATE TABLE budget_usage (
    tenant        TEXT   NOT NULL,
    scope         TEXT   NOT NULL,
    span          TEXT   NOT NULL,
    calls         INTEGER NOT NULL,
    tokens        INTEGER NOT NULL,
    money_micros  INTEGER NOT NULL,
    executions    INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope, span)
) STRICT, WITHOUT ROWID;

-- Written before an execution under a budget starts; `settled_at` is null until what it spent is counted. `token` names
-- the write that counted it.
CREATE TABLE budget_executions (
    tenant        TEXT   NOT NULL,
    execution_id  BLOB   NOT NULL,
    workflow      TEXT   NOT NULL,
    joined_at     INTEGER NOT NULL,
    settled_at    INTEGER,
    token         BLOB,
    PRIMARY KEY (tenant, execution_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_executions_open ON budget_executions (joined_at) WHERE settled_at IS NULL;
