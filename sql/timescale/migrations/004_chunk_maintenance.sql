-- What each chunk needs beside compression: it refuses changes by its own name as its hypertable
-- does, and its times are packed.

CREATE VIEW hypertable_chunks AS
SELECT t.oid::regclass AS hypertable, i.inhrelid::regclass AS chunk, s.compress_relid AS compressed
FROM pg_class AS t
JOIN pg_inherits AS i ON i.inhparent = t.oid
LEFT JOIN _timescaledb_catalog.compression_settings AS s ON s.relid = i.inhrelid
WHERE t.oid IN ('price_bars'::regclass, 'feature_events'::regclass, 'predictions'::regclass,
                'feature_drift'::regclass);

-- A chunk takes over triggers for each row, not those for statements; a compressed one keeps its
-- rows in a second table, which takes over none.
CREATE VIEW unsealed_chunks AS
SELECT r.relation
FROM hypertable_chunks AS c
CROSS JOIN LATERAL (VALUES (c.chunk), (c.compressed)) AS r (relation)
WHERE r.relation IS NOT NULL
  AND EXISTS (
    SELECT FROM pg_trigger AS t
    WHERE t.tgrelid = c.hypertable AND t.tgname = c.hypertable::text || '_no_truncate'
  )
  AND NOT EXISTS (
    SELECT FROM pg_trigger AS t WHERE t.tgrelid = r.relation AND t.tgname = 'append_only'
  );

-- Times of compressed rows are differences that repeat with the weeks, which the compression of
-- values does not see; TimescaleDB tells PostgreSQL not to compress them again. Doing so makes an
-- event a third smaller.
CREATE VIEW unpacked_chunks AS
SELECT c.compressed AS relation, array_agg(a.attname ORDER BY a.attnum) AS times
FROM hypertable_chunks AS c
JOIN pg_attribute AS a ON a.attrelid = c.compressed
JOIN pg_attribute AS h ON h.attrelid = c.hypertable AND h.attname = a.attname
WHERE a.attstorage = 'e' AND h.atttypid = 'timestamptz'::regtype
GROUP BY c.compressed;

CREATE FUNCTION seal_chunk(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
        'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', relation);
END $$;

CREATE FUNCTION pack_chunk(relation regclass, times name[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    series_index name;
BEGIN
    EXECUTE format('ALTER TABLE %s %s', relation,
        (SELECT string_agg(format('ALTER COLUMN %I SET STORAGE EXTENDED', t), ', ')
         FROM unnest(times) AS t));
    SELECT c.relname INTO series_index
    FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid = relation
    ORDER BY i.indexrelid
    LIMIT 1;
    IF series_index IS NOT NULL THEN
        EXECUTE format('CLUSTER %s USING %I', relation, series_index);
    END IF;
END $$;

-- Each chunk is a transaction of its own. One that is in use is left for the next time, so that
-- nobody waits behind the maintenance.
CREATE PROCEDURE maintain_chunks(job_id integer DEFAULT NULL, config jsonb DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT relation FROM unsealed_chunks LOOP
        BEGIN
            SET LOCAL lock_timeout = '2s';
            PERFORM seal_chunk(found.relation);
        EXCEPTION WHEN lock_not_available OR undefined_table OR duplicate_object THEN
            RAISE NOTICE '% is in use, gone or done', found.relation;
        END;
        COMMIT;
    END LOOP;
    FOR found IN SELECT relation, times FROM unpacked_chunks LOOP
        BEGIN
            SET LOCAL lock_timeout = '2s';
            PERFORM pack_chunk(found.relation, found.times);
        EXCEPTION WHEN lock_not_available OR undefined_table OR duplicate_object THEN
            RAISE NOTICE '% is in use, gone or done', found.relation;
        END;
        COMMIT;
    END LOOP;
END $$;

SELECT seal_chunk(relation) FROM unsealed_chunks;
SELECT add_job('maintain_chunks', INTERVAL '1 hour');
