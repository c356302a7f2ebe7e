SELECT DISTINCT ON (rule) rule, condition, definition, first_session
FROM rules_in_force
WHERE strategy_id = %(strategy_id)s
  AND first_session <= coalesce(%(last)s::date, 'infinity')
ORDER BY rule, first_session DESC
