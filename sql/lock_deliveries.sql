-- Those that another process has in hand are passed over. A lock of the alert's own row would make
-- whoever acknowledges it wait for a slow channel.
SELECT alert_id
FROM unnest(%(alert_ids)s::bigint[]) AS listed (alert_id)
WHERE pg_try_advisory_xact_lock(
    hashtextextended('quant_mlops delivery ' || alert_id || ' ' || %(channel)s, 0));
