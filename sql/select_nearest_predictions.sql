-- The decision times next to an instant, before it and after it.
SELECT (SELECT max(event_time) FROM predictions
        WHERE strategy_id = %(strategy_id)s AND entity_key = %(entity)s
          AND event_time < %(instant)s),
       (SELECT min(event_time) FROM predictions
        WHERE strategy_id = %(strategy_id)s AND entity_key = %(entity)s
          AND event_time >= %(instant)s);
