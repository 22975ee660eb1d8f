-- Hooks. Times are microseconds since 1970. `revision` rises with every change of the hook.
CREATE TABLE workflow_hooks (
    tenant       TEXT     NOT NULL,
    hook_id      BLOB     NOT NULL,
    name         TEXT     NOT NULL,
    trigger      TEXT     NOT NULL,
    command      TEXT     NOT NULL,
    args         TEXT    NOT NULL DEFAULT '[]',
    always_run   INTEGER  NOT NULL DEFAULT 0,
    timeout_ms   INTEGER   NOT NULL DEFAULT 30000,
    enabled      INTEGER  NOT NULL DEFAULT 1,
    priority     INTEGER   NOT NULL DEFAULT 100,
    on_failure   TEXT,
    condition    TEXT     NOT NULL DEFAULT '',
    revision     INTEGER   NOT NULL,
    created_at   INTEGER   NOT NULL,
    updated_at   INTEGER   NOT NULL,
    PRIMARY KEY (tenant, hook_id)
) STRICT;
CREATE UNIQUE INDEX hooks_id     ON workflow_hooks (hook_id);
CREATE UNIQUE INDEX hooks_name   ON workflow_hooks (tenant, name);
CREATE INDEX idx_hooks_trigger   ON workflow_hooks (tenant, trigger) WHERE enabled = 1;
CREATE INDEX idx_hooks_priority  ON workflow_hooks (tenant, priority);
-- Grows with every change of any hook.
CREATE TABLE hook_head (revision INTEGER NOT NULL) STRICT;
INSERT INTO hook_head VALUES (0);

-- Occasions whose hooks are to run, or ran: the durable queue behind the stream of wake-ups. `hooks` are their ids in
-- the order in which they run. `finished_at` null: not all of them have.
CREATE TABLE hook_requests (
    tenant        TEXT    NOT NULL,
    request_id    BLOB    NOT NULL,
    partition     INTEGER  NOT NULL,
    trigger       TEXT    NOT NULL,
    execution_id  BLOB,
    task_id       TEXT,
    item          INTEGER,
    hooks         TEXT   NOT NULL,
    document      TEXT    NOT NULL,
    requested_at  INTEGER  NOT NULL,
    claimed_by    TEXT    NOT NULL DEFAULT '',
    incarnation   INTEGER  NOT NULL DEFAULT 0,
    claimed_until INTEGER  NOT NULL DEFAULT 0,
    finished_at   INTEGER,
    verdict       TEXT,
    PRIMARY KEY (tenant, request_id)
) STRICT;
CREATE INDEX hook_requests_open     ON hook_requests (partition, requested_at) WHERE finished_at IS NULL;
CREATE INDEX hook_requests_finished ON hook_requests (finished_at) WHERE finished_at IS NOT NULL;

-- How each hook of a request ended: the log of runs.
CREATE TABLE hook_runs (
    tenant        TEXT    NOT NULL,
    run_id        BLOB    NOT NULL,
    request_id    BLOB    NOT NULL,
    hook_id       BLOB    NOT NULL,
    hook_name     TEXT    NOT NULL,
    trigger       TEXT    NOT NULL,
    action        TEXT    NOT NULL,
    execution_id  BLOB,
    task_id       TEXT,
    item          INTEGER,
    state         TEXT    NOT NULL,
    decision      TEXT    NOT NULL,
    message       TEXT    NOT NULL,
    settings      TEXT    NOT NULL,
    output        TEXT    NOT NULL,
    started_at    INTEGER  NOT NULL,
    finished_at   INTEGER  NOT NULL,
    PRIMARY KEY (tenant, run_id)
) STRICT;
CREATE INDEX hook_runs_time      ON hook_runs (tenant, started_at, run_id);
CREATE INDEX hook_runs_hook      ON hook_runs (tenant, hook_id, started_at, run_id);
CREATE INDEX hook_runs_execution ON hook_runs (tenant, execution_id, started_at, run_id);
CREATE INDEX hook_runs_request   ON hook_runs (tenant, request_id);
CREATE INDEX hook_runs_finished  ON hook_runs (finished_at);
