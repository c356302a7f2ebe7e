-- An evaluation that saw less of the episode than the stored one did changes nothing. An alert that
-- was ended with a reason lives again where its episode is found after all.
WITH episode AS (
    UPDATE alerts
    SET last_session = %(last_session)s::date, closed_session = %(closed_session)s::date,
        closed_reason = NULL
    WHERE dedupe_key = %(dedupe_key)s
      AND (last_session, closed_session)
          IS DISTINCT FROM (%(last_session)s::date, %(closed_session)s::date)
      AND coalesce(%(judged_until)s, %(closed_session)s, %(last_session)s)::date
          >= coalesce(closed_session, last_session)
    RETURNING alert_id, last_session, closed_session
)
-- The reminder of an alert nobody acknowledged lasts as long as that alert.
UPDATE alerts AS reminder
SET last_session = greatest(reminder.last_session, episode.last_session),
    closed_session = episode.closed_session, closed_reason = NULL
FROM episode
WHERE reminder.escalates = episode.alert_id AND reminder.rule = %(unacknowledged)s;
