INSERT INTO training_snapshots (
    snapshot_id, strategy_id, fingerprint, knowledge_time, first_session, last_session,
    spine_first, spine_last, row_count, left_out, features, label, universe, uri, file_sha256,
    code_version
)
VALUES (
    %(snapshot_id)s, %(strategy_id)s, %(fingerprint)s, %(knowledge_time)s, %(first_session)s,
    %(last_session)s, %(spine_first)s, %(spine_last)s, %(row_count)s, %(left_out)s, %(features)s,
    %(label)s, %(universe)s, %(uri)s, %(file_sha256)s, %(code_version)s
)
ON CONFLICT DO NOTHING;
