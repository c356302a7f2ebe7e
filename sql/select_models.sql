SELECT * FROM models
WHERE %(strategy_type)s::text IS NULL OR strategy_type = %(strategy_type)s
ORDER BY name, version;
