SELECT d.deployment_id, d.strategy_id, d.model_id, m.name, m.version,
       lower(d.live_range) AS live_from, upper(d.live_range) AS live_until,
       d.promoted_by, d.reason, d.evidence, d.recorded_at
FROM model_deployments AS d
JOIN models AS m USING (model_id)
WHERE d.model_id = %s
ORDER BY lower(d.live_range), d.deployment_id;
