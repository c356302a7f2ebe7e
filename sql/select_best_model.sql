-- NaN counts as greater than all numbers, so that the bound leaves it out like the infinite ones.
SELECT m.*
FROM models AS m
CROSS JOIN LATERAL (
    SELECT value FROM model_metrics
    WHERE model_id = m.model_id AND metric_name = %(metric)s AND dataset_type = %(dataset)s
    ORDER BY evaluated_at DESC, id DESC
    LIMIT 1
) AS newest
WHERE m.strategy_type = %(strategy_type)s AND abs(newest.value) < 'Infinity'
ORDER BY newest.value * %(sign)s DESC, m.created_at DESC, m.version DESC
LIMIT 1;
