-- Rows are those counted when chunks were compressed, and else the server's estimate.
SELECT h.hypertable_name,
       count(c.chunk)::integer AS chunks,
       count(s.compress_relid)::integer AS compressed_chunks,
       coalesce(sum(n.rows), 0)::bigint AS rows,
       hypertable_size(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass) AS bytes,
       coalesce(sum(n.rows) FILTER (WHERE s.compress_relid IS NOT NULL), 0)::bigint
           AS compressed_rows,
       coalesce(sum(b.plain + b.compressed) FILTER (WHERE s.compress_relid IS NOT NULL), 0)::bigint
           AS compressed_bytes,
       coalesce(sum(z.uncompressed_heap_size + z.uncompressed_toast_size
                    + z.uncompressed_index_size), 0)::bigint AS bytes_before_compression
FROM timescaledb_information.hypertables AS h
LEFT JOIN LATERAL (
    SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS chunk, chunk_schema, chunk_name
    FROM timescaledb_information.chunks AS k
    WHERE k.hypertable_schema = h.hypertable_schema AND k.hypertable_name = h.hypertable_name
) AS c ON true
LEFT JOIN _timescaledb_catalog.compression_settings AS s
  ON s.relid = c.chunk AND s.compress_relid IS NOT NULL
LEFT JOIN _timescaledb_catalog.chunk AS k
  ON k.schema_name = c.chunk_schema AND k.table_name = c.chunk_name AND s.relid IS NOT NULL
LEFT JOIN _timescaledb_catalog.compression_chunk_size AS z ON z.chunk_id = k.id
LEFT JOIN LATERAL (
    SELECT coalesce(pg_total_relation_size(c.chunk), 0) AS plain,
           coalesce(pg_total_relation_size(s.compress_relid), 0) AS compressed
) AS b ON true
LEFT JOIN LATERAL (
    SELECT greatest(p.reltuples, 0)::bigint + coalesce(z.numrows_pre_compression, 0) AS rows
    FROM pg_class AS p WHERE p.oid = c.chunk
) AS n ON true
WHERE h.hypertable_schema = current_schema()
GROUP BY h.hypertable_schema, h.hypertable_name
ORDER BY bytes DESC, h.hypertable_name;
