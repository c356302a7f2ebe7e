SELECT snapshot_id, strategy_id, fingerprint, knowledge_time, first_session, last_session,
       row_count, label, uri, file_sha256, code_version, features
FROM training_snapshots
WHERE snapshot_id = %s;
