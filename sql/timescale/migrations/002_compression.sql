-- One segment is one series, its newest rows first: that is how it is read. A chunk is compressed
-- when its end is seven days old, as most late values and corrections have come by then; those that
-- come later still are stored all the same.

ALTER TABLE price_bars SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'ticker',
    timescaledb.compress_orderby = 'event_time DESC, ingest_time DESC'
);
ALTER TABLE feature_events SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'entity_key, feature_name, feature_version',
    timescaledb.compress_orderby = 'event_time DESC, ingest_time DESC'
);
ALTER TABLE predictions SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'strategy_id, entity_key',
    timescaledb.compress_orderby = 'event_time DESC'
);
ALTER TABLE feature_drift SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'strategy_id, feature_name',
    timescaledb.compress_orderby = 'event_time DESC'
);

SELECT add_compression_policy('price_bars', INTERVAL '7 days', if_not_exists => true);
SELECT add_compression_policy('feature_events', INTERVAL '7 days', if_not_exists => true);
SELECT add_compression_policy('predictions', INTERVAL '7 days', if_not_exists => true);
SELECT add_compression_policy('feature_drift', INTERVAL '7 days', if_not_exists => true);
