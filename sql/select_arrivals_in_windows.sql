-- How late the first prints of each feature became known, and how many revisions followed, over the
-- events of each window as known at its end. Each entity and feature is a probe of the key.
SELECT w.position, f.feature_name, count(*), sum(prints.revisions)::bigint,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY prints.lag),
       percentile_disc(0.95) WITHIN GROUP (ORDER BY prints.lag),
       max(prints.lag)
FROM unnest(%(positions)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[],
            %(as_of)s::timestamptz[]) AS w (position, since, until, as_of)
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
CROSS JOIN unnest(%(entities)s::text[]) AS n (entity_key)
CROSS JOIN LATERAL (
    SELECT min(e.ingest_time) - e.event_time AS lag, count(*) - 1 AS revisions
    FROM feature_events AS e
    WHERE e.entity_key = n.entity_key
      AND e.feature_name = f.feature_name
      AND e.feature_version = f.feature_version
      AND e.event_time BETWEEN w.since AND w.until
      AND e.ingest_time <= w.as_of
    GROUP BY e.event_time
) AS prints
GROUP BY w.position, f.feature_name
ORDER BY w.position, max(prints.lag) DESC, f.feature_name COLLATE "C";
