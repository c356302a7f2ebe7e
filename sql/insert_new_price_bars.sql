INSERT INTO price_bars (
    ticker, session, event_time, ingest_time, open, high, low, close, adj_close, volume,
    availability_observed, source
)
SELECT ticker, session, event_time, ingest_time, open, high, low, close, adj_close, volume,
       availability_observed, source
FROM staged_price_bars;
