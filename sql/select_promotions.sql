-- Every deployment of a strategy, oldest first, and whether a rollback made it.
SELECT model_id, evidence @> '{"rollback": true}'
FROM model_deployments
WHERE strategy_id = %s
ORDER BY live_range;
