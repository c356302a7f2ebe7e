SELECT count(*), var_samp(newest.value)
FROM models AS m
CROSS JOIN LATERAL (
    SELECT value FROM model_metrics
    WHERE model_id = m.model_id AND metric_name = 'sharpe_ratio' AND dataset_type = 'backtest'
    ORDER BY evaluated_at DESC, id DESC
    LIMIT 1
) AS newest
WHERE m.strategy_type = %(strategy_type)s
  AND newest.value > '-Infinity' AND newest.value < 'Infinity'
  AND (
      m.model_id = %(model_id)s
      OR EXISTS (
          SELECT 1 FROM model_training_runs AS r
          WHERE r.model_id = m.model_id AND r.status = 'completed'
      )
  );
