-- No session is judged by two definitions: one that has reached the first session stands.
INSERT INTO rules_in_force (
    strategy_id, rule, first_session, judged_until, mode, condition, definition
)
SELECT %(strategy_id)s, %(rule)s, %(first_session)s::date, %(judged_until)s::date, %(mode)s,
       %(condition)s, %(definition)s
WHERE NOT EXISTS (
    SELECT FROM rules_in_force
    WHERE strategy_id = %(strategy_id)s AND rule = %(rule)s
      AND judged_until >= %(first_session)s::date
)
ON CONFLICT DO NOTHING;
