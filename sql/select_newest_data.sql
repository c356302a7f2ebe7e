-- Newest session, up to the one judged, with any price known by then, any prediction, and the drift
-- of any feature.
SELECT (
    SELECT session FROM price_bars
    WHERE session <= %(session)s AND ingest_time <= %(as_of)s
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
