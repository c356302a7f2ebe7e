SELECT ticker
FROM strategy_tickers
WHERE strategy_id = %(strategy_id)s
  AND (%(recorded_by)s::timestamptz IS NULL OR recorded_at <= %(recorded_by)s)
ORDER BY ticker COLLATE "C";
