-- One row per name. A session may be predicted several times up to its open: the last one counts,
-- and comes last.
SELECT entity_key, array_agg(session ORDER BY event_time), array_agg(signal ORDER BY event_time)
FROM predictions
WHERE strategy_id = %(strategy_id)s AND session BETWEEN %(first)s AND %(last)s
GROUP BY entity_key;
