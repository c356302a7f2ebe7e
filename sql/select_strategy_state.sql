SELECT state_id, strategy_id, effective_from, status, position_scale, changed_by, reason, alert_id,
       recorded_at
FROM strategy_states
WHERE strategy_id = %(strategy_id)s
  AND effective_from <= coalesce(%(at)s::timestamptz, clock_timestamp())
ORDER BY effective_from DESC, state_id DESC
LIMIT 1;
