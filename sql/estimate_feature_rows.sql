-- Never run: the planner is asked how many rows it expects.
EXPLAIN (FORMAT JSON)
SELECT 1
FROM feature_events
WHERE entity_key = ANY (%(entities)s)
  AND feature_name = ANY (%(names)s)
  AND event_time BETWEEN %(first)s AND %(last)s;
