SELECT (SELECT count(*) FROM price_bars),
       (SELECT count(DISTINCT ticker) FROM price_bars),
       (SELECT count(*) FROM feature_events WHERE feature_name = ANY (%(names)s)),
       count(d.date), min(d.date), max(d.date), avg(d.ic),
       current_setting('server_version'),
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')
FROM drift_metrics AS d
WHERE d.strategy_id = %(strategy_id)s;
