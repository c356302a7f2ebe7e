SELECT alert_id
FROM (
    SELECT DISTINCT ON (alert_id, channel) alert_id, delivered, next_attempt_at
    FROM alert_deliveries
    ORDER BY alert_id, channel, attempt DESC
) AS newest
WHERE NOT delivered AND next_attempt_at IS NULL
GROUP BY alert_id
ORDER BY alert_id;
