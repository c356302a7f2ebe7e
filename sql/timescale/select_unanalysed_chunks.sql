-- Chunks that are not compressed and of which the server has no estimate, as nobody has looked yet.
SELECT h.hypertable_name, n.nspname, c.relname
FROM timescaledb_information.hypertables AS h
JOIN pg_inherits AS i
  ON i.inhparent = format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass
JOIN pg_class AS c ON c.oid = i.inhrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN _timescaledb_catalog.compression_settings AS s
  ON s.relid = c.oid AND s.compress_relid IS NOT NULL
WHERE h.hypertable_schema = current_schema()
  AND c.reltuples < 0
  AND s.compress_relid IS NULL;
