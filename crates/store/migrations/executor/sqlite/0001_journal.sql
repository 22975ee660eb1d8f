-- The event log: a row is all events of one execution in one group. Rows are appended, and found through two small
-- indexes: measured, this costs less than to keep them in the order of either key (see README.md).
CREATE TABLE log (
    execution_id  BLOB    NOT NULL,
    first_seq     INTEGER NOT NULL,
    count         INTEGER NOT NULL,
    shard         INTEGER NOT NULL,
    pos           INTEGER NOT NULL,
    tenant        TEXT    NOT NULL,
    schema        INTEGER NOT NULL,
    body          BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_execution ON log (execution_id, first_seq);
CREATE UNIQUE INDEX log_position ON log (shard, pos);

-- One row per execution, written at creation, parking, waking, pause, checkpoint and end: never per event.
-- Times are microseconds since 1970. wake_at: null = hot, 9223372036854775807 = parked without a timer.
CREATE TABLE executions (
    execution_id        BLOB    NOT NULL PRIMARY KEY,
    tenant              TEXT    NOT NULL,
    workflow_id         BLOB    NOT NULL,
    workflow_name       TEXT    NOT NULL,
    workflow_version    TEXT    NOT NULL,
    shard               INTEGER NOT NULL,
    status              TEXT    NOT NULL,
    current_phase       TEXT    NOT NULL,
    priority            INTEGER NOT NULL,
    request_hash        BLOB,
    started_at          INTEGER NOT NULL,
    wake_at             INTEGER,
    completed_at        INTEGER,
    allocated_agents    TEXT    NOT NULL DEFAULT '[]',
    task_states         TEXT    NOT NULL DEFAULT '{}',
    performance_metrics TEXT    NOT NULL DEFAULT '{}',
    snapshot_seq        INTEGER,
    snapshot_schema     INTEGER,
    snapshot            BLOB
) STRICT;
CREATE INDEX executions_started  ON executions (tenant, started_at, execution_id);
CREATE INDEX executions_workflow ON executions (tenant, workflow_id, started_at, execution_id);
CREATE INDEX executions_status   ON executions (tenant, status, started_at, execution_id);
CREATE INDEX executions_open     ON executions (shard, wake_at, execution_id) WHERE completed_at IS NULL;

-- `concurrency: 1`: the row exists while the execution that wrote it runs.
CREATE TABLE exclusive (
    tenant        TEXT NOT NULL,
    key           TEXT NOT NULL,
    execution_id  BLOB NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE payloads (
    tenant        TEXT NOT NULL,
    execution_id  BLOB NOT NULL,
    hash          BLOB NOT NULL,
    media_type    TEXT NOT NULL,
    body          BLOB NOT NULL,
    PRIMARY KEY (tenant, execution_id, hash)
) STRICT;

CREATE TABLE checkpoints (
    tenant                TEXT    NOT NULL,
    execution_id          BLOB    NOT NULL,
    checkpoint_id         BLOB    NOT NULL,
    seq                   INTEGER NOT NULL,
    created_at            INTEGER NOT NULL,
    state_snapshot        TEXT    NOT NULL,
    recovery_instructions TEXT    NOT NULL,
    PRIMARY KEY (tenant, execution_id, checkpoint_id)
) STRICT;

-- Lease time is this database's clock. Incarnations are drawn from one counter, so a larger one is always later.
CREATE TABLE members (
    id           TEXT    NOT NULL PRIMARY KEY,
    incarnation  INTEGER NOT NULL,
    address      TEXT    NOT NULL,
    expires_at   INTEGER NOT NULL,
    reads_up_to  INTEGER NOT NULL,
    region       TEXT    NOT NULL,
    cluster      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE incarnations (last INTEGER NOT NULL) STRICT;
INSERT INTO incarnations VALUES (0);

CREATE TABLE shards (
    shard   INTEGER PRIMARY KEY,
    member  TEXT
) STRICT;

-- Commands for shards that have no owner at the moment.
CREATE TABLE inbox (
    shard         INTEGER NOT NULL,
    command_id    BLOB    NOT NULL,
    tenant        TEXT    NOT NULL,
    execution_id  BLOB    NOT NULL,
    kind          TEXT    NOT NULL,
    body          BLOB    NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (shard, command_id)
) STRICT;

-- How far the log of a shard has been handed to the bus.
CREATE TABLE published (
    shard        INTEGER PRIMARY KEY,
    pos          INTEGER NOT NULL,
    incarnation  INTEGER NOT NULL
) STRICT;

CREATE TABLE consumer_positions (
    consumer     TEXT    NOT NULL,
    cluster      TEXT    NOT NULL,
    shard        INTEGER NOT NULL,
    incarnation  INTEGER NOT NULL,
    pos          INTEGER NOT NULL,
    PRIMARY KEY (consumer, cluster, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    tenant       TEXT    NOT NULL,
    id           BLOB    NOT NULL,
    stream       TEXT    NOT NULL,
    consumer     TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    body         BLOB    NOT NULL,
    deliveries   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
