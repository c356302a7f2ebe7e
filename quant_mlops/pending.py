"""What a strategy's tables still lack: sessions never judged, and corrections not carried on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from quant_mlops.database.queries import query
from quant_mlops.features.corrections import ChangedBars, changed_bars
from quant_mlops.strategy_context import StrategyContext


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


def incomplete_sessions(context: StrategyContext, until: date) -> list[date]:
    """Return the sessions up to one that were not judged or have no price, oldest first.

    What comes before the first session that was ever judged is no gap: the strategy was not
    running then, and its history is loaded by hand.
    """
    strategy, database = context.strategy, context.database
    row = database.fetch_one(
        "SELECT min(date) FROM drift_metrics WHERE strategy_id = %s", [strategy.name]
    )
    first, last = row[0] if row else None, strategy.monitoring.last_session
    until = until if last is None else min(until, last)
    if first is None or first > until:
        return []
    wanted = context.sessions(first, until).tolist()
    parameters = {
        "strategy_id": strategy.name,
        "sessions": wanted,
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
