UPDATE retrain_requests
SET status = %(status)s, model_id = %(model_id)s, verdict = %(verdict)s::jsonb,
    finished_at = clock_timestamp()
WHERE request_id = %(request_id)s
RETURNING
       request_id, strategy_id, session, alert_id, requested_by, may_promote, status, model_id, verdict,
       recorded_at, finished_at;
