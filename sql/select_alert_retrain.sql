SELECT request_id, strategy_id, session, alert_id, requested_by, may_promote, status, model_id, verdict,
       recorded_at, finished_at
FROM retrain_requests
WHERE alert_id = %(alert_id)s;
