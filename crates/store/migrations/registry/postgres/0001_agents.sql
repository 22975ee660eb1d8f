-- Agents: the definition as it was given, canonical JSON. Times are microseconds since 1970.
CREATE TABLE agents (
    tenant        text COLLATE "C" NOT NULL,
    agent_id      text COLLATE "C" NOT NULL,
    revision      bigint NOT NULL,
    state         text COLLATE "C" NOT NULL,
    content_hash  text COLLATE "C" NOT NULL,
    definition    jsonb NOT NULL,
    performance   jsonb NOT NULL,
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    PRIMARY KEY (tenant, agent_id)
);

-- Where agents run, and how they are. Health rows change when health changes or every 30 s, never per heartbeat.
CREATE TABLE instances (
    tenant        text COLLATE "C" NOT NULL,
    agent_id      text COLLATE "C" NOT NULL,
    instance_id   text COLLATE "C" NOT NULL,
    endpoint      text NOT NULL,
    capacity      bigint NOT NULL,
    weight        bigint NOT NULL,
    region        text COLLATE "C" NOT NULL,
    health        text COLLATE "C" NOT NULL,
    score         bigint NOT NULL,
    details       jsonb NOT NULL,
    heartbeat_at  bigint,
    PRIMARY KEY (tenant, agent_id, instance_id)
);

-- One row: the revision given out last. A writer updates it first and holds it until its commit, so revisions become
-- visible in their order and without gaps.
CREATE TABLE revision (
    last   bigint NOT NULL,
    floor  bigint NOT NULL
);
INSERT INTO revision (last, floor) VALUES (0, 0);

-- What a watch follows: it holds a snapshot at some revision and then reads what is above.
CREATE TABLE changes (
    revision  bigint NOT NULL PRIMARY KEY,
    tenant    text COLLATE "C" NOT NULL,
    agent_id  text COLLATE "C" NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    at        bigint NOT NULL
);

-- Who watches, how far it has come and which agents it still has calls at: what draining waits for.
CREATE TABLE watchers (
    member          text COLLATE "C" NOT NULL PRIMARY KEY,
    acked_revision  bigint NOT NULL,
    in_flight       jsonb NOT NULL,
    expires_at      bigint NOT NULL
);

-- Which replica does which share of the work. The clock is the database's.
CREATE TABLE leases (
    name        text COLLATE "C" NOT NULL PRIMARY KEY,
    holder      text COLLATE "C" NOT NULL,
    expires_at  bigint NOT NULL
);

CREATE TABLE consumer_positions (
    consumer     text COLLATE "C" NOT NULL,
    cluster      text COLLATE "C" NOT NULL,
    shard        bigint NOT NULL,
    incarnation  bigint NOT NULL,
    pos          bigint NOT NULL,
    PRIMARY KEY (consumer, cluster, shard)
);

CREATE TABLE dead_letters (
    tenant       text COLLATE "C" NOT NULL,
    id           uuid NOT NULL,
    stream       text COLLATE "C" NOT NULL,
    consumer     text COLLATE "C" NOT NULL,
    reason       text NOT NULL,
    body         bytea NOT NULL,
    deliveries   bigint NOT NULL,
    created_at   bigint NOT NULL,
    state        text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id)
);
