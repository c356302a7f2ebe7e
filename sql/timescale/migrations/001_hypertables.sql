-- Chunks of a year: a series of daily values fills a compressed batch with 250 rows, so that what a
-- batch costs beside its values is small. 33 years are 34 chunks, for which the scan of a series is
-- planned in 4 ms; chunks of a month are 403, planned in 100 ms, with five times the bytes a row.

LOCK TABLE price_bars, feature_events, predictions, feature_drift IN ACCESS EXCLUSIVE MODE;

-- Rows are moved into chunks by a TRUNCATE, which the append-only tables refuse. Nobody else can
-- reach them before the triggers are back.
ALTER TABLE price_bars DISABLE TRIGGER USER;
ALTER TABLE feature_events DISABLE TRIGGER USER;
ALTER TABLE predictions DISABLE TRIGGER USER;

SELECT create_hypertable('price_bars', by_range('event_time', INTERVAL '365 days'),
    create_default_indexes => false, migrate_data => true, if_not_exists => true);
SELECT create_hypertable('feature_events', by_range('event_time', INTERVAL '365 days'),
    create_default_indexes => false, migrate_data => true, if_not_exists => true);
SELECT create_hypertable('predictions', by_range('event_time', INTERVAL '365 days'),
    create_default_indexes => false, migrate_data => true, if_not_exists => true);
SELECT create_hypertable('feature_drift', by_range('event_time', INTERVAL '365 days'),
    create_default_indexes => false, migrate_data => true, if_not_exists => true);

ALTER TABLE price_bars ENABLE TRIGGER USER;
ALTER TABLE feature_events ENABLE TRIGGER USER;
ALTER TABLE predictions ENABLE TRIGGER USER;
