"""All the steps of one session, and again those of later sessions that were judged without it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from quant_mlops.alerts.response import Response
from quant_mlops.database.queries import query
from quant_mlops.drift.drift_metrics import DriftMetrics
from quant_mlops.drift.horizon_ics import ROLLING
from quant_mlops.drift.monitor import SHARPE_WINDOWS
from quant_mlops.pipeline import (
    PricesIngested,
    compute_features,
    ingest_prices,
    judge_sessions,
    make_predictions,
    measure_feature_drift,
    raise_alerts,
    realise_returns,
    revise_features,
)
from quant_mlops.serving.predictions import PredictionsWritten
from quant_mlops.strategy_context import StrategyContext, newest_judged_session


@dataclass(frozen=True)
class SessionRun:
    """What the steps of one session did.

    Attributes
    ----------
    features_stored, features_revised : int
    metrics : DriftMetrics
        Of the session.
    judged_again : tuple of (date, date) or None
        First and last of the later sessions that were judged again; None if none had to be.
    alerts_until : date
        Newest session that the rules were applied to.
    response : Response
        The alerts that are new, of whichever session.
    """

    prices: PricesIngested
    features_stored: int
    features_revised: int
    predictions: PredictionsWritten
    metrics: DriftMetrics
    judged_again: tuple[date, date] | None
    alerts_until: date
    response: Response


def run_session(context: StrategyContext, session: date) -> SessionRun:
    """Take every step of a monitored session, from its prices to its alerts.

    Sessions may be run in any order: prices and features of the sessions before this one that have
    none yet are stored with its own, what it stores anew is carried on into the later ones that
    were judged already, and the rules are applied up to the newest of them.
    """
    first = _first_to_load(context, session)
    prices = ingest_prices(context, first, session)
    stored = sum(done.result.stored for done in compute_features(context, first, session))
    revised = revise_features(context)
    predictions = make_predictions(context, session, session)
    returns = realise_returns(context, session, session)
    drift = measure_feature_drift(context, session, session)
    (metrics,), judged = judge_sessions(context, session, session)
    again, until = None, session
    news = (prices.written, predictions, returns, drift, judged)
    if stored or revised or any(written.stored for written in news):
        again = judge_later_sessions(context, session)
        until = max(session, newest_judged_session(context) or session)
    return SessionRun(
        prices, stored, revised, predictions, metrics, again, until, raise_alerts(context, until)
    )


def _first_to_load(context: StrategyContext, session: date) -> date:
    """Return the session from which on prices or features are not there yet, up to the one run.

    A decision takes the newest value known of a feature: with sessions before it left out, it
    would be made on old values, and it is never made again.
    """
    calendar, versions = context.calendar, context.strategy.feature_versions
    parameters = {
        "session": session,
        "open": calendar.open_time(session),
        "tickers": context.tickers,
        "names": list(versions),
        "versions": list(versions.values()),
    }
    row = context.database.fetch_one(query("select_newest_computed"), parameters)
    priced, event = row if row is not None else (None, None)
    if priced is None or event is None:
        # Nothing of the history is there; it is loaded by a command of its own.
        return session
    return min(session, calendar.next(min(priced, calendar.session_of(event))))


def judge_later_sessions(context: StrategyContext, session: date) -> tuple[date, date] | None:
    """Take the steps of the sessions after one again that were judged without it.

    A session needs the features of the one before it, its return the predictions of that one, its
    IC those of a label's length before; rolling figures reach back as far as their window. What
    comes so long after the session that was filled in, or changed, does not rest on it. What was
    stored and comes out the same stays as it is, and an earlier verdict goes to the history.

    Parameters
    ----------
    context : StrategyContext
    session : date
        The one that was filled in or has changed.

    Returns
    -------
    tuple of (date, date) or None
        First and last session judged again; None if none after it was judged before.
    """
    monitor, calendar = context.monitor, context.calendar
    reach = max(monitor.horizons) + max(*SHARPE_WINDOWS, ROLLING, monitor.psi_window)
    rows = context.database.fetch_all(
        "SELECT date FROM drift_metrics WHERE strategy_id = %s AND date > %s AND date <= %s "
        "ORDER BY date",
        [context.strategy.name, session, calendar.next(session, reach)],
    )
    judged = np.array([day for (day,) in rows], dtype="datetime64[D]")
    if len(judged) == 0:
        return None
    # A session between them that was never run has a run of its own to come.
    breaks = np.flatnonzero(np.diff(calendar.positions(judged)) > 1) + 1
    for stretch in np.split(judged, breaks):
        first, last = stretch[0].item(), stretch[-1].item()
        make_predictions(context, first, last)
        realise_returns(context, first, last)
        measure_feature_drift(context, first, last)
        judge_sessions(context, first, last)
    return judged[0].item(), judged[-1].item()
