-- Version numbers that are never given twice, tags with their history, and what was deleted.

CREATE TABLE model_name_counters (
    name         text    PRIMARY KEY CHECK (name <> ''),
    last_version integer NOT NULL CHECK (last_version > 0)
);
COMMENT ON COLUMN model_name_counters.last_version IS
    'the newest version that was ever given, whether or not it was deleted since';
INSERT INTO model_name_counters (name, last_version)
SELECT name, max(version) FROM models GROUP BY name;

CREATE TABLE model_tags (
    tag_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id uuid        NOT NULL REFERENCES models ON DELETE CASCADE,
    tag      text        NOT NULL CHECK (tag <> ''),
    value    text,
    set_by   text        NOT NULL CHECK (set_by <> ''),
    set_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX model_tags_newest ON model_tags (model_id, tag, tag_id DESC);
COMMENT ON COLUMN model_tags.value IS 'NULL where the tag was removed; the newest row of a tag holds';
-- Rows leave with their model alone, whose deletion keeps a copy of them.
CREATE TRIGGER model_tags_append_only
    BEFORE UPDATE OR DELETE ON model_tags
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_tags_no_truncate
    BEFORE TRUNCATE ON model_tags
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE VIEW current_model_tags AS
SELECT model_id, tag, value, set_by, set_at
FROM (
    SELECT DISTINCT ON (model_id, tag) model_id, tag, value, set_by, set_at
    FROM model_tags
    ORDER BY model_id, tag, tag_id DESC
) AS newest
WHERE value IS NOT NULL;

CREATE TABLE model_deletions (
    deletion_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text        NOT NULL,
    version       integer     NOT NULL,
    model_id      uuid        NOT NULL UNIQUE,
    deleted_by    text        CHECK (deleted_by <> ''),
    database_user text        NOT NULL DEFAULT session_user,
    reason        text        CHECK (reason <> ''),
    deleted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    record        jsonb       NOT NULL,
    UNIQUE (name, version)
);
COMMENT ON COLUMN model_deletions.deleted_by IS 'NULL where the caller did not say who';
COMMENT ON COLUMN model_deletions.record IS
    'rows of the model, its metrics, artifacts, tags and training runs as they were';
CREATE TRIGGER model_deletions_append_only
    BEFORE UPDATE OR DELETE ON model_deletions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_deletions_no_truncate
    BEFORE TRUNCATE ON model_deletions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
