-- Chunks of one table that hold nothing of %(before)s or later.
SELECT c.chunk_name, c.range_start, c.range_end, c.is_compressed,
       pg_total_relation_size(r.chunk)
       + coalesce(pg_total_relation_size(s.compress_relid), 0) AS bytes
FROM show_chunks(%(table)s::regclass, older_than => %(before)s::timestamptz) AS r (chunk)
JOIN timescaledb_information.chunks AS c
  ON format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass = r.chunk
LEFT JOIN _timescaledb_catalog.compression_settings AS s ON s.relid = r.chunk
ORDER BY c.range_start;
