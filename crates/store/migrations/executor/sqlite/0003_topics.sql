-- User events. `pos` is drawn in the transaction that writes them and grows in the order of the commits, so a reader
-- that has seen a position has seen all below it; numbers may be missing. Times are microseconds since 1970.
CREATE TABLE events (
    pos         INTEGER PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    topic       TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    priority    INTEGER NOT NULL,
    media_type  TEXT    NOT NULL,
    payload     BLOB    NOT NULL,
    trace       TEXT    NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_id   ON events (tenant, id);
CREATE INDEX events_partition   ON events (partition, pos);
CREATE INDEX events_topic       ON events (tenant, topic, key, pos);
CREATE INDEX events_type        ON events (tenant, type, pos);
CREATE INDEX events_key         ON events (tenant, key, pos) WHERE key <> '';
CREATE INDEX events_at          ON events (at);
CREATE TABLE event_head (last INTEGER NOT NULL) STRICT;
INSERT INTO event_head VALUES (0);

-- What starts executions when an event comes. Those of a plan are replaced with its newest version.
CREATE TABLE triggers (
    tenant            TEXT    NOT NULL,
    id                BLOB    NOT NULL,
    name              TEXT    NOT NULL,
    workflow          TEXT    NOT NULL,
    workflow_version  TEXT    NOT NULL,
    topic             TEXT    NOT NULL,
    filter            TEXT    NOT NULL,
    key               TEXT    NOT NULL,
    input             TEXT,
    priority          INTEGER,
    on_busy           TEXT    NOT NULL,
    paused            INTEGER NOT NULL,
    since             INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE UNIQUE INDEX triggers_name ON triggers (tenant, workflow, name);
-- Grows with every change of a trigger.
CREATE TABLE trigger_head (revision INTEGER NOT NULL) STRICT;
INSERT INTO trigger_head VALUES (0);

-- Who waits for which events: written with the event of the log that opens or closes the wait. An empty key: any.
CREATE TABLE waits (
    tenant        TEXT    NOT NULL,
    execution_id  BLOB    NOT NULL,
    task          INTEGER NOT NULL,
    topic         TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    since         INTEGER NOT NULL,
    PRIMARY KEY (tenant, execution_id, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX waits_topic ON waits (tenant, topic, key, execution_id, task);

-- Starts that were decided and could not be made yet.
CREATE TABLE held_starts (
    tenant        TEXT    NOT NULL,
    execution_id  BLOB    NOT NULL,
    shard         INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    tries         INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    body          BLOB    NOT NULL,
    PRIMARY KEY (tenant, execution_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_starts_due ON held_starts (shard, due_at);

-- `spec` and `state` are JSON. `wake_at` null: nothing is due by itself.
CREATE TABLE schedules (
    tenant            TEXT    NOT NULL,
    id                BLOB    NOT NULL,
    name              TEXT    NOT NULL,
    workflow          TEXT    NOT NULL,
    workflow_version  TEXT    NOT NULL,
    shard             INTEGER NOT NULL,
    spec              TEXT    NOT NULL,
    input             TEXT,
    priority          INTEGER NOT NULL,
    paused            INTEGER NOT NULL,
    wake_at           INTEGER,
    state             TEXT    NOT NULL,
    revision          INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE UNIQUE INDEX schedules_name ON schedules (tenant, name);
CREATE INDEX schedules_wake ON schedules (shard, wake_at) WHERE wake_at IS NOT NULL;

-- The workflow versions whose triggers and schedules are here.
CREATE TABLE synced_plans (
    tenant       TEXT NOT NULL,
    workflow     TEXT NOT NULL,
    version      TEXT NOT NULL,
    PRIMARY KEY (tenant, workflow)
) STRICT, WITHOUT ROWID;
