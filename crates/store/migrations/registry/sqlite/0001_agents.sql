-- Agents: the definition as it was given, canonical JSON. Times are microseconds since 1970.
CREATE TABLE agents (
    tenant        TEXT NOT NULL,
    agent_id      TEXT NOT NULL,
    revision      INTEGER NOT NULL,
    state         TEXT NOT NULL,
    content_hash  TEXT NOT NULL,
    definition    TEXT NOT NULL,
    performance   TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, agent_id)
) STRICT;

-- Where agents run, and how they are. Health rows change when health changes or every 30 s, never per heartbeat.
CREATE TABLE instances (
    tenant        TEXT NOT NULL,
    agent_id      TEXT NOT NULL,
    instance_id   TEXT NOT NULL,
    endpoint      TEXT NOT NULL,
    capacity      INTEGER NOT NULL,
    weight        INTEGER NOT NULL,
    region        TEXT NOT NULL,
    health        TEXT NOT NULL,
    score         INTEGER NOT NULL,
    details       TEXT NOT NULL,
    heartbeat_at  INTEGER,
    PRIMARY KEY (tenant, agent_id, instance_id)
) STRICT;

-- One row: the revision given out last. A writer updates it first and holds it until its commit, so revisions become
-- visible in their order and without gaps.
CREATE TABLE revision (
    last   INTEGER NOT NULL,
    floor  INTEGER NOT NULL
) STRICT;
INSERT INTO revision (last, floor) VALUES (0, 0);

-- What a watch follows: it holds a snapshot at some revision and then reads what is above.
CREATE TABLE changes (
    revision  INTEGER NOT NULL PRIMARY KEY,
    tenant    TEXT NOT NULL,
    agent_id  TEXT NOT NULL,
    kind      TEXT NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

-- Who watches, how far it has come and which agents it still has calls at: what draining waits for.
CREATE TABLE watchers (
    member          TEXT NOT NULL PRIMARY KEY,
    acked_revision  INTEGER NOT NULL,
    in_flight       TEXT NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;

-- Which replica does which share of the work. The clock is the database's.
CREATE TABLE leases (
    name        TEXT NOT NULL PRIMARY KEY,
    holder      TEXT NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE consumer_positions (
    consumer     TEXT NOT NULL,
    cluster      TEXT NOT NULL,
    shard        INTEGER NOT NULL,
    incarnation  INTEGER NOT NULL,
    pos          INTEGER NOT NULL,
    PRIMARY KEY (consumer, cluster, shard)
) STRICT;

CREATE TABLE dead_letters (
    tenant       TEXT NOT NULL,
    id           BLOB NOT NULL,
    stream       TEXT NOT NULL,
    consumer     TEXT NOT NULL,
    reason       TEXT NOT NULL,
    body         BLOB NOT NULL,
    deliveries   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    state        TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
