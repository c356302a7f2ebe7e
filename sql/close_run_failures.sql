-- What failed and then succeeded is over; who was told of it may be told that.
UPDATE alerts
SET last_session = greatest(last_session, %(session)s::date),
    closed_session = greatest(last_session, %(session)s::date)
WHERE strategy_id = %(strategy_id)s
  AND rule = %(rule)s
  AND closed_session IS NULL
  AND evidence ->> 'job' = %(job)s
  -- What was asked to work on a day that is no session cannot be repeated.
  AND (evidence ->> 'sessions' = %(sessions)s OR evidence -> 'errors' ? %(no_partition)s);
