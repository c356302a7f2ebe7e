SELECT count(*)
FROM (SELECT DISTINCT ticker FROM price_bars WHERE event_time BETWEEN %(first)s AND %(last)s) AS b
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
JOIN feature_events AS e
  ON e.entity_key = b.ticker
 AND e.feature_name = f.feature_name
 AND e.feature_version = f.feature_version
 AND e.event_time BETWEEN %(first)s AND %(last)s
 AND e.ingest_time < e.event_time;
