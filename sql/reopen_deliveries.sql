-- What was given up is due at once, for one more attempt.
UPDATE alert_deliveries AS last
SET next_attempt_at = last.attempted_at
WHERE NOT last.delivered
  AND last.next_attempt_at IS NULL
  AND NOT EXISTS (
      SELECT FROM alert_deliveries AS later
      WHERE later.alert_id = last.alert_id
        AND later.channel = last.channel
        AND later.attempt > last.attempt
  );
