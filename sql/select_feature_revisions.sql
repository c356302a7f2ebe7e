-- Revisions by feature, version and producer: rows of an event that others came before, whoever
-- wrote those. Events of one row are most of the log, and are dropped before anything is sorted.
WITH counted AS NOT MATERIALIZED (
    SELECT *
    FROM feature_events
    WHERE (%(names)s::text[] IS NULL OR feature_name = ANY (%(names)s::text[]))
      AND (%(entities)s::text[] IS NULL OR entity_key IN (SELECT unnest(%(entities)s::text[])))
      AND (%(since)s::timestamptz IS NULL OR event_time >= %(since)s)
      AND event_time <= %(as_of)s
      AND ingest_time <= %(as_of)s
),
second_prints AS (
    -- Numbered in the order that the index has: to group the events would be to hash all of them.
    SELECT entity_key, feature_name, feature_version, event_time
    FROM (
        SELECT *, row_number() OVER event AS nth
        FROM counted
        WINDOW event AS (
            PARTITION BY entity_key, feature_name, feature_version, event_time ORDER BY ingest_time
        )
    ) AS numbered
    WHERE nth = 2
),
prints AS (
    SELECT feature_name, feature_version, producer,
           (entity_key, event_time) AS event,
           row_number() OVER event > 1 AS revises,
           value_double AS value,
           lag(value_double) OVER event AS before
    FROM second_prints
    JOIN counted USING (entity_key, feature_name, feature_version, event_time)
    WINDOW event AS (
        PARTITION BY entity_key, feature_name, feature_version, event_time ORDER BY ingest_time
    )
),
changes AS (
    SELECT *,
           -- A result beyond the range of a double is an error of the server and no infinity.
           CASE
               WHEN abs(value) < 4e307 AND abs(before) < 4e307 THEN abs(value - before)
               WHEN value IS NOT NULL AND before IS NOT NULL THEN 'Infinity'
           END AS change
    FROM prints
),
sizes AS (
    SELECT *,
           CASE
               WHEN change > least(abs(before), 1) * 1.797e308 AND before <> 0 THEN 'Infinity'
               ELSE change / nullif(abs(before), 0)
           END AS relative_change
    FROM changes
)
SELECT feature_name, feature_version, producer,
       count(*) - count(DISTINCT event) AS repeats,
       count(*) FILTER (WHERE revises) AS revisions,
       count(DISTINCT event) FILTER (WHERE revises) AS revised_events,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY change) AS median_change,
       max(change) AS largest_change,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY relative_change) AS median_relative_change
FROM sizes
GROUP BY feature_name, feature_version, producer;
