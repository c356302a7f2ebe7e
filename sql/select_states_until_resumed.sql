-- The state at each later change, as far as the next moment a person made the strategy active.
SELECT DISTINCT ON (effective_from)
       state_id, strategy_id, effective_from, status, position_scale, changed_by, reason, alert_id,
       recorded_at
FROM strategy_states
WHERE strategy_id = %(strategy_id)s
  AND effective_from > %(after)s
  AND effective_from < coalesce(
      (SELECT min(effective_from) FROM strategy_states
       WHERE strategy_id = %(strategy_id)s AND effective_from > %(after)s AND status = 'active'),
      'infinity')
ORDER BY effective_from, state_id DESC;
