INSERT INTO alert_deliveries (alert_id, channel, attempt, attempted_at, delivered, detail)
VALUES (
    %(alert_id)s, %(channel)s, %(attempt)s,
    coalesce(%(now)s::timestamptz, clock_timestamp()), %(delivered)s, %(detail)s
);
