SELECT snapshot_id, fingerprint, knowledge_time, first_session, last_session, row_count
FROM training_snapshots
WHERE strategy_id = %(strategy_id)s
ORDER BY knowledge_time, created_at, snapshot_id
