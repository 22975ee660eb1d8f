-- What ties an execution to other work of its caller, searched by equality. Few have one: the index holds only those.
ALTER TABLE executions ADD COLUMN correlation_id text;
CREATE INDEX executions_correlation ON executions (tenant, correlation_id, started_at, execution_id)
    WHERE correlation_id IS NOT NULL;
