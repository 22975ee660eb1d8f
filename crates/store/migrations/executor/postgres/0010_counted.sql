-- How much of what an execution spent is counted: what agents report after its end is added to it. NULL = an earlier build
-- counted it, and did not say how much.
ALTER TABLE budget_executions ADD COLUMN calls bigint;
ALTER TABLE budget_executions ADD COLUMN tokens bigint;
ALTER TABLE budget_executions ADD COLUMN money_micros bigint;
CREATE INDEX budget_executions_settled ON budget_executions (settled_at) WHERE settled_at IS NOT NULL;
