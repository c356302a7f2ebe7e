SELECT * FROM model_deletions
WHERE %(name)s::text IS NULL OR name = %(name)s
ORDER BY deletion_id;
