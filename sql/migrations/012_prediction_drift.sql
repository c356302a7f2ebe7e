-- Drift of the model's own signals, the IC of every horizon, and how sure each Sharpe ratio is.

CREATE TABLE signal_profiles (
    model_id   uuid               PRIMARY KEY REFERENCES models ON DELETE CASCADE,
    cuts       double precision[] NOT NULL,
    counts     bigint[]           NOT NULL,
    created_at timestamptz        NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE signal_profiles IS
    'bins of a model''s signals on its training rows; a table of its own, so that no feature''s name can be taken for it';

CREATE TABLE prediction_drift (
    strategy_id     text        NOT NULL,
    event_time      timestamptz NOT NULL,
    session         date        NOT NULL,
    model_id        uuid        NOT NULL,
    day_counts      bigint[]    NOT NULL,
    window_sessions integer     NOT NULL,
    n_reference     bigint      NOT NULL,
    n_current       bigint      NOT NULL,
    psi             double precision,
    psi_no_drift_95 double precision,
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (strategy_id, event_time)
);
CREATE INDEX prediction_drift_session ON prediction_drift (strategy_id, session);
COMMENT ON COLUMN prediction_drift.psi IS
    'of what the session''s live model says of the inputs of the window; no part of drift_metrics.psi';

ALTER TABLE drift_metrics
    ADD COLUMN prediction_psi          double precision,
    ADD COLUMN ic_by_horizon           jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN sharpe_5d_se            double precision,
    ADD COLUMN sharpe_20d_se           double precision,
    ADD COLUMN probabilistic_sharpe_60d double precision;
COMMENT ON COLUMN drift_metrics.ic_by_horizon IS
    'for each horizon the IC of the newest predictions whose label of that length was known';

-- Columns of an earlier belief stand in another order there, so they are named when it is moved.
ALTER TABLE drift_metrics_history
    ADD COLUMN prediction_psi          double precision,
    ADD COLUMN ic_by_horizon           jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN sharpe_5d_se            double precision,
    ADD COLUMN sharpe_20d_se           double precision,
    ADD COLUMN probabilistic_sharpe_60d double precision;
