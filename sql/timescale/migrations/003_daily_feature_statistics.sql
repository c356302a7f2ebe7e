-- What was stored of each feature for each day of event time, UTC; every revision counts.

CREATE MATERIALIZED VIEW daily_feature_statistics
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT feature_name,
       feature_version,
       time_bucket(INTERVAL '1 day', event_time) AS day,
       count(*) AS events,
       count(*) FILTER (WHERE value_double IS NULL AND value_json IS NULL) AS missing,
       avg(value_double) AS mean,
       stddev_samp(value_double) AS std,
       min(value_double) AS minimum,
       max(value_double) AS maximum
FROM feature_events
GROUP BY feature_name, feature_version, time_bucket(INTERVAL '1 day', event_time)
WITH NO DATA;

-- Without a start, a correction of any age is taken up; only days that changed are computed again.
SELECT add_continuous_aggregate_policy('daily_feature_statistics',
    start_offset => NULL,
    end_offset => INTERVAL '1 day',
    schedule_interval => INTERVAL '1 hour',
    if_not_exists => true);
