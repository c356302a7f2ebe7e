-- A prediction is a fact: what was decided first stays. In one order, as two callers would
-- otherwise wait for each other's rows.
INSERT INTO predictions (
    strategy_id, entity_key, event_time, session, model_id, signal, feature_digest
)
SELECT %(strategy_id)s, o.entity_key, %(event_time)s, %(session)s, %(model_id)s, o.signal,
       o.feature_digest
FROM unnest(%(entities)s::text[], %(signals)s::double precision[], %(digests)s::text[])
    AS o (entity_key, signal, feature_digest)
ORDER BY o.entity_key
ON CONFLICT DO NOTHING
RETURNING entity_key;
