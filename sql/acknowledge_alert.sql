-- The row is written at every call, so that it is returned; who was first stays.
-- Whoever has seen a reminder has seen what it reminds of, and the other way round.
WITH seen AS (
    UPDATE alerts
    SET acknowledged_at = coalesce(acknowledged_at, clock_timestamp()),
        acknowledged_by = coalesce(acknowledged_by, %(by)s)
    WHERE alert_id = %(alert_id)s
       OR (escalates = %(alert_id)s AND rule = %(unacknowledged)s)
       OR alert_id = (
           SELECT escalates FROM alerts
           WHERE alert_id = %(alert_id)s AND rule = %(unacknowledged)s
       )
    RETURNING *
)
SELECT alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by, escalates,
       closed_reason
FROM seen
WHERE alert_id = %(alert_id)s;
