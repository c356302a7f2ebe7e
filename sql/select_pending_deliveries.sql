-- No attempt yet, or a newest one that is to be followed by another.
SELECT alerts.alert_id, alerts.severity,
       coalesce(newest.attempt, 0) AS attempts,
       newest.attempt IS NULL
           OR newest.next_attempt_at <= coalesce(%(now)s::timestamptz, clock_timestamp()) AS is_due,
       newest.next_attempt_at
FROM alerts
LEFT JOIN LATERAL (
    SELECT attempt, next_attempt_at
    FROM alert_deliveries
    WHERE alert_id = alerts.alert_id AND channel = %(channel)s
    ORDER BY attempt DESC
    LIMIT 1
) AS newest ON true
WHERE alerts.severity = ANY (%(severities)s)
  AND (%(quiet_before)s::date IS NULL OR alerts.opened_session >= %(quiet_before)s::date)
  AND (newest.attempt IS NULL OR newest.next_attempt_at IS NOT NULL)
ORDER BY attempts, alerts.alert_id;
