CREATE TEMPORARY TABLE staged_universe_memberships (
    universe text, entity_key text, first_session date, last_session date, ingest_time timestamptz,
    source text
) ON COMMIT DROP;
