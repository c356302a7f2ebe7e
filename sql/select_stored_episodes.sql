SELECT alert_id, dedupe_key, rule, opened_session, last_session,
       closed_session IS NULL, closed_reason IS NOT NULL
FROM alerts
WHERE strategy_id = %s
ORDER BY rule, opened_session, alert_id;
