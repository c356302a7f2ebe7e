CREATE TEMPORARY TABLE staged_price_bars (
    ticker text, session date, event_time timestamptz, ingest_time timestamptz,
    open double precision, high double precision, low double precision, close double precision,
    adj_close double precision, volume double precision, availability_observed boolean, source text
) ON COMMIT DROP;
