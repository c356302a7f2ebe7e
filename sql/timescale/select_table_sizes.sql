-- As the statement of the same name beside this folder; a hypertable's rows are in its chunks.
SELECT c.relname,
       CASE WHEN h.hypertable_name IS NULL THEN greatest(c.reltuples, 0)::bigint
            ELSE approximate_row_count(c.oid) END,
       CASE WHEN h.hypertable_name IS NULL THEN pg_total_relation_size(c.oid)
            ELSE hypertable_size(c.oid) END
FROM pg_class AS c
LEFT JOIN timescaledb_information.hypertables AS h
  ON h.hypertable_schema = c.relnamespace::regnamespace::text AND h.hypertable_name = c.relname
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
ORDER BY 3 DESC, 1;
