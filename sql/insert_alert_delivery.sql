INSERT INTO alert_deliveries (
    alert_id, channel, attempt, attempted_at, delivered, detail, next_attempt_at, digest_id
)
SELECT %(alert_id)s, %(channel)s, %(attempt)s, attempted_at, %(delivered)s, %(detail)s,
       attempted_at + %(rest)s::interval, %(digest_id)s
FROM (VALUES (coalesce(%(now)s::timestamptz, clock_timestamp()))) AS stamp (attempted_at)
RETURNING next_attempt_at;
