SELECT table_name, dropped_until, row_count, snapshot_ids, dropped_by, dropped_at
FROM retentions
WHERE snapshot_ids @> ARRAY[%s::uuid]
ORDER BY retention_id;
