-- The event log: a row is all events of one execution in one group.
CREATE TABLE log (
    execution_id  uuid     NOT NULL,
    first_seq     bigint   NOT NULL,
    count         integer  NOT NULL,
    shard         smallint NOT NULL,
    pos           bigint   NOT NULL,
    tenant        text     NOT NULL,
    schema        integer  NOT NULL,
    body          bytea    NOT NULL,
    CONSTRAINT log_execution PRIMARY KEY (execution_id, first_seq),
    CONSTRAINT log_position UNIQUE (shard, pos)
);

-- One row per execution, written at creation, parking, waking, pause, checkpoint and end: never per event.
-- Times are microseconds since 1970. wake_at: null = hot, 9223372036854775807 = parked without a timer.
CREATE TABLE executions (
    execution_id        uuid     NOT NULL PRIMARY KEY,
    tenant              text     NOT NULL,
    workflow_id         uuid     NOT NULL,
    workflow_name       text     NOT NULL,
    workflow_version    text     NOT NULL,
    shard               smallint NOT NULL,
    status              text     NOT NULL,
    current_phase       text     NOT NULL,
    priority            integer  NOT NULL,
    request_hash        bytea,
    started_at          bigint   NOT NULL,
    wake_at             bigint,
    completed_at        bigint,
    allocated_agents    jsonb    NOT NULL DEFAULT '[]',
    task_states         jsonb    NOT NULL DEFAULT '{}',
    performance_metrics jsonb    NOT NULL DEFAULT '{}',
    snapshot_seq        bigint,
    snapshot_schema     integer,
    snapshot            bytea
) WITH (fillfactor = 85);
CREATE INDEX executions_started  ON executions (tenant, started_at, execution_id);
CREATE INDEX executions_workflow ON executions (tenant, workflow_id, started_at, execution_id);
CREATE INDEX executions_status   ON executions (tenant, status, started_at, execution_id);
CREATE INDEX executions_open     ON executions (shard, wake_at, execution_id) WHERE completed_at IS NULL;

-- `concurrency: 1`: the row exists while the execution that wrote it runs.
CREATE TABLE exclusive (
    tenant        text NOT NULL,
    key           text NOT NULL,
    execution_id  uuid NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE TABLE payloads (
    tenant        text  NOT NULL,
    execution_id  uuid  NOT NULL,
    hash          bytea NOT NULL,
    media_type    text  NOT NULL,
    body          bytea NOT NULL,
    PRIMARY KEY (tenant, execution_id, hash)
);

CREATE TABLE checkpoints (
    tenant                text   NOT NULL,
    execution_id          uuid   NOT NULL,
    checkpoint_id         uuid   NOT NULL,
    seq                   bigint NOT NULL,
    created_at            bigint NOT NULL,
    state_snapshot        jsonb  NOT NULL,
    recovery_instructions jsonb  NOT NULL,
    PRIMARY KEY (tenant, execution_id, checkpoint_id)
);

-- Lease time is this database's clock. Incarnations are drawn from one sequence, so a larger one is always later.
-- `fence` rises within an incarnation when a commit's outcome is unknown. The second unique constraint makes a change
-- of incarnation or fence a change of a key: it waits for, and shuts out, statements that hold the row FOR KEY SHARE,
-- while a renewal (which changes no key) never waits for a commit and never holds one up.
CREATE SEQUENCE incarnations;
CREATE TABLE members (
    id           text    NOT NULL PRIMARY KEY,
    incarnation  bigint  NOT NULL,
    fence        bigint  NOT NULL DEFAULT 0,
    address      text    NOT NULL,
    expires_at   bigint  NOT NULL,
    reads_up_to  integer NOT NULL,
    region       text    NOT NULL,
    cluster      text    NOT NULL,
    CONSTRAINT members_fence UNIQUE (id, incarnation, fence)
) WITH (fillfactor = 50);

CREATE TABLE shards (
    shard   smallint NOT NULL PRIMARY KEY,
    member  text
);

-- Commands for shards that have no owner at the moment.
CREATE TABLE inbox (
    shard         smallint NOT NULL,
    command_id    uuid     NOT NULL,
    tenant        text     NOT NULL,
    execution_id  uuid     NOT NULL,
    kind          text     NOT NULL,
    body          bytea    NOT NULL,
    created_at    bigint   NOT NULL,
    PRIMARY KEY (shard, command_id)
);

-- How far the log of a shard has been handed to the bus.
CREATE TABLE published (
    shard        smallint NOT NULL PRIMARY KEY,
    pos          bigint   NOT NULL,
    incarnation  bigint   NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE consumer_positions (
    consumer     text     NOT NULL,
    cluster      text     NOT NULL,
    shard        smallint NOT NULL,
    incarnation  bigint   NOT NULL,
    pos          bigint   NOT NULL,
    PRIMARY KEY (consumer, cluster, shard)
) WITH (fillfactor = 50);

CREATE TABLE dead_letters (
    tenant       text    NOT NULL,
    id           uuid    NOT NULL,
    stream       text    NOT NULL,
    consumer     text    NOT NULL,
    reason       text    NOT NULL,
    body         bytea   NOT NULL,
    deliveries   integer NOT NULL,
    created_at   bigint  NOT NULL,
    state        text    NOT NULL,
    PRIMARY KEY (tenant, id)
);
