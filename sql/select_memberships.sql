-- One row per entity: every row of its spells that was known by a time, in the order of the key.
SELECT entity_key,
       array_agg(first_session ORDER BY first_session, ingest_time),
       array_agg(coalesce(last_session, 'infinity') ORDER BY first_session, ingest_time),
       array_agg(ingest_time ORDER BY first_session, ingest_time)
FROM universe_memberships
WHERE universe = %(universe)s
  AND first_session <= %(last)s
  AND ingest_time <= %(as_of)s
GROUP BY entity_key;
