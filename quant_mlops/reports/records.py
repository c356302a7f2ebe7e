"""The rows and series a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Days = NDArray[np.datetime64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DriftSeries:
    """Stored drift metrics, each of shape (sessions,); NaN where undefined or not evaluated.

    `ic` of a session is the newest one known on it, which is that of an earlier session.
    `prediction_psi` is of the live model's signals, and no part of `psi`.
    """

    ic: Floats
    ic_20d_mean: Floats
    ic_20d_error: Floats
    psi: Floats
    prediction_psi: Floats
    sharpe_5d: Floats
    sharpe_20d: Floats
    sharpe_60d: Floats
    sharpe_60d_error: Floats


@dataclass(frozen=True, eq=False)
class FeatureDrift:
    """PSI by feature, and the level that 95% of samples without drift stay below.

    Both have shape (sessions, features), the features in the order of `names`.
    """

    names: tuple[str, ...]
    psi: Floats
    no_drift_95: Floats


@dataclass(frozen=True, eq=False)
class ReturnSeries:
    """Daily returns as fractions, each of shape (sessions,); NaN where none is stored.

    `net` is of the fully invested model portfolio after cost. `position_scale` is the one in
    force just before the close of the session, so `net * position_scale` is what was traded.
    """

    net: Floats
    market: Floats
    position_scale: Floats

    @property
    def traded(self) -> Floats:
        """Return of what was traded."""
        return self.net * self.position_scale


@dataclass(frozen=True)
class StateStep:
    """A change of the strategy's status and position scale, and the alert that caused it."""

    effective_from: datetime
    status: str
    position_scale: float
    changed_by: str
    reason: str
    alert_id: int | None


@dataclass(frozen=True)
class Onset:
    """When the change behind an alert began, and what its interval was computed from.

    Attributes
    ----------
    series
        `ic`, `psi` or `net_return`.
    session, first, last
        The most likely session and the interval it lies in; those on which the change showed.
    level
        Share of such intervals that shall hold the true session.
    p_value
        Of a change at all; None where undefined.
    mean_before, mean_after, deviation
        In the unit of the series.
    observations, position, lag
        Length of the series, place of `session` in it, and sessions its values are correlated over.
    known_after
        Sessions between what a value is about and the session on which it is known.
    """

    series: str
    session: date
    first: date
    last: date
    level: float
    p_value: float | None
    mean_before: float
    mean_after: float
    deviation: float
    observations: int
    position: int
    lag: int
    known_after: int

    @property
    def stands_out(self) -> bool:
        """Whether there was a change at all, at the level of the interval."""
        return self.p_value is not None and self.p_value <= 1.0 - self.level


@dataclass(frozen=True)
class AlertEpisode:
    """An alert from the session that opened it to the one that closed it, if one did.

    `onset` is the dated change in its evidence, None where nothing could be dated.
    """

    alert_id: int
    rule: str
    severity: str
    action: str
    message: str
    opened_session: date
    last_session: date
    closed_session: date | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    onset: Onset | None = None


@dataclass(frozen=True)
class Deployment:
    """A model version and the time it was live; None is an open end."""

    model_id: UUID
    name: str
    version: int
    live_from: datetime | None
    live_to: datetime | None
    promoted_by: str
    reason: str


@dataclass(frozen=True)
class Retrain:
    """A request for a new model and what became of it."""

    request_id: int
    session: date
    alert_id: int | None
    requested_by: str
    may_promote: bool
    status: str
    model_id: UUID | None
    model_version: int | None
    verdict: Any


@dataclass(frozen=True)
class ModelRecord:
    """A model version and its newest metrics by name, as in `sharpe_ratio_test`; NaN: undefined."""

    model_id: UUID
    name: str
    version: int
    description: str | None
    snapshot_id: UUID | None
    created_at: datetime
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class SnapshotRecord:
    """A training set of the strategy."""

    snapshot_id: UUID
    fingerprint: str
    knowledge_time: datetime
    first_session: date
    last_session: date
    row_count: int


@dataclass(frozen=True)
class RuleRecord:
    """A rule of the response matrix as it was in force last.

    Attributes
    ----------
    condition
        The rule in words.
    level
        The value of the metric beyond which a session meets it; NaN where the rule watches a sum
        of deviations, which no single value is beyond.
    first_session
        Since when it has been in force.

    """

    name: str
    condition: str
    metric: str
    severity: str
    action: str
    level: float
    first_session: date


@dataclass(frozen=True)
class Levels:
    """Values that plots and tables mark, by default those of the response matrix as published.

    NaN where no value is to be marked.
    """

    ic_warning: float = 0.02
    psi_warning: float = 0.10
    psi_severe: float = 0.25


PUBLISHED = Levels()


@dataclass(frozen=True, eq=False)
class MonitoringHistory:
    """Everything a report on one strategy shows.

    Attributes
    ----------
    sessions
        Shape (sessions,), datetime64[D], ascending: every session for which drift, feature drift
        or a return is stored. All series are aligned to it, so a row that one table lacks is a
        NaN there.
    states, alerts, deployments, retrains
        Oldest first.
    models, snapshots
        All of the strategy's, whatever sessions were asked for: they explain what was live.
    rules
        By name, as they were in force on the last of the sessions asked for.

    """

    strategy_id: str
    sessions: Days
    drift: DriftSeries
    features: FeatureDrift
    returns: ReturnSeries
    states: tuple[StateStep, ...]
    alerts: tuple[AlertEpisode, ...]
    deployments: tuple[Deployment, ...]
    retrains: tuple[Retrain, ...]
    models: tuple[ModelRecord, ...]
    snapshots: tuple[SnapshotRecord, ...]
    rules: tuple[RuleRecord, ...]

    @property
    def levels(self) -> Levels:
        """What the rules in force compare with; what is usual where none was ever in force."""
        if not self.rules:
            return PUBLISHED
        found = {(rule.metric, rule.severity): rule.level for rule in self.rules}
        return Levels(
            found.get(("ic", "warning"), np.nan),
            found.get(("psi", "warning"), np.nan),
            found.get(("psi", "severe"), np.nan),
        )
