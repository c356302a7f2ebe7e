-- One row per series: of each event the newest value known at the decision about it, NaN where it
-- is known to be missing.
SELECT t.entity_key, f.feature_name, f.feature_version, served.event_times, served.values
FROM unnest(%(entities)s::text[]) AS t (entity_key)
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
CROSS JOIN LATERAL (
    SELECT array_agg(known.event_time) AS event_times,
           array_agg(coalesce(known.value_double, 'NaN')) AS values
    FROM (
        SELECT DISTINCT ON (e.event_time) e.event_time, e.value_double
        FROM feature_events AS e
        JOIN unnest(%(events)s::timestamptz[], %(decisions)s::timestamptz[])
            AS d (event_time, decision_time) USING (event_time)
        WHERE e.entity_key = t.entity_key
          AND e.feature_name = f.feature_name
          AND e.feature_version = f.feature_version
          AND e.event_time BETWEEN %(first)s AND %(last)s
          AND e.ingest_time <= d.decision_time
        ORDER BY e.event_time, e.ingest_time DESC
    ) AS known
) AS served
WHERE served.event_times IS NOT NULL;
