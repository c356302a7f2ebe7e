-- Messages that a channel has taken within the window, and whether one of them was a digest.
SELECT count(DISTINCT coalesce(digest_id::text, delivery_id::text)),
       count(digest_id) > 0
FROM alert_deliveries
WHERE channel = %(channel)s
  AND delivered
  AND attempted_at > coalesce(%(now)s::timestamptz, clock_timestamp()) - %(window)s::interval;
