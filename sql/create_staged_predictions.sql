CREATE TEMPORARY TABLE staged_predictions (
    strategy_id text, entity_key text, event_time timestamptz, session date, model_id text,
    signal double precision, feature_digest text
) ON COMMIT DROP;
