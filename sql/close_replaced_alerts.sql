-- Open alerts of a rule end on the session from which another definition of it is in force, and
-- with them their reminders.
WITH replaced AS (
    UPDATE alerts
    SET closed_session = %(first_session)s::date, closed_reason = %(reason)s
    WHERE strategy_id = %(strategy_id)s AND rule = %(rule)s
      AND closed_session IS NULL AND opened_session < %(first_session)s::date
    RETURNING alert_id
),
reminders AS (
    UPDATE alerts AS reminder
    SET closed_session = %(first_session)s::date, closed_reason = %(reason)s
    FROM replaced
    WHERE reminder.escalates = replaced.alert_id AND reminder.rule = %(unacknowledged)s
      AND reminder.opened_session <= %(first_session)s::date
)
SELECT alert_id FROM replaced;
