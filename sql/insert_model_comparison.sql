INSERT INTO model_comparisons (
    strategy_id, champion_id, challenger_id, snapshot_id, as_of, promoted, reason, evidence
)
VALUES (
    %(strategy_id)s, %(champion_id)s, %(challenger_id)s, %(snapshot_id)s, %(as_of)s,
    %(promoted)s, %(reason)s, %(evidence)s
)
ON CONFLICT DO NOTHING;
