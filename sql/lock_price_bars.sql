-- One writer at a time: two of them could otherwise both find a bar missing.
SELECT pg_advisory_xact_lock(hashtext('price_bars'));
