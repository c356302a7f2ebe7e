CREATE TABLE timescale_migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE timescale_migrations IS
    'what TimescaleDB was told about these tables; empty where an operator wants plain tables';
