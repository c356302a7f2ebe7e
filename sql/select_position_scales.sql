SELECT effective_from, position_scale
FROM strategy_states
WHERE strategy_id = %(strategy_id)s
ORDER BY effective_from, state_id;
