-- One reminder for each open alert that nobody has acknowledged and nothing has escalated yet.
INSERT INTO alerts (
    dedupe_key, strategy_id, rule, severity, action, message,
    opened_session, last_session, model_id, escalates
)
SELECT 'unacknowledged/' || silent.alert_id, silent.strategy_id, %(rule)s,
       (%(severities)s::text[])[least(
           array_position(%(severities)s::text[], silent.severity) + 1,
           cardinality(%(severities)s::text[]))],
       'acknowledge',
       format('nobody has acknowledged alert %%s (%%s, %%s since %%s) for %%s hours: %%s',
              silent.alert_id, silent.severity, silent.rule, silent.opened_session,
              %(hours)s::text, silent.message),
       silent.last_session, silent.last_session, silent.model_id, silent.alert_id
FROM alerts AS silent
WHERE silent.acknowledged_at IS NULL
  AND silent.closed_session IS NULL
  AND silent.severity <> 'info'
  AND silent.rule <> %(rule)s
  AND silent.recorded_at <= %(before)s::timestamptz
  AND silent.last_session >= coalesce(%(quiet_before)s::date, '-infinity')
  AND NOT EXISTS (SELECT FROM alerts AS graver WHERE graver.escalates = silent.alert_id)
ORDER BY silent.alert_id
ON CONFLICT (dedupe_key) DO NOTHING
RETURNING
       alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by, escalates,
       closed_reason;
