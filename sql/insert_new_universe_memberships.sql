INSERT INTO universe_memberships (
    universe, entity_key, first_session, last_session, ingest_time, source
)
SELECT universe, entity_key, first_session, last_session, ingest_time, source
FROM staged_universe_memberships
ON CONFLICT DO NOTHING;
