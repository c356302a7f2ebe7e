-- Back to plain tables with the same rows, keys, indexes, triggers, comments and privileges.
LOCK TABLE price_bars, feature_events, predictions, feature_drift IN ACCESS EXCLUSIVE MODE;

SELECT delete_job(job_id)
FROM timescaledb_information.jobs
WHERE proc_name = 'maintain_chunks' AND proc_schema = current_schema();
DROP PROCEDURE IF EXISTS maintain_chunks(integer, jsonb);
DROP FUNCTION IF EXISTS pack_chunk(regclass, name[]);
DROP FUNCTION IF EXISTS seal_chunk(regclass);
DROP VIEW IF EXISTS unpacked_chunks, unsealed_chunks, hypertable_chunks;
DROP MATERIALIZED VIEW IF EXISTS daily_feature_statistics;

DO $$
DECLARE
    old record;
    statement text;
    again text[];
BEGIN
    FOR old IN
        SELECT c.oid, c.relname, c.relowner::regrole AS owner, k.columns
        FROM timescaledb_information.hypertables AS h
        JOIN pg_class AS c
          ON c.oid = format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass
        CROSS JOIN LATERAL (
            SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY p.nth) AS columns
            FROM pg_index AS x
            CROSS JOIN unnest(x.indkey) WITH ORDINALITY AS p (attnum, nth)
            JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = p.attnum
            WHERE x.indrelid = c.oid AND x.indisprimary
        ) AS k
        WHERE c.oid IN ('price_bars'::regclass, 'feature_events'::regclass,
                        'predictions'::regclass, 'feature_drift'::regclass)
    LOOP
        SELECT array_agg(s.definition ORDER BY s.nth) INTO again
        FROM (
            SELECT 1, format('ALTER TABLE %I ADD CONSTRAINT %I %s', old.relname, conname,
                             pg_get_constraintdef(oid))
            FROM pg_constraint
            WHERE conrelid = old.oid AND contype IN ('p', 'u', 'x', 'f')
            UNION ALL
            SELECT 2, pg_get_indexdef(i.indexrelid)
            FROM pg_index AS i
            WHERE i.indrelid = old.oid
              AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)
            UNION ALL
            SELECT 3, pg_get_triggerdef(t.oid)
            FROM pg_trigger AS t
            JOIN pg_proc AS p ON p.oid = t.tgfoid
            WHERE t.tgrelid = old.oid AND NOT t.tgisinternal
              AND p.pronamespace::regnamespace::text NOT LIKE '\_timescaledb\_%'
            UNION ALL
            SELECT 4, format('GRANT %s ON %I TO %s%s', a.privilege_type, old.relname,
                             CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                             CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM pg_class AS c
            CROSS JOIN aclexplode(c.relacl) AS a
            WHERE c.oid = old.oid AND a.grantee <> c.relowner
        ) AS s (nth, definition);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES)',
                       old.relname || '_plain', old.relname);
        EXECUTE format('ALTER TABLE %I OWNER TO %s', old.relname || '_plain', old.owner);
        EXECUTE format('INSERT INTO %I SELECT * FROM %I ORDER BY %s',
                       old.relname || '_plain', old.relname, old.columns);
        EXECUTE format('DROP TABLE %I', old.relname);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', old.relname || '_plain', old.relname);
        FOREACH statement IN ARRAY again LOOP
            EXECUTE statement;
        END LOOP;
        EXECUTE format('ANALYZE %I', old.relname);
    END LOOP;
END $$;

-- Empty, it says that the tables shall stay plain.
DELETE FROM timescale_migrations;
