-- A model belongs to the strategy it was live for, was retrained for, or whose data it learned from.
SELECT m.model_id, m.name, m.version, m.description, m.snapshot_id, m.created_at
FROM models m
WHERE m.model_id IN (
    SELECT model_id FROM model_deployments WHERE strategy_id = %(strategy_id)s
    UNION
    SELECT model_id FROM retrain_requests WHERE strategy_id = %(strategy_id)s
    UNION
    SELECT model_id
    FROM models
    JOIN training_snapshots USING (snapshot_id)
    WHERE strategy_id = %(strategy_id)s
)
ORDER BY m.name, m.version
