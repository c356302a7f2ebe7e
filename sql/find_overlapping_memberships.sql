-- By what is known last of each spell. Neighbours suffice: if two spells overlap, the earlier one
-- overlaps the spell that begins next.
WITH newest AS (
    SELECT DISTINCT ON (entity_key, first_session) entity_key, first_session, last_session
    FROM universe_memberships
    WHERE universe = %(universe)s
      AND entity_key IN (SELECT entity_key FROM staged_universe_memberships)
    ORDER BY entity_key, first_session, ingest_time DESC
),
neighbours AS (
    SELECT *,
           lag(first_session) OVER spells AS first_before,
           lag(last_session) OVER spells AS last_before
    FROM newest
    WHERE last_session IS NULL OR last_session >= first_session
    WINDOW spells AS (PARTITION BY entity_key ORDER BY first_session)
)
SELECT entity_key, first_before, last_before, first_session
FROM neighbours
WHERE first_before IS NOT NULL AND (last_before IS NULL OR last_before >= first_session)
ORDER BY entity_key COLLATE "C", first_session
LIMIT 1;
