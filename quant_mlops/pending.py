"""What a strategy's tables still lack: sessions never judged, and corrections not carried on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from quant_mlops.database.queries import query
from quant_mlops.drift.missing_data import IC, RETURN
from quant_mlops.errors import MonitoringError
from quant_mlops.features.corrections import ChangedBars, changed_bars
from quant_mlops.registry.deployments import deployments
from quant_mlops.strategy_context import StrategyContext, history_start


@dataclass(frozen=True)
class PendingCorrections:
    """Bars restated since corrections were last carried into the strategy's features.

    Attributes
    ----------
    since : datetime
        When that was; no later run can have the same.
    changes : tuple of ChangedBars
    """

    since: datetime
    changes: tuple[ChangedBars, ...]

    @property
    def tickers(self) -> int:
        """How many tickers have a restated bar."""
        return sum(len(change.tickers) for change in self.changes)


def first_due_session(context: StrategyContext) -> date:
    """Return the session from which on a strategy is to be judged.

    It is the first that ever was: what comes before is no gap, as the strategy was not running
    then. Where none was judged, it is the first monitored session that follows a session with a
    price, and at whose open a model was live.

    Raises
    ------
    MarketDataError
        No session was ever judged, and no price is stored.
    MonitoringError
        No session was ever judged, and no model was ever live.
    """
    strategy, database = context.strategy, context.database
    row = database.fetch_one(
        "SELECT min(date) FROM drift_metrics WHERE strategy_id = %s", [strategy.name]
    )
    if row is not None and row[0] is not None:
        judged: date = row[0]
        return judged
    priced = context.calendar.next(history_start(context))
    promoted = deployments(database, strategy.name)
    if not promoted:
        raise MonitoringError(
            f"no model of {strategy.name} was ever live; train one with the job "
            f"{strategy.name}_training, or with `quant-mlops models train`"
        )
    live_from = min(deployment.live_from for deployment in promoted)
    served = context.calendar.next(context.calendar.session_of(live_from))
    if context.calendar.open_time(served) < live_from:
        served = context.calendar.next(served)
    return max(strategy.monitoring.first_session, priced, served)


def incomplete_sessions(context: StrategyContext, first: date, until: date) -> list[date]:
    """Return the sessions of a range that are to be run, or run again, oldest first.

    They were not judged, have no price, or lack a return or an IC though the predictions that it
    follows from were made since the verdict: an earlier session was run after a later one. What
    comes after the last session of the strategy is not missing.
    """
    strategy, database = context.strategy, context.database
    last = strategy.monitoring.last_session
    until = until if last is None else min(until, last)
    if first > until:
        return []
    wanted = context.sessions(first, until).tolist()
    if not wanted:
        return []
    horizon = strategy.horizon
    known = context.sessions(context.calendar.offset(wanted[0], -horizon), until).tolist()
    parameters = {
        "strategy_id": strategy.name,
        "sessions": wanted,
        "held": known[horizon - 1 : -1],
        "decided": known[:-horizon],
        "return": RETURN,
        "ic": IC,
        "tickers": context.tickers,
    }
    return [day for (day,) in database.fetch_all(query("select_incomplete_sessions"), parameters)]


def pending_corrections(context: StrategyContext) -> PendingCorrections | None:
    """Return what `revise_features` would have to carry on, or None if there is nothing.

    Before the strategy's features have been computed there is nothing to revise. A bar whose
    transaction ended long after it was written may be seen by the next revision only, which
    looks back further.
    """
    database = context.database
    row = database.fetch_one(
        "SELECT applied_until FROM feature_corrections WHERE strategy_id = %s",
        [context.strategy.name],
    )
    if row is None:
        return None
    changes = changed_bars(database, since=row[0], as_of=database.now(), tickers=context.tickers)
    return PendingCorrections(row[0], tuple(changes)) if changes else None
