SELECT pg_advisory_xact_lock(hashtext('trials'), hashtext(%s));
