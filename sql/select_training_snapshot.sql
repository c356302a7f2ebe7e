SELECT * FROM training_snapshots WHERE snapshot_id = %s;
