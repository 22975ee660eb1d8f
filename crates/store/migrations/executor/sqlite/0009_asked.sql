-- Open approvals are waits too: what is asked, of whom, as JSON. Without a topic no event finds them; a list of them, those
-- that wait longest first, is read from an index that holds them alone.
ALTER TABLE waits ADD COLUMN asked TEXT;
CREATE INDEX waits_asked ON waits (tenant, since, execution_id, task) WHERE asked IS NOT NULL;
-- Executions that may ask already and are not in memory are looked at once: that writes what they ask.
UPDATE executions SET wake_at = 0 WHERE completed_at IS NULL AND wake_at IS NOT NULL
    AND (stuck_reason IS NULL OR stuck_reason IN ('approval', 'paused', 'decision', 'input'));
