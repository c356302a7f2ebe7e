-- The newest prediction of a name within a stretch of decision times, or for one session.
SELECT strategy_id, entity_key, event_time, session, model_id, signal, feature_digest, recorded_at
FROM predictions
WHERE strategy_id = %(strategy_id)s
  AND entity_key = %(entity)s
  AND (%(session)s::date IS NULL OR session = %(session)s)
  AND (%(newest)s::timestamptz IS NULL OR event_time BETWEEN %(oldest)s::timestamptz AND %(newest)s)
ORDER BY event_time DESC
LIMIT 1;
