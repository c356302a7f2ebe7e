-- Drift by session, the alerts it raises, and what they did to the strategy.

CREATE TABLE feature_profiles (
    model_id        uuid             NOT NULL REFERENCES models ON DELETE CASCADE,
    feature_name    text             NOT NULL,
    feature_version integer          NOT NULL,
    cuts            double precision[] NOT NULL,
    counts          bigint[]         NOT NULL,
    created_at      timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (model_id, feature_name)
);
COMMENT ON COLUMN feature_profiles.counts IS 'rows by bin of the training set; the last bin is missing';

CREATE TABLE feature_drift (
    strategy_id     text             NOT NULL,
    feature_name    text             NOT NULL,
    event_time      timestamptz      NOT NULL,
    session         date             NOT NULL,
    model_id        uuid             NOT NULL,
    feature_version integer          NOT NULL,
    day_counts      bigint[]         NOT NULL,
    window_sessions integer          NOT NULL,
    n_reference     bigint           NOT NULL,
    n_current       bigint           NOT NULL,
    missing_rate    double precision,
    psi             double precision,
    psi_no_drift_95 double precision,
    recorded_at     timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (strategy_id, feature_name, event_time)
);
CREATE INDEX feature_drift_session ON feature_drift (strategy_id, session);

CREATE TABLE drift_metrics (
    date             date             NOT NULL,
    strategy_id      text             NOT NULL,
    evaluation_time  timestamptz      NOT NULL,
    model_id         uuid,
    ic_session       date,
    ic_names         integer,
    ic               double precision,
    ic_5d_avg        double precision,
    ic_20d_mean      double precision,
    ic_20d_se        double precision,
    psi              double precision,
    psi_max          double precision,
    psi_max_feature  text,
    sharpe_5d        double precision,
    sharpe_20d       double precision,
    sharpe_60d       double precision,
    sharpe_60d_se    double precision,
    ic_alert         text,
    psi_alert        text,
    sharpe_alert     text,
    no_data          boolean          NOT NULL,
    recorded_at      timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (date, strategy_id)
);
COMMENT ON COLUMN drift_metrics.ic IS
    'IC of the predictions of ic_session, the newest session whose label was known; NULL if undefined';

CREATE TABLE drift_metrics_history (
    LIKE drift_metrics,
    believed_until timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (date, strategy_id, believed_until)
);

CREATE TABLE alerts (
    alert_id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dedupe_key      text        NOT NULL UNIQUE,
    strategy_id     text        NOT NULL,
    rule            text        NOT NULL,
    severity        text        NOT NULL CHECK (severity IN ('info', 'warning', 'severe', 'critical')),
    action          text        NOT NULL,
    message         text        NOT NULL,
    opened_session  date        NOT NULL,
    last_session    date        NOT NULL,
    closed_session  date,
    evidence        jsonb       NOT NULL DEFAULT '{}',
    model_id        uuid,
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    acknowledged_at timestamptz,
    acknowledged_by text,
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)),
    CHECK (last_session >= opened_session)
);
CREATE INDEX alerts_strategy ON alerts (strategy_id, opened_session);

CREATE TABLE alert_deliveries (
    delivery_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id     bigint      NOT NULL REFERENCES alerts,
    channel      text        NOT NULL,
    attempt      integer     NOT NULL CHECK (attempt > 0),
    attempted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered    boolean     NOT NULL,
    detail       text        NOT NULL DEFAULT '',
    UNIQUE (alert_id, channel, attempt)
);
CREATE UNIQUE INDEX alert_delivered_once ON alert_deliveries (alert_id, channel) WHERE delivered;

CREATE TABLE strategy_states (
    state_id       bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy_id    text             NOT NULL,
    effective_from timestamptz      NOT NULL,
    status         text             NOT NULL CHECK (status IN ('active', 'reduced', 'paused')),
    position_scale double precision NOT NULL CHECK (position_scale BETWEEN 0 AND 1),
    changed_by     text             NOT NULL CHECK (changed_by <> ''),
    reason         text             NOT NULL CHECK (reason <> ''),
    alert_id       bigint           UNIQUE REFERENCES alerts,
    recorded_at    timestamptz      NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status = 'paused') = (position_scale = 0)),
    CHECK ((status = 'active') = (position_scale = 1))
);
CREATE INDEX strategy_states_newest ON strategy_states (strategy_id, effective_from, state_id);
CREATE TRIGGER strategy_states_append_only
    BEFORE UPDATE OR DELETE ON strategy_states
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER strategy_states_no_truncate
    BEFORE TRUNCATE ON strategy_states
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE retrain_requests (
    request_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy_id  text        NOT NULL,
    session      date        NOT NULL,
    alert_id     bigint      UNIQUE REFERENCES alerts,
    requested_by text        NOT NULL CHECK (requested_by <> ''),
    may_promote  boolean     NOT NULL,
    status       text        NOT NULL
        CHECK (status IN ('open', 'coalesced', 'promoted', 'rejected', 'prepared', 'failed')),
    model_id     uuid        REFERENCES models,
    verdict      jsonb,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    CHECK ((finished_at IS NULL) = (status IN ('open', 'coalesced')))
);
CREATE UNIQUE INDEX one_open_retrain_request ON retrain_requests (strategy_id)
    WHERE status = 'open';
