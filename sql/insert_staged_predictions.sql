-- A prediction is a fact: what was decided first stays.
INSERT INTO predictions (
    strategy_id, entity_key, event_time, session, model_id, signal, feature_digest
)
SELECT strategy_id, entity_key, event_time, session, model_id::uuid, signal, feature_digest
FROM staged_predictions
ORDER BY strategy_id, entity_key, event_time
ON CONFLICT DO NOTHING;
