-- Why nothing goes on in an execution, as its owner saw it: the reason, and the rest as JSON. Null = something goes on, or
-- it has ended. Few rows have one: lists of them and their number by reason are read from these indexes alone.
ALTER TABLE executions ADD COLUMN stuck_reason TEXT;
ALTER TABLE executions ADD COLUMN stuck_detail TEXT;
CREATE INDEX executions_stuck ON executions (tenant, stuck_reason, started_at, execution_id)
    WHERE stuck_reason IS NOT NULL;
CREATE INDEX executions_stuck_shard ON executions (shard, stuck_reason) WHERE stuck_reason IS NOT NULL;
