-- Of some sessions those that were never judged for a strategy, of which no price of its tickers is
-- stored, or whose verdict lacks a return or an IC and is older than predictions that it follows
-- from: those of the session before, and of the session whose label ends with it.
SELECT wanted.session
FROM unnest(%(sessions)s::date[], %(held)s::date[], %(decided)s::date[])
    AS wanted (session, held, decided)
LEFT JOIN drift_metrics AS m
    ON m.strategy_id = %(strategy_id)s AND m.date = wanted.session
WHERE m.date IS NULL
   OR NOT EXISTS (
    SELECT FROM price_bars AS b
    WHERE b.session = wanted.session
      AND (%(tickers)s::text[] IS NULL OR b.ticker IN (SELECT unnest(%(tickers)s::text[])))
) OR (m.missing && ARRAY[%(return)s, %(ic)s]::text[] AND EXISTS (
    SELECT FROM predictions AS p
    WHERE p.strategy_id = %(strategy_id)s
      AND p.recorded_at > m.recorded_at
      AND p.session IN (CASE WHEN %(return)s = ANY (m.missing) THEN wanted.held END,
                        CASE WHEN %(ic)s = ANY (m.missing) THEN wanted.decided END)
))
ORDER BY wanted.session;
