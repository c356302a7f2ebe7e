-- What is the current value already is not entered again: who set it first stays.
INSERT INTO model_tags (model_id, tag, value, set_by)
SELECT %(model_id)s, %(tag)s, %(value)s::text, %(by)s
WHERE %(value)s::text IS DISTINCT FROM (
    SELECT value FROM model_tags
    WHERE model_id = %(model_id)s AND tag = %(tag)s
    ORDER BY tag_id DESC
    LIMIT 1
);
