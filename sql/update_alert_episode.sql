-- An evaluation that saw less of the episode than the stored one did changes nothing.
UPDATE alerts
SET last_session = %(last_session)s::date, closed_session = %(closed_session)s::date
WHERE dedupe_key = %(dedupe_key)s
  AND (last_session, closed_session)
      IS DISTINCT FROM (%(last_session)s::date, %(closed_session)s::date)
  AND coalesce(%(closed_session)s::date, %(last_session)s::date)
      >= coalesce(closed_session, last_session);
