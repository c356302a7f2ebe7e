-- One writer at a time: two of them could otherwise both find a row missing.
SELECT pg_advisory_xact_lock(hashtext('universe_memberships'));
