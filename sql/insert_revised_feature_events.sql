-- What was known of each offered event, stored or offered, in the order it became known; an
-- offered row is new where it differs from the one before it.
WITH known AS (
    SELECT f.entity_key, f.feature_name, f.feature_version, f.event_time, f.ingest_time,
           f.value_double, f.value_json, false AS offered
    FROM feature_events AS f
    JOIN (
        SELECT DISTINCT entity_key, feature_name, feature_version, event_time
        FROM staged_feature_events
    ) AS s USING (entity_key, feature_name, feature_version, event_time)
    UNION ALL
    SELECT DISTINCT entity_key, feature_name, feature_version, event_time, ingest_time,
           value_double, value_json::jsonb, true
    FROM staged_feature_events
),
neighbours AS (
    SELECT *,
           lag(value_double) OVER revisions AS double_before,
           lag(value_json) OVER revisions AS json_before,
           row_number() OVER revisions AS nth
    FROM known
    WINDOW revisions AS (
        PARTITION BY entity_key, feature_name, feature_version, event_time
        ORDER BY ingest_time, offered
    )
),
news AS (
    SELECT *
    FROM neighbours
    WHERE offered
      AND (nth = 1
           OR value_double IS DISTINCT FROM double_before
           OR value_json IS DISTINCT FROM json_before)
),
stored AS (
    INSERT INTO feature_events (
        entity_key, feature_name, feature_version, event_time, ingest_time, value_double,
        value_json, producer, producer_version, run_id
    )
    SELECT entity_key, feature_name, feature_version, event_time, ingest_time, value_double,
           value_json, %(producer)s, %(producer_version)s, %(run_id)s
    FROM news
    ORDER BY entity_key, feature_name, feature_version, event_time, ingest_time
    RETURNING 1
)
SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM news WHERE nth > 1);
