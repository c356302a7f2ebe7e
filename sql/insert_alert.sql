-- The look before the insert only saves numbers of the identity; the constraint decides.
-- Of the milder alerts of its metric that were open before, the gravest is what it escalates.
WITH milder AS (
    SELECT alert_id, severity, rule, opened_session
    FROM alerts
    WHERE strategy_id = %(strategy_id)s
      AND rule = ANY (%(rules)s)
      AND severity = ANY (%(milder)s)
      AND opened_session < %(opened_session)s::date
      AND coalesce(closed_session, 'infinity') > %(opened_session)s::date
    ORDER BY array_position(%(milder)s::text[], severity) DESC, opened_session DESC, alert_id DESC
    LIMIT 1
)
INSERT INTO alerts (
    dedupe_key, strategy_id, rule, severity, action, message,
    opened_session, last_session, closed_session, evidence, model_id, escalates
)
SELECT %(dedupe_key)s, %(strategy_id)s, %(rule)s, %(severity)s, %(action)s,
       %(message)s || CASE WHEN milder.alert_id IS NULL THEN '' ELSE format(
           '; escalates %%s (%%s) since %%s', milder.rule, milder.severity, milder.opened_session
       ) END,
       %(opened_session)s::date, %(last_session)s::date, %(closed_session)s::date,
       %(evidence)s::jsonb, %(model_id)s::uuid, milder.alert_id
FROM (VALUES (1)) AS one
LEFT JOIN milder ON true
WHERE NOT EXISTS (SELECT FROM alerts WHERE dedupe_key = %(dedupe_key)s)
ON CONFLICT (dedupe_key) DO NOTHING
RETURNING
       alert_id, dedupe_key, strategy_id, rule, severity, action, message, opened_session, last_session,
       closed_session, evidence, model_id, recorded_at, acknowledged_at, acknowledged_by, escalates,
       closed_reason;
