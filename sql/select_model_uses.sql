-- Who would be left without an explanation if the model were deleted: strategies by kind of use.
-- Predictions are searched whole, since no index leads from a model to them; it happens rarely.
SELECT
    ARRAY(
        SELECT DISTINCT strategy_id FROM model_deployments
        WHERE model_id = %(model_id)s ORDER BY 1
    ) AS live,
    ARRAY(
        SELECT strategy_id FROM retrain_requests
        WHERE model_id = %(model_id)s
           OR verdict ->> 'candidate' = %(label)s OR verdict -> 'candidates' ? %(label)s
        UNION
        SELECT strategy_id FROM model_comparisons
        WHERE %(model_id)s IN (champion_id, challenger_id) OR evidence -> 'candidates' ? %(label)s
        UNION
        SELECT strategy_id FROM model_deployments WHERE evidence -> 'candidates' ? %(label)s
        ORDER BY 1
    ) AS judged,
    ARRAY(
        SELECT strategy_id FROM predictions WHERE model_id = %(model_id)s
        UNION
        SELECT strategy_id FROM strategy_returns WHERE model_id = %(model_id)s
        ORDER BY 1
    ) AS predicted,
    ARRAY(
        SELECT strategy_id FROM drift_metrics WHERE model_id = %(model_id)s
        UNION
        SELECT strategy_id FROM alerts WHERE model_id = %(model_id)s
        ORDER BY 1
    ) AS monitored;
