INSERT INTO model_deployments (
    strategy_id, model_id, live_range, promoted_by, reason, evidence
)
VALUES (
    %(strategy_id)s, %(model_id)s,
    tstzrange(coalesce(%(live_from)s, transaction_timestamp()), NULL, '[)'),
    %(by)s, %(reason)s, %(evidence)s
);
