SELECT model_id, tag, value, set_by, set_at
FROM model_tags
WHERE model_id = %(model_id)s AND (%(tag)s::text IS NULL OR tag = %(tag)s)
ORDER BY tag_id;
