-- A return is restated where a prediction that it rests on was made only after it; what was believed before stays.

CREATE TABLE strategy_returns_history (
    LIKE strategy_returns,
    believed_until timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (strategy_id, session, believed_until)
);
