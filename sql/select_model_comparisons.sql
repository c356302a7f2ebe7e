SELECT c.comparison_id, c.strategy_id, c.champion_id,
       champion.name || ' v' || champion.version AS champion,
       c.challenger_id, challenger.name || ' v' || challenger.version AS challenger,
       c.snapshot_id, c.as_of, c.promoted, c.reason, c.evidence, c.recorded_at
FROM model_comparisons AS c
JOIN models AS challenger ON challenger.model_id = c.challenger_id
LEFT JOIN models AS champion ON champion.model_id = c.champion_id
WHERE c.strategy_id = %s
ORDER BY c.as_of, c.comparison_id;
