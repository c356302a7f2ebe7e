-- For each compressed chunk of a hypertable the table that holds its batches.
SELECT h.hypertable_name, n.nspname, p.relname
FROM timescaledb_information.hypertables AS h
JOIN pg_inherits AS i
  ON i.inhparent = format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass
JOIN _timescaledb_catalog.compression_settings AS s ON s.relid = i.inhrelid
JOIN pg_class AS p ON p.oid = s.compress_relid
JOIN pg_namespace AS n ON n.oid = p.relnamespace
WHERE h.hypertable_schema = current_schema();
