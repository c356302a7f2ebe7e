"""Which definitions may write to the store: those that see only the past, as far as they say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from quant_mlops.database import Database
from quant_mlops.errors import FeatureStoreError, LookAheadError
from quant_mlops.features.catalog import register_definitions, registered_features
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.truncation import TruncationResult, truncation_tests
from quant_mlops.market.calendar import TradingCalendar

TESTED_SESSIONS = 120
TESTED_TICKERS = 40
SAMPLES = 8


def admit_definitions(
    database: Database,
    calendar: TradingCalendar,
    definitions: Sequence[FeatureDefinition],
    *,
    last: date,
    as_of: datetime,
    tickers: Sequence[str],
) -> None:
    """Register definitions; one that is new is put to the test before anything is stored of it.

    It is computed again for some sessions without the sessions after them, and without those
    before its lookback. With few prices, or none, there is nothing to test it by.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    definitions : sequence of FeatureDefinition
    last : date
        Newest session of the prices to test by.
    as_of : datetime
        Prices as known then.
    tickers : sequence of str
        Those with prices; some of them are taken.

    Raises
    ------
    FeatureLogicChangedError
        A stored version has other logic.
    LookAheadError
        A value changes when later sessions are cut off, or those before its lookback.
    FeatureStoreError
        A function fails, gives values of another shape than the panel's, or would store nothing
        but that values are missing.
    """
    declared = {
        (f.feature_name, f.feature_version) for f in registered_features(database) if f.logic_hash
    }
    new = [d for d in definitions if (d.name, d.version) not in declared]
    if new and tickers:
        over = calendar.session_of(min(as_of, calendar.close_time(last)))
        sessions = calendar.sessions(calendar.first_day, over)[-TESTED_SESSIONS:]
        results = truncation_tests(
            database,
            calendar,
            new,
            first=calendar.close_time(sessions[0].item()),
            last=calendar.close_time(over),
            as_of=as_of,
            tickers=list(tickers)[:: -(-len(tickers) // TESTED_TICKERS)],
            samples=SAMPLES,
        )
        for definition in new:
            _refuse_findings(results[definition.name])
            _refuse_nothing_but_missing(definition, results[definition.name])
    register_definitions(database, definitions)


def _refuse_nothing_but_missing(definition: FeatureDefinition, result: TruncationResult) -> None:
    """Refuse what would hide each value that another job writes behind one known to be missing."""
    whole = result.short_lookback
    if definition.allows_missing and whole.sessions and not whole.cells:
        raise FeatureStoreError(
            f"{definition.key} gives nothing but NaN, of which allows_missing stores each as known "
            f"to be missing, so that no value that another job writes is read; leave out "
            f"allows_missing, or compute values"
        )


def _refuse_findings(result: TruncationResult) -> None:
    ahead, short = result.look_ahead, result.short_lookback
    if ahead.found:
        raise LookAheadError(
            f"{result.feature} looks ahead: of {ahead.cells} values {ahead.changed} change, the "
            f"first of session {ahead.first_session}, when the sessions after them are cut off, by "
            f"up to {ahead.largest:.3g}; compute each row from that row and those before it"
        )
    if short.found:
        raise LookAheadError(
            f"{result.feature} reads further back than its lookback of {result.lookback} sessions: "
            f"of {short.cells} values {short.changed} change, the first of session "
            f"{short.first_session}, when what lies before is cut off, by up to "
            f"{short.largest:.3g}; raise the lookback, or, where that is rounding, sum each window "
            f"afresh as quant_mlops.features.rolling does"
        )
