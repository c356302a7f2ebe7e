-- The extension can be created where the server has loaded it at its start, which its own settings
-- tell, and the user may create it.
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS installed,
       (
           SELECT v.version
           FROM pg_available_extensions AS e
           JOIN pg_available_extension_versions AS v
             ON v.name = e.name AND v.version = e.default_version
           WHERE e.name = 'timescaledb'
             AND EXISTS (SELECT FROM pg_settings WHERE name = 'timescaledb.max_background_workers')
             AND (
                 (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                 OR (NOT v.superuser OR v.trusted)
                    AND has_database_privilege(current_database(), 'CREATE')
             )
       ) AS creatable,
       coalesce(
           (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class
            WHERE oid = to_regclass('feature_events')),
           false
       ) AS owned,
       to_regclass('timescale_migrations') IS NOT NULL AS recorded;
