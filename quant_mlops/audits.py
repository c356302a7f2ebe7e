"""Audits of a strategy's features: parity with prices, leakage, and how values arrive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from quant_mlops.features.arrival import FeatureArrival, arrival_statistics
from quant_mlops.features.leakage import FeatureLeakage, audit_leakage
from quant_mlops.features.parity import FeatureParity
from quant_mlops.features.parity import parity_check as check_parity
from quant_mlops.strategy_context import StrategyContext, evaluation_time
from quant_mlops.training.snapshot import SnapshotDefinition, collect_snapshot

Sessions = npt.NDArray[np.datetime64]
ARRIVAL_SESSIONS = 20


@dataclass(frozen=True)
class ArrivalReport:
    """How features arrived before one evaluation, and what of it was too late, as sentences."""

    arrivals: tuple[FeatureArrival, ...]
    problems: tuple[str, ...]


def parity_check(strategy: StrategyContext, sessions: Sessions) -> list[FeatureParity]:
    """Hold what the strategy was served after each session against what prices known then give.

    Parameters
    ----------
    strategy : StrategyContext
    sessions : ndarray of datetime64[D]
        Consecutive, ascending, and over.

    Returns
    -------
    list of FeatureParity
        One for each feature of the strategy; what differs is explained by a shift in sessions, a
        scale, a sign or another version, or by prices that were loaded later, if any of them does.
    """
    return check_parity(
        strategy.store,
        strategy.calendar,
        strategy.strategy.definitions,
        sessions=sessions,
        entities=strategy.tickers,
    )


def leakage_audit(strategy: StrategyContext, first: date, last: date) -> list[FeatureLeakage]:
    """Measure what the strategy's features hold that was not known at its decisions.

    Parameters
    ----------
    strategy : StrategyContext
    first, last : date
        Sessions of decision, both included; the label is the strategy's, where it is known now.
    """
    now = strategy.database.now()
    versions = strategy.strategy.feature_versions
    content = collect_snapshot(
        strategy.store,
        strategy.calendar,
        SnapshotDefinition(
            features=versions,
            label=strategy.strategy.label,
            first=first,
            last=last,
            knowledge_time=now,
            universe=strategy.strategy.universe_name,
            strategy_id=strategy.strategy.name,
            max_ages=strategy.strategy.max_ages,
        ),
    )
    spine = content.table.select(["entity_key", "decision_time", "label"])
    return audit_leakage(
        strategy.store,
        spine.rename_columns(["entity_key", "time", "label"]),
        list(versions),
        feature_versions=versions,
        label="label",
        knowledge_time=now,
        definitions=strategy.strategy.definitions,
        calendar=strategy.calendar,
        min_names=strategy.strategy.portfolio.min_names,
    )


def feature_arrivals(
    strategy: StrategyContext, *, since: datetime | None = None, as_of: datetime | None = None
) -> list[FeatureArrival]:
    """Return how the strategy's features arrive, by feature, version and producer.

    Parameters
    ----------
    strategy : StrategyContext
    since : datetime, optional
        Aware; older events are left out.
    as_of : datetime, optional
        Aware; what became known later does not count. The database's clock by default.
    """
    return arrival_statistics(
        strategy.database,
        strategy.calendar,
        feature_names=list(strategy.strategy.feature_versions),
        entities=strategy.tickers,
        since=since,
        as_of=as_of,
    )


def late_features(strategy: StrategyContext, session: date) -> ArrivalReport:
    """Say which features came too late for the evaluation of a session, or not at all.

    Looked at are the last 20 sessions. A feature is late if a twentieth of its values became
    known later after their close than its declared lag and the strategy's evaluation lag
    together; it is stale if its newest value is older than its declared lag explains.
    """
    calendar, judged = strategy.calendar, evaluation_time(strategy, session)
    first = calendar.offset(session, 1 - ARRIVAL_SESSIONS)
    arrivals = feature_arrivals(strategy, since=calendar.close_time(first), as_of=judged)
    problems = []
    for definition in strategy.strategy.definitions:
        lag = definition.availability_lag
        found = [a for a in arrivals if a.key == definition.key]
        slow = [a for a in found if a.lag_p95 > lag + strategy.strategy.evaluation_lag]
        problems += [f"{a.key} by {a.producer} takes {a.lag_p95}" for a in slow]
        explained = calendar.sessions_between(calendar.session_of(judged - lag), session)
        age = min((a.freshness_sessions for a in found), default=ARRIVAL_SESSIONS)
        if age > explained:
            more = "" if found else " or more"
            problems.append(f"the newest {definition.key} is {age}{more} sessions old")
    return ArrivalReport(tuple(arrivals), tuple(problems))
