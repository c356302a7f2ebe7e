INSERT INTO strategy_states (
    strategy_id, effective_from, status, position_scale, changed_by, reason, alert_id
)
VALUES (
    %(strategy_id)s, %(effective_from)s, %(status)s, %(position_scale)s, %(changed_by)s,
    %(reason)s, %(alert_id)s
)
RETURNING
       state_id, strategy_id, effective_from, status, position_scale, changed_by, reason, alert_id,
       recorded_at;
