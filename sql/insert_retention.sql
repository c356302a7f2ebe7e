INSERT INTO retentions (table_name, dropped_until, row_count, snapshot_ids, dropped_by)
VALUES (%(table)s, %(dropped_until)s, %(row_count)s, %(snapshot_ids)s::uuid[], %(by)s);
