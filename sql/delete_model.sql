-- The parts of one statement see the rows as they were before it, so that the record is complete.
WITH gone AS (
    DELETE FROM models WHERE model_id = %(model_id)s RETURNING *
)
INSERT INTO model_deletions (name, version, model_id, deleted_by, reason, record)
SELECT name, version, model_id, %(by)s, %(reason)s,
       jsonb_build_object(
           'model', to_jsonb(gone),
           'metrics', (
               SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY id), '[]')
               FROM model_metrics AS r WHERE r.model_id = gone.model_id
           ),
           'artifacts', (
               SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY created_at), '[]')
               FROM model_artifacts AS r WHERE r.model_id = gone.model_id
           ),
           'tags', (
               SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY tag_id), '[]')
               FROM model_tags AS r WHERE r.model_id = gone.model_id
           ),
           'training_runs', (
               SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY started_at), '[]')
               FROM model_training_runs AS r WHERE r.model_id = gone.model_id
           )
       )
FROM gone;
