-- A workflow is a name in a tenant; its versions lie under it. Times are microseconds since 1970.
CREATE TABLE workflows (
    workflow_id     uuid NOT NULL PRIMARY KEY,
    tenant          text COLLATE "C" NOT NULL,
    name            text COLLATE "C" NOT NULL,
    latest_version  text COLLATE "C" NOT NULL,
    last_seq        bigint NOT NULL,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL
);
CREATE UNIQUE INDEX workflows_name ON workflows (tenant, name);

-- Immutable: the same name and version always mean the same definition. `seq` counts the versions of a workflow in the
-- order they came in; `tags` holds every tag between line breaks.
CREATE TABLE workflow_versions (
    workflow_id            uuid NOT NULL,
    version                text COLLATE "C" NOT NULL,
    tenant                 text COLLATE "C" NOT NULL,
    name                   text COLLATE "C" NOT NULL,
    seq                    bigint NOT NULL,
    orchestration_pattern  text COLLATE "C" NOT NULL,
    tags                   text COLLATE "C" NOT NULL,
    tasks                  bigint NOT NULL,
    content_hash           text COLLATE "C" NOT NULL,
    dialect                text COLLATE "C" NOT NULL,
    format                 text COLLATE "C" NOT NULL,
    source                 text NOT NULL,
    definition             jsonb NOT NULL,
    plan                   text NOT NULL,
    created_at             bigint NOT NULL,
    updated_at             bigint NOT NULL,
    PRIMARY KEY (workflow_id, version)
);
CREATE INDEX workflow_versions_name ON workflow_versions (tenant, name, version);
CREATE INDEX workflow_versions_pattern ON workflow_versions (tenant, orchestration_pattern, name);
CREATE INDEX workflow_versions_created ON workflow_versions (tenant, created_at);
