-- Rows of chunks that are not compressed are the server's estimate.
SELECT h.hypertable_name,
       count(c.chunk)::integer AS chunks,
       count(s.compress_relid)::integer AS compressed_chunks,
       coalesce(sum(greatest(p.reltuples, 0)) FILTER (WHERE s.compress_relid IS NULL), 0)::bigint
           AS plain_rows,
       hypertable_size(t.hypertable) AS bytes,
       coalesce(
           sum(pg_total_relation_size(c.chunk) + pg_total_relation_size(s.compress_relid)), 0
       )::bigint AS compressed_bytes,
       coalesce((
           SELECT sum(before_compression_total_bytes)
           FROM hypertable_compression_stats(t.hypertable)
       ), 0)::bigint AS bytes_before_compression
FROM timescaledb_information.hypertables AS h
CROSS JOIN LATERAL (
    SELECT format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass AS hypertable
) AS t
LEFT JOIN LATERAL (
    SELECT inhrelid::regclass AS chunk FROM pg_inherits WHERE inhparent = t.hypertable
) AS c ON true
LEFT JOIN pg_class AS p ON p.oid = c.chunk
LEFT JOIN _timescaledb_catalog.compression_settings AS s
  ON s.relid = c.chunk AND s.compress_relid IS NOT NULL
WHERE h.hypertable_schema = current_schema()
GROUP BY h.hypertable_name, t.hypertable
ORDER BY bytes DESC, h.hypertable_name;
