-- Patterns of users. Immutable: the same name and version always mean the same text. `seq` is a number that locks a row.
CREATE TABLE patterns (
    tenant        TEXT NOT NULL,
    name          TEXT NOT NULL,
    version       TEXT NOT NULL,
    content_hash  TEXT NOT NULL,
    source        TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, version)
) STRICT;

-- What a stored version of a workflow (kind `workflow`) or a pattern (kind `pattern`) was expanded with.
CREATE TABLE pattern_uses (
    tenant           TEXT NOT NULL,
    pattern          TEXT NOT NULL,
    pattern_version  TEXT NOT NULL,
    kind             TEXT NOT NULL,
    name             TEXT NOT NULL,
    version          TEXT NOT NULL,
    PRIMARY KEY (tenant, pattern, pattern_version, kind, name, version)
) STRICT;
CREATE INDEX pattern_uses_by_user ON pattern_uses (tenant, kind, name, version);
