-- With an alert its reminder ends, which never opened before it.
UPDATE alerts
SET closed_session = greatest(last_session, %(last)s::date), closed_reason = %(reason)s
WHERE closed_session IS NULL
  AND (alert_id = %(alert_id)s OR (escalates = %(alert_id)s AND rule = %(unacknowledged)s));
