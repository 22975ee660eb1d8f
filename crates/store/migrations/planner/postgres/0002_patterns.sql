-- Patterns of users. Immutable: the same name and version always mean the same text. `seq` is a number that locks a row.
CREATE TABLE patterns (
    tenant        text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    version       text COLLATE "C" NOT NULL,
    content_hash  text COLLATE "C" NOT NULL,
    source        text COLLATE "C" NOT NULL,
    seq           bigint NOT NULL,
    created_at    bigint NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

-- What a stored version of a workflow (kind `workflow`) or a pattern (kind `pattern`) was expanded with.
CREATE TABLE pattern_uses (
    tenant           text COLLATE "C" NOT NULL,
    pattern          text COLLATE "C" NOT NULL,
    pattern_version  text COLLATE "C" NOT NULL,
    kind             text COLLATE "C" NOT NULL,
    name             text COLLATE "C" NOT NULL,
    version          text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, pattern, pattern_version, kind, name, version)
);
CREATE INDEX pattern_uses_by_user ON pattern_uses (tenant, kind, name, version);
