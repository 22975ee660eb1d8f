-- Sessions: variables as one JSON document, so that a change is one compare-and-set of `version`; `token` names the
-- change, so that what is written beside it is written by the winner alone. Turns are appended and the oldest dropped;
-- `turns_total` counts all bytes ever appended. Times are microseconds since 1970.
CREATE TABLE sessions (
    tenant         TEXT   NOT NULL,
    session_id     TEXT   NOT NULL,
    version        INTEGER NOT NULL,
    token          BLOB   NOT NULL,
    vars           TEXT   NOT NULL,
    vars_count     INTEGER NOT NULL,
    turns_next     INTEGER NOT NULL,
    turns_count    INTEGER NOT NULL,
    turns_bytes    INTEGER NOT NULL,
    turns_total    INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_updated ON sessions (updated_at);

CREATE TABLE session_turns (
    tenant         TEXT   NOT NULL,
    session_id     TEXT   NOT NULL,
    turn           INTEGER NOT NULL,
    role           TEXT   NOT NULL,
    parts          TEXT   NOT NULL,
    execution_id   BLOB,
    at             INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    ends           INTEGER NOT NULL,
    PRIMARY KEY (tenant, session_id, turn)
) STRICT, WITHOUT ROWID;

-- Written before the execution is; `saved_at` is null until what it leaves is saved. So nothing that ends is forgotten,
-- and nothing is saved twice.
CREATE TABLE session_executions (
    tenant         TEXT   NOT NULL,
    execution_id   BLOB   NOT NULL,
    session_id     TEXT   NOT NULL,
    workflow       TEXT   NOT NULL,
    joined_at      INTEGER NOT NULL,
    saved_at       INTEGER,
    status         TEXT   NOT NULL,
    note           TEXT   NOT NULL,
    PRIMARY KEY (tenant, execution_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_executions_session ON session_executions (tenant, session_id, joined_at, execution_id);
CREATE INDEX session_executions_open ON session_executions (joined_at) WHERE saved_at IS NULL;
