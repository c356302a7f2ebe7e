UPDATE rules_in_force
SET judged_until = %(judged_until)s::date
WHERE strategy_id = %(strategy_id)s AND rule = %(rule)s
  AND first_session = %(first_session)s::date AND judged_until < %(judged_until)s::date;
