-- What was stored of each feature for each day of event time, UTC; every revision counts.
SELECT feature_name,
       feature_version,
       date_trunc('day', event_time, 'UTC') AS day,
       count(*) AS events,
       count(*) FILTER (WHERE value_double IS NULL AND value_json IS NULL) AS missing,
       avg(value_double) AS mean,
       stddev_samp(value_double) AS std,
       min(value_double) AS minimum,
       max(value_double) AS maximum
FROM feature_events
WHERE feature_name = ANY (%(names)s)
  AND event_time >= %(first)s
  AND event_time < %(end)s
GROUP BY feature_name, feature_version, 3
ORDER BY feature_name, feature_version, 3;
