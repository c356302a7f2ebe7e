SELECT status, count(*)
FROM retrain_requests
WHERE strategy_id = %s AND status NOT IN ('open', 'coalesced')
GROUP BY status
ORDER BY status;
