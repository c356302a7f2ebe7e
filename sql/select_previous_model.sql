SELECT ended.model_id
FROM model_deployments AS ended
WHERE ended.strategy_id = %s
  AND NOT upper_inf(ended.live_range)
  AND ended.model_id <> (
      SELECT model_id FROM model_deployments
      WHERE strategy_id = ended.strategy_id AND upper_inf(live_range)
  )
ORDER BY upper(ended.live_range) DESC
LIMIT 1;
