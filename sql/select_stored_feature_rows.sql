-- One row for each offered series with anything stored in the range of time that is offered.
SELECT o.entity_key, o.feature_name, o.feature_version, s.event_times, s.ingest_times, s.numbers,
       s.documents
FROM unnest(
    %(entities)s::text[], %(names)s::text[], %(versions)s::integer[],
    %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]
) AS o (entity_key, feature_name, feature_version, first, last)
CROSS JOIN LATERAL (
    SELECT array_agg(event_time) AS event_times,
           array_agg(ingest_time) AS ingest_times,
           array_agg(coalesce(value_double, 'NaN')) AS numbers,
           count(value_json) AS documents
    FROM feature_events AS e
    WHERE e.entity_key = o.entity_key
      AND e.feature_name = o.feature_name
      AND e.feature_version = o.feature_version
      AND e.event_time BETWEEN o.first AND o.last
) AS s
WHERE s.event_times IS NOT NULL;
