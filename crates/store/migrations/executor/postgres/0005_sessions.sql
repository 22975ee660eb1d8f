-- Sessions: variables as one JSON document, so that a change is one compare-and-set of `version`; `token` names the
-- change, so that what is written beside it is written by the winner alone. Turns are appended and the oldest dropped;
-- `turns_total` counts all bytes ever appended. Times are microseconds since 1970.
CREATE TABLE sessions (
    tenant         text   NOT NULL,
    session_id     text   NOT NULL,
    version        bigint NOT NULL,
    token          uuid   NOT NULL,
    vars           text   NOT NULL,
    vars_count     bigint NOT NULL,
    turns_next     bigint NOT NULL,
    turns_count    bigint NOT NULL,
    turns_bytes    bigint NOT NULL,
    turns_total    bigint NOT NULL,
    created_at     bigint NOT NULL,
    updated_at     bigint NOT NULL,
    PRIMARY KEY (tenant, session_id)
);
CREATE INDEX sessions_updated ON sessions (updated_at);

CREATE TABLE session_turns (
    tenant         text   NOT NULL,
    session_id     text   NOT NULL,
    turn           bigint NOT NULL,
    role           text   NOT NULL,
    parts          text   NOT NULL,
    execution_id   uuid,
    at             bigint NOT NULL,
    bytes          bigint NOT NULL,
    ends           bigint NOT NULL,
    PRIMARY KEY (tenant, session_id, turn)
);

-- Written before the execution is; `saved_at` is null until what it leaves is saved. So nothing that ends is forgotten,
-- and nothing is saved twice.
CREATE TABLE session_executions (
    tenant         text   NOT NULL,
    execution_id   uuid   NOT NULL,
    session_id     text   NOT NULL,
    workflow       text   NOT NULL,
    joined_at      bigint NOT NULL,
    saved_at       bigint,
    status         text   NOT NULL,
    note           text   NOT NULL,
    PRIMARY KEY (tenant, execution_id)
);
CREATE INDEX session_executions_session ON session_executions (tenant, session_id, joined_at, execution_id);
CREATE INDEX session_executions_open ON session_executions (joined_at) WHERE saved_at IS NULL;
