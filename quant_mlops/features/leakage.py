"""How much of the future a set of features holds, measured feature by feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.database.queries import query
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.age_limit import EARLIEST
from quant_mlops.features.catalog import resolve_versions
from quant_mlops.features.definition import FeatureDefinition, Values
from quant_mlops.features.instants import column_as_utc
from quant_mlops.features.spine import read_spine
from quant_mlops.features.store import FeatureStore
from quant_mlops.features.truncation import (
    DEFAULT_SAMPLES,
    TruncationResult,
    largest_difference,
    truncation_tests,
)
from quant_mlops.features.vintage import Vintage
from quant_mlops.instants import from_microseconds
from quant_mlops.market.calendar import TradingCalendar, trading_calendar
from quant_mlops.statistics.information_coefficient import (
    DEFAULT_MIN_NAMES,
    information_coefficients,
)

ASSUMED_AFTER = timedelta(days=1)
VINTAGES: tuple[Vintage, ...] = ("as_known", "latest")


@dataclass(frozen=True)
class FeatureLeakage:
    """What one feature of a spine owes to knowledge that nobody had at the decision.

    Attributes
    ----------
    feature_name, feature_version
        The series that was audited.
    cells, known : int
        Rows of the spine, and those of them with a number in either vintage.
    share_differing : float
        Share of all cells that differ between the vintages `as_known` and `latest`; a cell that
        is null in one and not in the other differs.
    largest_difference : float
        Largest absolute difference, in units of the feature; NaN where no cell has a number in
        both vintages, or where those that differ have one in a single vintage.
    ic_as_known, ic_latest : float
        Information coefficient against the label, each the mean over the decision times at which
        it is defined; NaN without a label, or where no decision time has enough names.
    stored_rows : int
        Rows of the spine's entities that were known by the knowledge time, about events that a
        decision of the spine can see.
    share_assumed : float
        Share of these that were recorded later than their ingest time by more than the tolerance:
        their availability is assumed and was not observed. NaN where there are no rows.
    truncation : TruncationResult, optional
        Look-ahead in the definition itself; None where no definition was given.
    """

    feature_name: str
    feature_version: int
    cells: int
    known: int
    share_differing: float
    largest_difference: float
    ic_as_known: float
    ic_latest: float
    stored_rows: int
    share_assumed: float
    truncation: TruncationResult | None

    @property
    def key(self) -> str:
        """Name and version, such as rsi_14@1."""
        return f"{self.feature_name}@{self.feature_version}"

    @property
    def ic_difference(self) -> float:
        """What hindsight adds to the IC, `latest` less as known; NaN where either is."""
        return self.ic_latest - self.ic_as_known


def audit_leakage(
    store: FeatureStore,
    spine: Any,
    features: Sequence[str],
    *,
    feature_versions: Mapping[str, int] | None = None,
    label: str | None = None,
    knowledge_time: datetime | None = None,
    max_age: timedelta | int | None = None,
    definitions: Iterable[FeatureDefinition] = (),
    calendar: TradingCalendar | None = None,
    samples: int = DEFAULT_SAMPLES,
    min_names: int = DEFAULT_MIN_NAMES,
    assumed_after: timedelta = ASSUMED_AFTER,
) -> list[FeatureLeakage]:
    """Measure what features of a spine hold that was not known at its decision times.

    Parameters
    ----------
    store : FeatureStore
    spine : pyarrow.Table, pandas.DataFrame, or any object with the Arrow interface
        Columns `entity_key` and `time`, the decision times; others than the label are ignored.
    features : sequence of str
    feature_versions : mapping, optional
        Version to audit of features; the newest registered of those not named.
    label : str, optional
        Column of the spine with the outcome of each decision, null where there is none.
    knowledge_time : datetime, optional
        Rows and prices that became known later are left out; now by default, and at the latest.
    max_age : timedelta or int, optional
        An event older than that, or than so many sessions of the store's calendar, counts as
        unknown; give that of the training set whose leakage is meant.
    definitions : iterable of FeatureDefinition
        Those of audited features are put to the truncation test, on prices of the spine's
        entities as known at the knowledge time; those of other features are ignored.
    calendar : TradingCalendar, optional
        Exchange whose sessions the prices have; the store's by default.
    samples : int
        Sessions of the truncation test.
    min_names : int
        Fewest names with both a value and a label for the IC of a decision time.
    assumed_after : timedelta
        Delay of the record up to which availability counts as observed. Too long a one takes a
        backfill for observation, too short a one a slow job for a backfill.

    Returns
    -------
    list of FeatureLeakage
        One for each feature, in their order.

    Raises
    ------
    FeatureStoreError
        The spine has no rows or lacks a column or a key, the label or a feature holds other
        things than numbers, or a definition is of another version than the one audited.
    UnknownFeatureError
        A feature, or that version of it, is not in the store.
    MarketDataError
        A definition is to be tested and the spine's entities have no prices.
    """
    asked = read_spine(spine, zone=store.zone, max_age=max_age, calendar=store.calendar)
    outcomes = _outcomes(asked.table, label)
    times = column_as_utc(asked.table["time"], zone=store.zone).cast(pa.int64()).to_numpy()
    versions: dict[str, int] = {}
    for name in features:
        pinned = (feature_versions or {}).get(name)
        versions |= resolve_versions(store.database, [name], version=pinned)
    tested = _of_versions(versions, definitions)
    entities = list(asked.questions)
    first, last = (from_microseconds(int(end)) for end in (times.min(), times.max()))
    known_by = store.known_by(knowledge_time)
    oldest = EARLIEST if asked.first_event is None else asked.first_event
    counts = store.database.fetch_all(
        query("count_assumed_feature_availability"),
        {
            "entities": entities,
            "names": list(versions),
            "versions": list(versions.values()),
            "first": from_microseconds(oldest),
            "last": last,
            "knowledge_time": known_by,
            "tolerance": assumed_after,
        },
    )
    stored = {name: (rows, assumed) for name, rows, assumed in counts}
    truncations = {}
    if tested:
        truncations = truncation_tests(
            store.database,
            calendar or trading_calendar(store.calendar),
            tested,
            first=first,
            last=last,
            as_of=known_by,
            tickers=entities,
            samples=samples,
        )
    audited = []
    for name, version in versions.items():
        as_known, latest = (
            _numbers(
                store.point_in_time_table(
                    asked.table.select(["entity_key", "time"]),
                    [name],
                    feature_versions={name: version},
                    knowledge_time=known_by,
                    max_age=max_age,
                    vintage=vintage,
                ),
                name,
            )
            for vintage in VINTAGES
        )
        nowhere = np.isnan(as_known) & np.isnan(latest)
        differs = (as_known != latest) & ~nowhere
        rows, assumed = stored.get(name, (0, 0))
        audited.append(
            FeatureLeakage(
                feature_name=name,
                feature_version=version,
                cells=len(times),
                known=int(np.count_nonzero(~nowhere)),
                share_differing=float(differs.mean()),
                largest_difference=largest_difference(as_known, latest, differs),
                ic_as_known=_mean_ic(times, as_known, outcomes, min_names=min_names),
                ic_latest=_mean_ic(times, latest, outcomes, min_names=min_names),
                stored_rows=rows,
                share_assumed=assumed / rows if rows else float("nan"),
                truncation=truncations.get(name),
            )
        )
    return audited


def _outcomes(spine: pa.Table, label: str | None) -> Values:
    names = spine.column_names
    if spine.num_rows == 0 or (label is not None and label not in names):
        raise FeatureStoreError(
            f"the spine has {spine.num_rows} rows of {', '.join(names)}; give decisions, and the "
            f"label {label!r} as a column if their outcomes are to be audited"
        )
    return np.full(spine.num_rows, np.nan) if label is None else _numbers(spine, label)


def _numbers(table: pa.Table, name: str) -> Values:
    kind = table[name].type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise FeatureStoreError(
            f"{name!r} holds {kind} and not numbers, which are all that can be audited; leave it "
            f"out or name another"
        )
    return table[name].cast(pa.float64()).to_numpy()  # type: ignore[no-any-return]


def _of_versions(
    versions: Mapping[str, int], definitions: Iterable[FeatureDefinition]
) -> list[FeatureDefinition]:
    """Return the definitions of the audited versions; another version alone is a mistake."""
    concerned = [d for d in definitions if d.name in versions]
    chosen = {d.name: d for d in concerned if d.version == versions[d.name]}
    for other in concerned:
        if other.name not in chosen:
            raise FeatureStoreError(
                f"{other.name}@{versions[other.name]} is audited and the definition given is "
                f"{other.key}; give the one audited, or name the version in feature_versions"
            )
    return list(chosen.values())


def _mean_ic(
    times: npt.NDArray[np.int64], values: Values, outcomes: Values, *, min_names: int
) -> float:
    usable = np.isfinite(values) & np.isfinite(outcomes)
    if not usable.any():
        return float("nan")
    _, decision, counts = np.unique(times[usable], return_inverse=True, return_counts=True)
    order = np.argsort(decision, kind="stable")
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    sections = np.full((2, len(counts), counts.max()), np.nan)
    sections[:, decision[order], place] = values[usable][order], outcomes[usable][order]
    daily = information_coefficients(sections[0], sections[1], min_names=min_names)
    defined = daily[np.isfinite(daily)]
    return float(defined.mean()) if len(defined) else float("nan")
