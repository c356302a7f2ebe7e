SELECT alert_id, rule, severity, action, message, opened_session, last_session, closed_session,
       acknowledged_at, acknowledged_by, evidence -> 'onset' AS onset
FROM alerts
WHERE strategy_id = %(strategy_id)s
  AND coalesce(closed_session, 'infinity') >= coalesce(%(first)s::date, '-infinity')
  AND opened_session <= coalesce(%(last)s::date, 'infinity')
ORDER BY opened_session, alert_id
