SELECT alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by, escalates,
       closed_reason
FROM alerts
WHERE (%(strategy_id)s::text IS NULL OR strategy_id = %(strategy_id)s)
  AND (%(severity)s::text IS NULL OR severity = %(severity)s)
  AND (NOT %(open_only)s OR closed_session IS NULL)
ORDER BY opened_session DESC, alert_id DESC
LIMIT %(limit)s;
