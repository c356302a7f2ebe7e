SELECT 1 FROM model_deployments
WHERE strategy_id = %(strategy_id)s
  AND model_id = %(model_id)s
  AND lower(live_range) = %(live_from)s;
