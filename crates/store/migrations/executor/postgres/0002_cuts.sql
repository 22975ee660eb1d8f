-- Calls that were cut at agents which have not been told yet. Written with the event that cut them, deleted once the
-- agent was told or given up: as a rule the table is empty.
CREATE TABLE cuts (
    shard          smallint NOT NULL,
    call           uuid     NOT NULL,
    tenant         text     NOT NULL,
    execution_id   uuid     NOT NULL,
    instance       text     NOT NULL,
    agent_task_id  text,
    cut_at         bigint   NOT NULL,
    PRIMARY KEY (shard, call)
);
