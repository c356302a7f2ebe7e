-- A strategy that has run before anything was ingested for it traded every ticker that is stored,
-- and keeps them beside the new ones: its training sets and predictions were made of them.
WITH given AS (
    SELECT unnest(%(strategies)s::text[]) AS strategy_id
),
ran AS (
    SELECT strategy_id
    FROM given
    WHERE NOT EXISTS (SELECT FROM strategy_tickers AS t WHERE t.strategy_id = given.strategy_id)
      AND (
          EXISTS (SELECT FROM training_snapshots AS s WHERE s.strategy_id = given.strategy_id)
          OR EXISTS (SELECT FROM feature_corrections AS c WHERE c.strategy_id = given.strategy_id)
          OR EXISTS (SELECT FROM drift_metrics AS m WHERE m.strategy_id = given.strategy_id)
          OR EXISTS (SELECT FROM predictions AS p WHERE p.strategy_id = given.strategy_id)
      )
)
INSERT INTO strategy_tickers (strategy_id, ticker)
SELECT strategy_id, ticker
FROM given CROSS JOIN unnest(%(tickers)s::text[]) AS offered (ticker)
UNION
SELECT strategy_id, ticker
FROM ran CROSS JOIN (SELECT DISTINCT ticker FROM price_bars) AS stored
ON CONFLICT DO NOTHING;
