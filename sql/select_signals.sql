-- One row per name.
SELECT entity_key, array_agg(session), array_agg(signal)
FROM predictions
WHERE strategy_id = %(strategy_id)s AND session BETWEEN %(first)s AND %(last)s
GROUP BY entity_key;
