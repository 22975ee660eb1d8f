-- User events. `pos` is drawn in the transaction that writes them and grows in the order of the commits, so a reader
-- that has seen a position has seen all below it; numbers may be missing. Times are microseconds since 1970.
CREATE TABLE events (
    pos         bigint      NOT NULL PRIMARY KEY,
    tenant      text    NOT NULL,
    id          text    NOT NULL,
    partition   bigint  NOT NULL,
    topic       text    NOT NULL,
    type        text    NOT NULL,
    source      text    NOT NULL,
    key         text    NOT NULL,
    priority    bigint  NOT NULL,
    media_type  text    NOT NULL,
    payload     bytea   NOT NULL,
    trace       text    NOT NULL,
    at          bigint  NOT NULL
);
CREATE UNIQUE INDEX events_id   ON events (tenant, id);
CREATE INDEX events_partition   ON events (partition, pos);
CREATE INDEX events_topic       ON events (tenant, topic, key, pos);
CREATE INDEX events_type        ON events (tenant, type, pos);
CREATE INDEX events_key         ON events (tenant, key, pos) WHERE key <> '';
CREATE INDEX events_at          ON events (at);
CREATE TABLE event_head (last bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO event_head VALUES (0);

-- What starts executions when an event comes. Those of a plan are replaced with its newest version.
CREATE TABLE triggers (
    tenant            text    NOT NULL,
    id                uuid    NOT NULL,
    name              text    NOT NULL,
    workflow          text    NOT NULL,
    workflow_version  text    NOT NULL,
    topic             text    NOT NULL,
    filter            text    NOT NULL,
    key               text    NOT NULL,
    input             text,
    priority          bigint,
    on_busy           text    NOT NULL,
    paused            bigint  NOT NULL,
    since             bigint  NOT NULL,
    created_at        bigint  NOT NULL,
    updated_at        bigint  NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX triggers_name ON triggers (tenant, workflow, name);
-- Grows with every change of a trigger.
CREATE TABLE trigger_head (revision bigint NOT NULL);
INSERT INTO trigger_head VALUES (0);

-- Who waits for which events: written with the event of the log that opens or closes the wait. An empty key: any.
CREATE TABLE waits (
    tenant        text    NOT NULL,
    execution_id  uuid    NOT NULL,
    task          bigint  NOT NULL,
    topic         text    NOT NULL,
    key           text    NOT NULL,
    since         bigint  NOT NULL,
    PRIMARY KEY (tenant, execution_id, task)
);
CREATE INDEX waits_topic ON waits (tenant, topic, key, execution_id, task);

-- Starts that were decided and could not be made yet.
CREATE TABLE held_starts (
    tenant        text    NOT NULL,
    execution_id  uuid    NOT NULL,
    shard         bigint  NOT NULL,
    due_at        bigint  NOT NULL,
    tries         bigint  NOT NULL,
    reason        text    NOT NULL,
    body          bytea   NOT NULL,
    PRIMARY KEY (tenant, execution_id)
);
CREATE INDEX held_starts_due ON held_starts (shard, due_at);

-- `spec` and `state` are JSON. `wake_at` null: nothing is due by itself.
CREATE TABLE schedules (
    tenant            text    NOT NULL,
    id                uuid    NOT NULL,
    name              text    NOT NULL,
    workflow          text    NOT NULL,
    workflow_version  text    NOT NULL,
    shard             bigint  NOT NULL,
    spec              text    NOT NULL,
    input             text,
    priority          bigint  NOT NULL,
    paused            bigint  NOT NULL,
    wake_at           bigint,
    state             text    NOT NULL,
    revision          bigint  NOT NULL,
    created_at        bigint  NOT NULL,
    updated_at        bigint  NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX schedules_name ON schedules (tenant, name);
CREATE INDEX schedules_wake ON schedules (shard, wake_at) WHERE wake_at IS NOT NULL;

-- The workflow versions whose triggers and schedules are here.
CREATE TABLE synced_plans (
    tenant       text NOT NULL,
    workflow     text NOT NULL,
    version      text NOT NULL,
    PRIMARY KEY (tenant, workflow)
);
