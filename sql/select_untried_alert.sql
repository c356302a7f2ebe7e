-- Nothing comes back if somebody else has tried this delivery since it was listed.
SELECT alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by
FROM alerts
WHERE alert_id = %(alert_id)s
  AND %(attempts)s = (
      SELECT count(*) FROM alert_deliveries
      WHERE alert_id = %(alert_id)s AND channel = %(channel)s
  );
