SELECT deployment_id, model_id, lower(live_range)
FROM model_deployments
WHERE strategy_id = %s AND upper_inf(live_range);
