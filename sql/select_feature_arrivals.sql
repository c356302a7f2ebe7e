-- How late rows became known, by feature, version and producer. Rows that share both times are
-- counted together first: of features of a session these are few, and a quantile needs only counts.
WITH pairs AS (
    SELECT feature_name, feature_version, producer, event_time, ingest_time,
           ingest_time - event_time AS lag,
           -- The bucket of a time is the number of closes up to and at it.
           width_bucket(ingest_time, %(closes)s::timestamptz[])
               - width_bucket(event_time, %(closes)s::timestamptz[]) AS sessions,
           count(*)::integer AS rows,
           count(*) FILTER (WHERE recorded_at - ingest_time > %(tolerance)s) AS assumed
    FROM feature_events
    WHERE (%(names)s::text[] IS NULL OR feature_name = ANY (%(names)s::text[]))
      AND (%(entities)s::text[] IS NULL OR entity_key IN (SELECT unnest(%(entities)s::text[])))
      AND (%(since)s::timestamptz IS NULL OR event_time >= %(since)s)
      AND event_time <= %(as_of)s
      AND ingest_time <= %(as_of)s
    GROUP BY feature_name, feature_version, producer, event_time, ingest_time
),
ranked AS (
    SELECT *,
           sum(rows) OVER series AS total,
           sum(rows) OVER (series ORDER BY lag) AS lag_rank,
           sum(rows) OVER (series ORDER BY sessions) AS sessions_rank
    FROM pairs
    WINDOW series AS (PARTITION BY feature_name, feature_version, producer)
)
SELECT feature_name, feature_version, producer,
       min(least(event_time, ingest_time)) AS oldest_time,
       sum(rows) AS rows,
       -- Shares as whole numbers: 0.95 of a count is no exact double.
       min(lag) FILTER (WHERE 100 * lag_rank >= 50 * total) AS lag_p50,
       min(lag) FILTER (WHERE 100 * lag_rank >= 95 * total) AS lag_p95,
       max(lag) AS lag_max,
       min(sessions) FILTER (WHERE 100 * sessions_rank >= 50 * total) AS lag_sessions_p50,
       min(sessions) FILTER (WHERE 100 * sessions_rank >= 95 * total) AS lag_sessions_p95,
       max(sessions) AS lag_sessions_max,
       max(event_time) AS newest_event_time,
       max(ingest_time) AS newest_ingest_time,
       width_bucket(%(as_of)s, %(closes)s::timestamptz[])
           - width_bucket(max(event_time), %(closes)s::timestamptz[]) AS freshness_sessions,
       sum(assumed)::double precision / sum(rows)::double precision AS share_assumed
FROM ranked
GROUP BY feature_name, feature_version, producer
ORDER BY feature_name COLLATE "C", feature_version, producer COLLATE "C";
