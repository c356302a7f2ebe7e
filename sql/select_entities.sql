-- Every entity with a feature value. The key begins with it, so it is walked from one entity to the
-- next instead of reading the whole log.
WITH RECURSIVE walked AS (
    (SELECT entity_key FROM feature_events ORDER BY entity_key LIMIT 1)
    UNION ALL
    SELECT (
        SELECT e.entity_key FROM feature_events AS e
        WHERE e.entity_key > w.entity_key
        ORDER BY e.entity_key LIMIT 1
    )
    FROM walked AS w
    WHERE w.entity_key IS NOT NULL
)
SELECT entity_key FROM walked WHERE entity_key IS NOT NULL;
