-- What an alert escalates, when a failed delivery is tried again, and which were one digest.

ALTER TABLE alerts ADD COLUMN escalates bigint REFERENCES alerts;
COMMENT ON COLUMN alerts.escalates IS
    'the milder alert of the same metric that was open, or the one that nobody acknowledged';
CREATE INDEX alerts_escalates ON alerts (escalates) WHERE escalates IS NOT NULL;

ALTER TABLE alert_deliveries
    ADD COLUMN next_attempt_at timestamptz,
    ADD COLUMN digest_id       uuid;
COMMENT ON COLUMN alert_deliveries.next_attempt_at IS
    'of the newest attempt, when the next is due; NULL if it delivered the alert, or was the last';
COMMENT ON COLUMN alert_deliveries.digest_id IS
    'attempts of one number were one message; NULL where the alert had a message of its own';
-- What has failed so far is due an hour later at the latest, as it was before.
UPDATE alert_deliveries SET next_attempt_at = attempted_at + interval '1 hour' WHERE NOT delivered;
ALTER TABLE alert_deliveries ADD CHECK (NOT delivered OR next_attempt_at IS NULL);
CREATE INDEX alert_deliveries_channel ON alert_deliveries (channel, attempted_at) WHERE delivered;
