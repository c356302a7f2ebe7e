SELECT bars.rows, bars.tickers,
       (
           SELECT count(*) FROM feature_events
           WHERE feature_name = ANY (%(names)s)
             AND (%(tickers)s::text[] IS NULL OR entity_key IN (SELECT unnest(%(tickers)s::text[])))
       ),
       count(d.date), min(d.date), max(d.date), avg(d.ic),
       current_setting('server_version'),
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')
FROM (
    SELECT count(*) AS rows, count(DISTINCT ticker) AS tickers
    FROM price_bars
    WHERE (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])))
) AS bars
LEFT JOIN drift_metrics AS d ON d.strategy_id = %(strategy_id)s
GROUP BY bars.rows, bars.tickers;
