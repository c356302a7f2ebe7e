-- One registrar of a name at a time: versions stay dense and unique.
SELECT pg_advisory_xact_lock(hashtext('models'), hashtext(%s));
