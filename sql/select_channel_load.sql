-- Messages that a channel has taken within the window, and when the last digest of them leaves it.
SELECT count(DISTINCT coalesce(digest_id::text, delivery_id::text)),
       max(attempted_at) FILTER (WHERE digest_id IS NOT NULL) + %(window)s::interval
FROM alert_deliveries
WHERE channel = %(channel)s
  AND delivered
  AND attempted_at > coalesce(%(now)s::timestamptz, clock_timestamp()) - %(window)s::interval;
