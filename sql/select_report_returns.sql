-- A state that takes effect at the close of a session can only concern the sessions after it.
SELECT r.session, r.net_return, r.market_return, coalesce(s.position_scale, 1) AS position_scale
FROM strategy_returns r
LEFT JOIN LATERAL (
    SELECT position_scale
    FROM strategy_states
    WHERE strategy_id = r.strategy_id AND effective_from < r.event_time
    ORDER BY effective_from DESC, state_id DESC
    LIMIT 1
) s ON true
WHERE r.strategy_id = %(strategy_id)s
  AND r.session >= coalesce(%(first)s::date, '-infinity')
  AND r.session <= coalesce(%(last)s::date, 'infinity')
ORDER BY r.session
