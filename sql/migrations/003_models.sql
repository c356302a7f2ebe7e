-- Training sets, models, and which model was live when.

CREATE TABLE training_snapshots (
    snapshot_id    uuid        PRIMARY KEY,
    strategy_id    text        NOT NULL,
    fingerprint    text        NOT NULL,
    knowledge_time timestamptz NOT NULL,
    first_session  date        NOT NULL,
    last_session   date        NOT NULL,
    row_count      bigint      NOT NULL CHECK (row_count > 0),
    left_out       jsonb       NOT NULL,
    features       jsonb       NOT NULL,
    label          jsonb       NOT NULL,
    uri            text        NOT NULL,
    file_sha256    text        NOT NULL,
    code_version   text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (strategy_id, knowledge_time, fingerprint)
);

CREATE TABLE models (
    model_id      uuid        PRIMARY KEY,
    name          text        NOT NULL CHECK (name <> ''),
    version       integer     NOT NULL CHECK (version > 0),
    strategy_type text,
    params        jsonb       NOT NULL DEFAULT '{}',
    description   text,
    snapshot_id   uuid        REFERENCES training_snapshots,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (name, version)
);
CREATE INDEX models_strategy_type ON models (strategy_type);

CREATE TABLE model_metrics (
    id           bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id     uuid             NOT NULL REFERENCES models ON DELETE CASCADE,
    metric_name  text             NOT NULL,
    value        double precision,
    dataset_type text             NOT NULL
        CHECK (dataset_type IN ('train', 'val', 'test', 'backtest', 'live')),
    evaluated_at timestamptz      NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX model_metrics_newest
    ON model_metrics (model_id, dataset_type, metric_name, evaluated_at DESC, id DESC);
COMMENT ON COLUMN model_metrics.value IS 'NULL where the metric cannot be computed';

CREATE TABLE model_artifacts (
    artifact_id   uuid        PRIMARY KEY,
    model_id      uuid        NOT NULL REFERENCES models ON DELETE CASCADE,
    artifact_path text        NOT NULL,
    artifact_type text        NOT NULL,
    checksum      text        NOT NULL CHECK (checksum ~ '^[0-9a-f]{64}$'),
    size_bytes    bigint      NOT NULL CHECK (size_bytes >= 0),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX model_artifacts_model ON model_artifacts (model_id, artifact_type, created_at DESC);

CREATE TABLE model_training_runs (
    run_id            uuid        PRIMARY KEY,
    model_id          uuid        REFERENCES models ON DELETE CASCADE,
    training_key      text        NOT NULL,
    params            jsonb       NOT NULL,
    snapshot_id       uuid        REFERENCES training_snapshots,
    dataset_start     date,
    dataset_end       date,
    started_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at       timestamptz,
    status            text        NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    error             text,
    seed              integer,
    code_version      text,
    code_dirty        boolean,
    library_versions  jsonb,
    CHECK ((status = 'completed') = (model_id IS NOT NULL)),
    CHECK ((status = 'running') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX model_training_runs_key
    ON model_training_runs (training_key) WHERE status = 'completed';
COMMENT ON COLUMN model_training_runs.training_key IS
    'digest of the training set, the learner, its parameters and the seed';

-- A range over text makes "same strategy" a GiST operator without any extension.
CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");

CREATE TABLE model_deployments (
    deployment_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy_id   text        NOT NULL CHECK (strategy_id <> ''),
    model_id      uuid        NOT NULL REFERENCES models,
    live_range    tstzrange   NOT NULL CHECK (NOT isempty(live_range)),
    promoted_by   text        NOT NULL CHECK (promoted_by <> ''),
    reason        text        NOT NULL CHECK (reason <> ''),
    evidence      jsonb       NOT NULL DEFAULT '{}',
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_live_model_at_a_time
        EXCLUDE USING gist (textrange(strategy_id, strategy_id, '[]') WITH &&, live_range WITH &&)
);
