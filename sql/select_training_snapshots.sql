SELECT * FROM training_snapshots
WHERE %(strategy_id)s::text IS NULL OR strategy_id = %(strategy_id)s
ORDER BY knowledge_time DESC, created_at DESC;
