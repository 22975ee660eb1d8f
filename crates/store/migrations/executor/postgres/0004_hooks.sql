-- Hooks. Times are microseconds since 1970. `revision` rises with every change of the hook.
CREATE TABLE workflow_hooks (
    tenant       text     NOT NULL,
    hook_id      uuid     NOT NULL,
    name         text     NOT NULL,
    trigger      text     NOT NULL,
    command      text     NOT NULL,
    args         jsonb    NOT NULL DEFAULT '[]',
    always_run   bigint   NOT NULL DEFAULT 0,
    timeout_ms   bigint   NOT NULL DEFAULT 30000,
    enabled      bigint   NOT NULL DEFAULT 1,
    priority     bigint   NOT NULL DEFAULT 100,
    on_failure   text,
    condition    text     NOT NULL DEFAULT '',
    revision     bigint   NOT NULL,
    created_at   bigint   NOT NULL,
    updated_at   bigint   NOT NULL,
    PRIMARY KEY (tenant, hook_id)
);
CREATE UNIQUE INDEX hooks_id     ON workflow_hooks (hook_id);
CREATE UNIQUE INDEX hooks_name   ON workflow_hooks (tenant, name);
CREATE INDEX idx_hooks_trigger   ON workflow_hooks (tenant, trigger) WHERE enabled = 1;
CREATE INDEX idx_hooks_priority  ON workflow_hooks (tenant, priority);
-- Grows with every change of any hook.
CREATE TABLE hook_head (revision bigint NOT NULL);
INSERT INTO hook_head VALUES (0);

-- Occasions whose hooks are to run, or ran: the durable queue behind the stream of wake-ups. `hooks` are their ids in
-- the order in which they run. `finished_at` null: not all of them have.
CREATE TABLE hook_requests (
    tenant        text    NOT NULL,
    request_id    uuid    NOT NULL,
    partition     bigint  NOT NULL,
    trigger       text    NOT NULL,
    execution_id  uuid,
    task_id       text,
    item          bigint,
    hooks         text    NOT NULL,
    document      text    NOT NULL,
    requested_at  bigint  NOT NULL,
    claimed_by    text    NOT NULL DEFAULT '',
    incarnation   bigint  NOT NULL DEFAULT 0,
    claimed_until bigint  NOT NULL DEFAULT 0,
    finished_at   bigint,
    verdict       text,
    PRIMARY KEY (tenant, request_id)
);
CREATE INDEX hook_requests_open     ON hook_requests (partition, requested_at) WHERE finished_at IS NULL;
CREATE INDEX hook_requests_finished ON hook_requests (finished_at) WHERE finished_at IS NOT NULL;

-- How each hook of a request ended: the log of runs.
CREATE TABLE hook_runs (
    tenant        text    NOT NULL,
    run_id        uuid    NOT NULL,
    request_id    uuid    NOT NULL,
    hook_id       uuid    NOT NULL,
    hook_name     text    NOT NULL,
    trigger       text    NOT NULL,
    action        text    NOT NULL,
    execution_id  uuid,
    task_id       text,
    item          bigint,
    state         text    NOT NULL,
    decision      text    NOT NULL,
    message       text    NOT NULL,
    settings      text    NOT NULL,
    output        text    NOT NULL,
    started_at    bigint  NOT NULL,
    finished_at   bigint  NOT NULL,
    PRIMARY KEY (tenant, run_id)
);
CREATE INDEX hook_runs_time      ON hook_runs (tenant, started_at, run_id);
CREATE INDEX hook_runs_hook      ON hook_runs (tenant, hook_id, started_at, run_id);
CREATE INDEX hook_runs_execution ON hook_runs (tenant, execution_id, started_at, run_id);
CREATE INDEX hook_runs_request   ON hook_runs (tenant, request_id);
CREATE INDEX hook_runs_finished  ON hook_runs (finished_at);
