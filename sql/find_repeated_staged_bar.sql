SELECT 1
FROM staged_price_bars
GROUP BY ticker, event_time
HAVING count(*) > 1
LIMIT 1;
