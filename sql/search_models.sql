-- What is undefined (NULL, or NaN, which counts as greater than infinity) comes last in either
-- direction and is within no bounds; of equal ones the newer comes first.
SELECT m.*
FROM models AS m
LEFT JOIN LATERAL (
    SELECT value FROM model_metrics
    WHERE model_id = m.model_id AND metric_name = %(metric)s AND dataset_type = %(dataset)s
    ORDER BY evaluated_at DESC, id DESC
    LIMIT 1
) AS bounded ON true
LEFT JOIN LATERAL (
    SELECT value FROM model_metrics
    WHERE model_id = m.model_id
      AND metric_name = %(order_metric)s AND dataset_type = %(order_dataset)s
    ORDER BY evaluated_at DESC, id DESC
    LIMIT 1
) AS ordering ON true
WHERE (%(name)s::text IS NULL OR m.name = %(name)s)
  AND (%(strategy_type)s::text IS NULL OR m.strategy_type = %(strategy_type)s)
  AND (%(snapshot_id)s::uuid IS NULL OR m.snapshot_id = %(snapshot_id)s)
  AND (%(created_after)s::timestamptz IS NULL OR m.created_at >= %(created_after)s)
  AND (%(created_before)s::timestamptz IS NULL OR m.created_at < %(created_before)s)
  AND m.params @> %(params)s::jsonb
  AND (
      %(metric)s::text IS NULL
      OR bounded.value >= coalesce(%(at_least)s::double precision, '-Infinity')
      AND bounded.value <= coalesce(%(at_most)s::double precision, 'Infinity')
  )
  AND (
      cardinality(%(tag_names)s::text[]) = 0
      OR (
          SELECT jsonb_object_agg(tag, value) FROM current_model_tags WHERE model_id = m.model_id
      ) @> %(tags)s::jsonb
      AND ARRAY(SELECT tag FROM current_model_tags WHERE model_id = m.model_id)
          @> %(tag_names)s::text[]
  )
ORDER BY
    nullif(ordering.value, 'NaN') * %(sign)s NULLS LAST,
    CASE WHEN %(order_column)s = 'created_at' THEN extract(epoch FROM m.created_at) * %(sign)s END,
    CASE WHEN %(order_column)s = 'version' THEN m.version * %(sign)s END,
    CASE WHEN %(order_column)s = 'name' AND %(sign)s < 0 THEN m.name END DESC,
    CASE WHEN %(order_column)s = 'name' THEN m.name END,
    CASE WHEN %(order_column)s = 'name' THEN m.version END,
    m.created_at DESC, m.name, m.version DESC
LIMIT %(limit)s;
