SELECT EXISTS (
    SELECT 1 FROM model_deployments AS d
    WHERE d.strategy_id = q.strategy_id AND d.live_range @> q.moment
)
FROM (SELECT moment, nth, s AS strategy_id
      FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS m (moment, nth), (SELECT %s::text) AS t (s)
     ) AS q
ORDER BY q.nth;
