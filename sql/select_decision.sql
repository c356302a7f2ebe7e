-- One row: the decision time, whether it is still ahead, the model live at it, and of each entity
-- and in it each feature the newest value known then; NaN and -infinity where there is none.
-- Versions are pinned. One round trip, as callers wait for it.
SELECT t.as_of_time, t.as_of_time > now(), live.model_id,
       known.values, known.event_times, known.ingest_times
FROM (SELECT coalesce(%(as_of)s::timestamptz, now()) AS as_of_time) AS t
LEFT JOIN model_deployments AS live
    ON live.strategy_id = %(strategy_id)s AND live.live_range @> t.as_of_time
CROSS JOIN LATERAL (
    SELECT array_agg(coalesce(e.value_double, 'NaN') ORDER BY q.nth, f.nth) AS values,
           array_agg(coalesce(e.event_time, '-infinity') ORDER BY q.nth, f.nth) AS event_times,
           array_agg(coalesce(e.ingest_time, '-infinity') ORDER BY q.nth, f.nth) AS ingest_times
    FROM unnest(%(entities)s::text[]) WITH ORDINALITY AS q (entity_key, nth)
    CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[])
        WITH ORDINALITY AS f (feature_name, feature_version, nth)
    LEFT JOIN LATERAL (
        SELECT s.event_time, s.ingest_time, s.value_double
        FROM feature_events AS s
        WHERE s.entity_key = q.entity_key
          AND s.feature_name = f.feature_name
          AND s.feature_version = f.feature_version
          AND s.event_time <= t.as_of_time
          AND s.ingest_time <= least(t.as_of_time, now())
        ORDER BY s.event_time DESC, s.ingest_time DESC
        LIMIT 1
    ) AS e ON true
) AS known;
