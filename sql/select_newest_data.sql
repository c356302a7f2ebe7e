-- Newest session, up to the one judged, with a price of some tickers, or of any, known by then, with
-- any prediction, and with the drift of any feature.
SELECT (
    SELECT session FROM price_bars
    WHERE session <= %(session)s AND ingest_time <= %(as_of)s
      AND (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])))
    ORDER BY session DESC LIMIT 1
), (
    SELECT session FROM predictions
    WHERE strategy_id = %(strategy_id)s AND session <= %(session)s
    ORDER BY session DESC LIMIT 1
), (
    SELECT session FROM feature_drift
    WHERE strategy_id = %(strategy_id)s AND session <= %(session)s
    ORDER BY session DESC LIMIT 1
);
