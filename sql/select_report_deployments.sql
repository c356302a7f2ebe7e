-- An infinite bound has no Python datetime; like a missing one it means "open".
SELECT d.model_id, m.name, m.version,
       nullif(lower(d.live_range), '-infinity') AS live_from,
       nullif(upper(d.live_range), 'infinity') AS live_to,
       d.promoted_by, d.reason
FROM model_deployments d
JOIN models m USING (model_id)
WHERE d.strategy_id = %(strategy_id)s
  AND d.live_range && tstzrange(%(first)s::date, %(last)s::date + 1)
ORDER BY lower(d.live_range) NULLS FIRST, d.deployment_id
