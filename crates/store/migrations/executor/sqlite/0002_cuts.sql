-- Calls that were cut at agents which have not been told yet. Written with the event that cut them, deleted once the
-- agent was told or given up: as a rule the table is empty.
CREATE TABLE cuts (
    shard          INTEGER NOT NULL,
    call           BLOB    NOT NULL,
    tenant         TEXT    NOT NULL,
    execution_id   BLOB    NOT NULL,
    instance       TEXT    NOT NULL,
    agent_task_id  TEXT,
    cut_at         INTEGER NOT NULL,
    PRIMARY KEY (shard, call)
) STRICT, WITHOUT ROWID;
