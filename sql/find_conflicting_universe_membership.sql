-- Neighbours suffice: if two rows of one key differ, so do two that follow each other.
WITH said AS (
    SELECT universe, entity_key, first_session, ingest_time, last_session, source, true AS offered
    FROM staged_universe_memberships
    UNION ALL
    SELECT m.universe, m.entity_key, m.first_session, m.ingest_time, m.last_session, m.source, false
    FROM universe_memberships AS m
    JOIN (
        SELECT DISTINCT universe, entity_key, first_session, ingest_time
        FROM staged_universe_memberships
    ) AS s USING (universe, entity_key, first_session, ingest_time)
),
neighbours AS (
    SELECT *,
           lag(last_session) OVER same_key AS last_before,
           lag(source) OVER same_key AS source_before,
           lag(offered) OVER same_key AS offered_before,
           row_number() OVER same_key AS nth
    FROM said
    WINDOW same_key AS (
        PARTITION BY universe, entity_key, first_session, ingest_time
        ORDER BY offered, last_session
    )
)
SELECT entity_key, first_session, ingest_time, last_before, last_session, source_before,
       offered_before
FROM neighbours
WHERE nth > 1 AND last_session IS DISTINCT FROM last_before
ORDER BY entity_key COLLATE "C", first_session, ingest_time
LIMIT 1;
