INSERT INTO retrain_requests (
    strategy_id, session, alert_id, requested_by, may_promote, status, verdict
)
VALUES (
    %(strategy_id)s, %(session)s, %(alert_id)s, %(requested_by)s, %(may_promote)s, %(status)s,
    %(verdict)s::jsonb
)
RETURNING
       request_id, strategy_id, session, alert_id, requested_by, may_promote, status, model_id, verdict,
       recorded_at, finished_at;
