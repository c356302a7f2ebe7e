-- Prices as they became known: a restated bar is a further row with a later ingest_time.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'store a correction as a new row that became known later';
END $$;

CREATE TABLE price_bars (
    ticker                text             NOT NULL CHECK (ticker <> ''),
    event_time            timestamptz      NOT NULL,
    ingest_time           timestamptz      NOT NULL CHECK (ingest_time >= event_time),
    session               date             NOT NULL,
    open                  double precision CHECK (open > 0 AND open < 'Infinity'),
    high                  double precision CHECK (high > 0 AND high < 'Infinity'),
    low                   double precision CHECK (low > 0 AND low < 'Infinity'),
    close                 double precision NOT NULL CHECK (close > 0 AND close < 'Infinity'),
    adj_close             double precision CHECK (adj_close > 0 AND adj_close < 'Infinity'),
    volume                double precision CHECK (volume >= 0 AND volume < 'Infinity'),
    availability_observed boolean          NOT NULL,
    source                text             NOT NULL,
    recorded_at           timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ticker, event_time, ingest_time)
);
CREATE INDEX price_bars_session ON price_bars (session);
CREATE INDEX price_bars_adjusted ON price_bars (ticker, ingest_time) WHERE adj_close IS NOT NULL;
COMMENT ON COLUMN price_bars.event_time IS 'close of the session';
COMMENT ON COLUMN price_bars.ingest_time IS 'when the bar could first be known';
COMMENT ON COLUMN price_bars.availability_observed IS
    'true where the source says when the bar was known; false where a lag after the close is assumed';

CREATE TRIGGER price_bars_append_only
    BEFORE UPDATE OR DELETE ON price_bars
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_bars_no_truncate
    BEFORE TRUNCATE ON price_bars
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
