SELECT effective_from, status, position_scale, changed_by, reason, alert_id
FROM strategy_states
WHERE strategy_id = %(strategy_id)s
  AND effective_from < coalesce(%(last)s::date + 1, 'infinity'::date)
ORDER BY effective_from, state_id
