-- What was predicted, and what the strategy then earned.

CREATE TABLE predictions (
    strategy_id    text             NOT NULL,
    entity_key     text             NOT NULL,
    event_time     timestamptz      NOT NULL,
    session        date             NOT NULL,
    model_id       uuid             NOT NULL,
    signal         double precision NOT NULL
        CHECK (signal > '-Infinity' AND signal < 'Infinity'),
    feature_digest text             NOT NULL,
    recorded_at    timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (strategy_id, entity_key, event_time)
);
CREATE INDEX predictions_session ON predictions (strategy_id, session);
COMMENT ON COLUMN predictions.event_time IS
    'the decision time: every feature used was known by then';

CREATE TABLE strategy_returns (
    strategy_id    text             NOT NULL,
    session        date             NOT NULL,
    event_time     timestamptz      NOT NULL,
    model_id       uuid             NOT NULL,
    names          integer          NOT NULL CHECK (names > 0),
    gross_return   double precision NOT NULL,
    turnover       double precision NOT NULL CHECK (turnover >= 0),
    cost           double precision NOT NULL CHECK (cost >= 0),
    net_return     double precision NOT NULL,
    market_return  double precision NOT NULL,
    recorded_at    timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (strategy_id, session)
);
COMMENT ON COLUMN strategy_returns.net_return IS
    'return of the fully invested model portfolio over the session, after cost; what was traded is this times the position scale of the day';
