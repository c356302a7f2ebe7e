SELECT r.request_id, r.session, r.alert_id, r.requested_by, r.may_promote, r.status,
       r.model_id, m.version AS model_version, r.verdict
FROM retrain_requests r
LEFT JOIN models m USING (model_id)
WHERE r.strategy_id = %(strategy_id)s
  AND r.session >= coalesce(%(first)s::date, '-infinity')
  AND r.session <= coalesce(%(last)s::date, 'infinity')
ORDER BY r.session, r.request_id
