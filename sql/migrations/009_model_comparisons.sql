-- What was decided between champion and challenger, whichever way it went, and on what evidence.

CREATE TABLE model_comparisons (
    comparison_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy_id   text        NOT NULL CHECK (strategy_id <> ''),
    champion_id   uuid        REFERENCES models,
    challenger_id uuid        NOT NULL REFERENCES models,
    snapshot_id   uuid        NOT NULL REFERENCES training_snapshots,
    as_of         timestamptz NOT NULL,
    promoted      boolean     NOT NULL,
    reason        text        NOT NULL CHECK (reason <> ''),
    evidence      jsonb       NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN model_comparisons.champion_id IS 'NULL for the first model of a strategy';
COMMENT ON COLUMN model_comparisons.promoted IS
    'whether the challenger went live by it; false as well for one that was only to be prepared';

-- The same decision taken again is one row. Without a champion there is no id to compare, and two
-- NULLs would be two decisions.
CREATE UNIQUE INDEX model_comparisons_decision ON model_comparisons (
    strategy_id, challenger_id, snapshot_id, as_of, promoted,
    coalesce(champion_id, '00000000-0000-0000-0000-000000000000')
);
CREATE INDEX model_comparisons_champion ON model_comparisons (champion_id);
CREATE INDEX model_comparisons_challenger ON model_comparisons (challenger_id);

CREATE TRIGGER model_comparisons_append_only
    BEFORE UPDATE OR DELETE ON model_comparisons
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_comparisons_no_truncate
    BEFORE TRUNCATE ON model_comparisons
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE model_training_runs ADD COLUMN trained_until date;
COMMENT ON COLUMN model_training_runs.trained_until IS
    'last session whose close decided anything about the weights; dataset_end is that of the test split';
