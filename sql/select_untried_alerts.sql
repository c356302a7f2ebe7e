-- What somebody else has tried by this channel since it was listed does not come back.
SELECT alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by, escalates,
       closed_reason
FROM alerts
JOIN unnest(%(alert_ids)s::bigint[], %(attempts)s::bigint[]) AS listed (alert_id, attempts)
     USING (alert_id)
WHERE listed.attempts = (
    SELECT count(*) FROM alert_deliveries AS tries
    WHERE tries.alert_id = alerts.alert_id AND tries.channel = %(channel)s
)
ORDER BY alert_id;
