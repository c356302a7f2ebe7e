-- Bars that became known only after the time that belongs to their session: nothing else can make
-- a later read of a session's window differ from the read as of its own time. A ticker's first
-- adjusted close moves the ticker to another scale, and so counts for every bar of it.
WITH bars AS (
    SELECT d.session, d.own_time, b.ticker, b.ingest_time
    FROM unnest(%(sessions)s::date[], %(times)s::timestamptz[]) AS d (session, own_time)
    JOIN price_bars AS b ON b.session = d.session
    WHERE b.session BETWEEN %(first)s AND %(last)s
      AND b.ticker = ANY (%(tickers)s::text[])
)
SELECT session, ingest_time
FROM bars
WHERE ingest_time > own_time AND ingest_time <= %(last_time)s
UNION
SELECT b.session, s.adjusted_from
FROM bars AS b
JOIN (
    SELECT t.ticker, (
        SELECT min(a.ingest_time) FROM price_bars AS a
        WHERE a.ticker = t.ticker AND a.adj_close IS NOT NULL
    ) AS adjusted_from
    FROM unnest(%(tickers)s::text[]) AS t (ticker)
) AS s USING (ticker)
WHERE s.adjusted_from > b.own_time AND s.adjusted_from <= %(last_time)s;
