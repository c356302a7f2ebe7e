-- Which tickers were ingested for which strategy: bars are shared, what is traded is not.

CREATE TABLE strategy_tickers (
    strategy_id text        NOT NULL,
    ticker      text        NOT NULL CHECK (ticker <> ''),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (strategy_id, ticker)
);
COMMENT ON TABLE strategy_tickers IS
    'a strategy without a universe trades these; one that has no row trades every ticker';

CREATE TRIGGER strategy_tickers_append_only
    BEFORE UPDATE OR DELETE ON strategy_tickers
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER strategy_tickers_no_truncate
    BEFORE TRUNCATE ON strategy_tickers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A strategy that has run traded every ticker, and goes on with those.
INSERT INTO strategy_tickers (strategy_id, ticker)
SELECT ran.strategy_id, stored.ticker
FROM (
    SELECT strategy_id FROM predictions
    UNION SELECT strategy_id FROM training_snapshots
    UNION SELECT strategy_id FROM drift_metrics
    UNION SELECT strategy_id FROM feature_corrections
) AS ran
CROSS JOIN (SELECT DISTINCT ticker FROM price_bars) AS stored;
