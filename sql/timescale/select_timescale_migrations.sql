SELECT number, sha256 FROM timescale_migrations ORDER BY number;
