-- What a tenant (scope '') or a workflow (scope = its name) may spend in a period; 0 = no limit.
CREATE TABLE budgets (
    tenant        text   NOT NULL,
    scope         text   NOT NULL,
    period        text   NOT NULL,
    calls         bigint NOT NULL,
    tokens        bigint NOT NULL,
    money_micros  bigint NOT NULL,
    updated_at    bigint NOT NULL,
    PRIMARY KEY (tenant, scope, period)
);

-- What executions under a budget have spent, by period ('day:2026-11-21', 'month:2026-11', 'total').
CREATE TABLE budget_usage (
    tenant        text   NOT NULL,
    scope         text   NOT NULL,
    span          text   NOT NULL,
    calls         bigint NOT NULL,
    tokens        bigint NOT NULL,
    money_micros  bigint NOT NULL,
    executions    bigint NOT NULL,
    PRIMARY KEY (tenant, scope, span)
);

-- Written before an execution under a budget starts; `settled_at` is null until what it spent is counted. `token` names
-- the write that counted it.
CREATE TABLE budget_executions (
    tenant        text   NOT NULL,
    execution_id  uuid   NOT NULL,
    workflow      text   NOT NULL,
    joined_at     bigint NOT NULL,
    settled_at    bigint,
    token         uuid,
    PRIMARY KEY (tenant, execution_id)
);
CREATE INDEX budget_executions_open ON budget_executions (joined_at) WHERE settled_at IS NULL;
