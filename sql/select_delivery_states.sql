-- The newest attempt of each alert by each channel.
SELECT DISTINCT ON (alert_id, channel)
       alert_id, channel, attempt AS attempts,
       CASE WHEN delivered THEN 'delivered'
            WHEN next_attempt_at IS NULL THEN 'undeliverable'
            ELSE 'waiting' END AS state,
       attempted_at, next_attempt_at, digest_id IS NOT NULL AS in_digest, detail
FROM alert_deliveries
WHERE alert_id = ANY (%(alert_ids)s)
ORDER BY alert_id, channel, attempt DESC;
