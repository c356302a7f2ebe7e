-- What failed and then succeeded is over; who was told of it may be told that.
UPDATE alerts
SET last_session = greatest(last_session, %(session)s::date),
    closed_session = greatest(last_session, %(session)s::date)
WHERE strategy_id = %(strategy_id)s
  AND rule = %(rule)s
  AND closed_session IS NULL
  AND evidence ->> 'job' = %(job)s
  AND evidence ->> 'sessions' = %(sessions)s;
