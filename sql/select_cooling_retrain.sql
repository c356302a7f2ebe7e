-- A failed retraining taught nothing, and a prepared one does not stand in for a promotion.
SELECT request_id, strategy_id, session, alert_id, requested_by, may_promote, status, model_id, verdict,
       recorded_at, finished_at
FROM retrain_requests
WHERE strategy_id = %(strategy_id)s
  AND session >= %(cooldown_start)s
  AND (status IN ('promoted', 'rejected') OR (status = 'prepared' AND NOT %(may_promote)s))
ORDER BY session DESC, request_id DESC
LIMIT 1;
