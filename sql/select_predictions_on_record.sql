SELECT entity_key, model_id, signal, feature_digest
FROM predictions
WHERE strategy_id = %(strategy_id)s
  AND entity_key = ANY (%(entities)s::text[])
  AND event_time = %(event_time)s;
