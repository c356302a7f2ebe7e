SELECT alerts.alert_id,
       count(tries.delivery_id)                                AS attempts,
       max(tries.attempted_at)                                 AS last_attempt,
       coalesce(%(now)s::timestamptz, clock_timestamp())       AS asked_at
FROM alerts
LEFT JOIN alert_deliveries AS tries
       ON tries.alert_id = alerts.alert_id AND tries.channel = %(channel)s
WHERE alerts.severity = ANY (%(severities)s)
  AND (%(quiet_before)s::date IS NULL OR alerts.opened_session >= %(quiet_before)s::date)
GROUP BY alerts.alert_id
HAVING NOT coalesce(bool_or(tries.delivered), false)
ORDER BY attempts, alerts.alert_id;
