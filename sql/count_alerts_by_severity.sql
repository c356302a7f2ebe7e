SELECT severity, count(*)
FROM alerts
WHERE strategy_id = %(strategy_id)s
GROUP BY severity;
