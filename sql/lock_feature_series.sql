-- Writers of one series take turns: two of them could otherwise both find a row missing.
SELECT pg_advisory_xact_lock(hashtext('feature_events'), stripe)
FROM unnest(%(stripes)s::integer[]) AS stripe;
