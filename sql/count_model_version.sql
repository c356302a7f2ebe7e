-- The row's lock makes registrars of a name wait for each other; a rollback gives the number back.
-- Looking at the models as well, the count goes on after those that were entered around it.
INSERT INTO model_name_counters AS counter (name, last_version)
SELECT %(name)s::text, coalesce(max(version), 0) + 1 FROM models WHERE name = %(name)s
ON CONFLICT (name) DO UPDATE
SET last_version = greatest(counter.last_version + 1, excluded.last_version)
RETURNING last_version;
