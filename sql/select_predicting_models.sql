SELECT DISTINCT ON (session) session, model_id
FROM predictions
WHERE strategy_id = %(strategy_id)s AND session BETWEEN %(first)s AND %(last)s
ORDER BY session, event_time DESC, model_id;
