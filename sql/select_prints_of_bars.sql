-- Every print of the bars of some tickers in a range of sessions.
SELECT ticker, session, open, high, low, close, adj_close, volume
FROM price_bars
WHERE session BETWEEN %(first)s AND %(last)s
  AND ticker = ANY(%(tickers)s);
