-- The row is written at every call, so that it is returned; who was first stays.
UPDATE alerts
SET acknowledged_at = coalesce(acknowledged_at, clock_timestamp()),
    acknowledged_by = coalesce(acknowledged_by, %(by)s)
WHERE alert_id = %(alert_id)s
RETURNING
       alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by;
