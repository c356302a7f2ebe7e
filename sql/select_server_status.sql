SELECT current_setting('server_version'),
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       (SELECT max(number) FROM schema_migrations),
       pg_database_size(current_database());
