-- A workflow is a name in a tenant; its versions lie under it. Times are microseconds since 1970.
CREATE TABLE workflows (
    workflow_id     BLOB NOT NULL PRIMARY KEY,
    tenant          TEXT NOT NULL,
    name            TEXT NOT NULL,
    latest_version  TEXT NOT NULL,
    last_seq        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX workflows_name ON workflows (tenant, name);

-- Immutable: the same name and version always mean the same definition. `seq` counts the versions of a workflow in the
-- order they came in; `tags` holds every tag between line breaks.
CREATE TABLE workflow_versions (
    workflow_id            BLOB NOT NULL,
    version                TEXT NOT NULL,
    tenant                 TEXT NOT NULL,
    name                   TEXT NOT NULL,
    seq                    INTEGER NOT NULL,
    orchestration_pattern  TEXT NOT NULL,
    tags                   TEXT NOT NULL,
    tasks                  INTEGER NOT NULL,
    content_hash           TEXT NOT NULL,
    dialect                TEXT NOT NULL,
    format                 TEXT NOT NULL,
    source                 TEXT NOT NULL,
    definition             TEXT NOT NULL,
    plan                   TEXT NOT NULL,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, version)
) STRICT;
CREATE INDEX workflow_versions_name ON workflow_versions (tenant, name, version);
CREATE INDEX workflow_versions_pattern ON workflow_versions (tenant, orchestration_pattern, name);
CREATE INDEX workflow_versions_created ON workflow_versions (tenant, created_at);
