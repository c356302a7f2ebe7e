-- The newest definition of each rule, and whether it is the first that there was.
SELECT DISTINCT ON (rule) rule, first_session, judged_until, condition, definition,
       first_session = min(first_session) OVER (PARTITION BY strategy_id) AS from_the_start
FROM rules_in_force
WHERE strategy_id = %s
ORDER BY rule, first_session DESC;
