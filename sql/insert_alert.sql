-- The look before the insert only saves numbers of the identity; the constraint decides.
INSERT INTO alerts (
    dedupe_key, strategy_id, rule, severity, action, message,
    opened_session, last_session, closed_session, evidence, model_id
)
SELECT %(dedupe_key)s, %(strategy_id)s, %(rule)s, %(severity)s, %(action)s, %(message)s,
       %(opened_session)s::date, %(last_session)s::date, %(closed_session)s::date,
       %(evidence)s::jsonb, %(model_id)s::uuid
WHERE NOT EXISTS (SELECT FROM alerts WHERE dedupe_key = %(dedupe_key)s)
ON CONFLICT (dedupe_key) DO NOTHING
RETURNING
       alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by;
