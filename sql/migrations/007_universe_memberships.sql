-- Who belonged to an index when, as it became known: a spell is named by its first day, and each
-- row says what was then known of its end.

CREATE TABLE universe_memberships (
    universe      text        NOT NULL CHECK (universe <> ''),
    entity_key    text        NOT NULL CHECK (entity_key <> ''),
    first_session date        NOT NULL CHECK (isfinite(first_session)),
    last_session  date        CHECK (isfinite(last_session)),
    ingest_time   timestamptz NOT NULL CHECK (isfinite(ingest_time)),
    source        text        NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (universe, entity_key, first_session, ingest_time)
);
COMMENT ON COLUMN universe_memberships.first_session IS
    'first day of the spell, and with universe and entity its name';
COMMENT ON COLUMN universe_memberships.last_session IS
    'last day of the spell, included; NULL: not known to end; before first_session: withdrawn, never a member';
COMMENT ON COLUMN universe_memberships.ingest_time IS
    'when this could first be known; of a spell''s rows the newest known at a time holds then';

CREATE TRIGGER universe_memberships_append_only
    BEFORE UPDATE OR DELETE ON universe_memberships
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER universe_memberships_no_truncate
    BEFORE TRUNCATE ON universe_memberships
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
