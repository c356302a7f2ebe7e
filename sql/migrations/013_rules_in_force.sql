-- Since which session each rule of a strategy has been in force, and why an alert ended with its rule.

CREATE TABLE rules_in_force (
    strategy_id   text        NOT NULL,
    rule          text        NOT NULL,
    first_session date        NOT NULL,
    judged_until  date        NOT NULL,
    mode          text        NOT NULL CHECK (mode IN ('as_written', 'gated', 'calibrated')),
    condition     text        NOT NULL,
    definition    text        NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (strategy_id, rule, first_session),
    CHECK (judged_until >= first_session)
);
COMMENT ON COLUMN rules_in_force.judged_until IS
    'newest session it was applied to; another rule of this name is in force from the next one on';
COMMENT ON COLUMN rules_in_force.definition IS
    'all that decides when it opens and closes an alert, as JSON text: compared letter by letter';

ALTER TABLE alerts ADD COLUMN closed_reason text;
COMMENT ON COLUMN alerts.closed_reason IS
    'NULL where the condition ended by itself, or where the alert is open';
ALTER TABLE alerts ADD CHECK (closed_reason IS NULL OR closed_session IS NOT NULL);
