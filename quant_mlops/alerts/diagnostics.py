"""What is checked of the features when an alert opens: parity, freshness and arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import QuantMlopsError
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.health import FeatureHealth, feature_health, stored_entities
from quant_mlops.features.parity import FeatureParity
from quant_mlops.features.parity_windows import parity_of_windows
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.wording import counted

# By what the rule asks for: a pause is reviewed by a person, who needs all of it too.
CHECKS: Mapping[str, tuple[str, ...]] = {
    "check_features": ("parity",),
    "reduce_position": ("parity", "freshness", "arrival"),
    "pause_strategy": ("parity", "freshness", "arrival"),
}
# A condition that began long ago is looked back on no further than this.
LONGEST_WINDOW = 60
SHOWN = 5

Sessions = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Diagnostics:
    """What checks need to know of a strategy.

    Attributes
    ----------
    features : mapping of str to int
        Names with versions, whose age and arrival are looked at.
    definitions : sequence of FeatureDefinition
        Their logic; without it nothing is recomputed, and the evidence says so.
    horizon : int
        Sessions of the label: the IC judged on a session is of predictions made so much earlier,
        from features of the session before them. Too short a one checks features that the
        predictions in question never saw.
    tickers : sequence of str, optional
        What the strategy trades: nothing else is checked, or counts as its market. Every ticker
        by default.
    paces : mapping of str to int
        Of the features that do not come every session, see `feature_health`.
    """

    features: Mapping[str, int] = field(default_factory=dict)
    definitions: Sequence[FeatureDefinition] = ()
    horizon: int = 1
    tickers: Sequence[str] | None = None
    paces: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Opening:
    """An alert about to be stored: its action, and when its condition began and it opened."""

    action: str
    began: date
    opened: date


def diagnose(
    database: Database,
    calendar: TradingCalendar,
    settings: Diagnostics,
    openings: Sequence[Opening],
    *,
    evaluation_lag: timedelta,
) -> list[dict[str, Any]]:
    """Run the checks that each of some openings asks for, and return them as plain values.

    A check counts what was known when its alert's session was judged, so that it comes out the
    same in a replay. Openings of one run are checked together, those of a session only once.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    settings : Diagnostics
    openings : sequence of Opening
    evaluation_lag : timedelta
        After the close, when a session is judged.

    Returns
    -------
    list of dict
        For each opening: empty where its action asks for no check, else `first` and `last` of the
        sessions whose features were checked, the result of each check, and `findings`, which are
        sentences. A check that cannot be made says why, and holds up no alert.
    """
    asked = [i for i, opening in enumerate(openings) if opening.action in CHECKS]
    windows = {i: _window(calendar, openings[i], settings.horizon) for i in asked}
    parity = _parities(database, calendar, settings, windows)
    thorough = [i for i in asked if "arrival" in CHECKS[openings[i].action]]
    arrivals = _arrivals(
        database, calendar, settings, {i: windows[i] for i in thorough},
        [openings[i].opened for i in thorough], evaluation_lag=evaluation_lag,
    )  # fmt: skip
    health: dict[date, tuple[FeatureHealth, ...]] = {}
    found: list[dict[str, Any]] = [{} for _ in openings]
    for i in asked:
        window, day = windows[i], openings[i].opened
        parts = {"parity": parity[i]}
        if i in arrivals:
            if day not in health:
                health[day] = feature_health(
                    database, calendar, settings.features, session=day,
                    as_of=calendar.close_time(day) + evaluation_lag, entities=settings.tickers,
                    paces=settings.paces, numbers_only=True,
                )  # fmt: skip
            parts |= {"freshness": _freshness(health[day]), "arrival": arrivals[i]}
        found[i] = {
            "first": window[0].item().isoformat(),
            "last": window[-1].item().isoformat(),
            **{name: document for name, (document, _) in parts.items()},
            "findings": [sentence for _, sentences in parts.values() for sentence in sentences],
        }
    return found


Part = tuple[dict[str, Any], list[str]]


def _window(calendar: TradingCalendar, opening: Opening, horizon: int) -> Sessions:
    """Return the sessions whose features led to the predictions that the condition is about.

    The newest is the one before the opening: what came after it was not decided upon yet.
    """
    newest = calendar.previous(opening.opened)
    first = calendar.previous(opening.began, horizon + 1)
    return calendar.sessions(first, newest)[-LONGEST_WINDOW:]


def _parities(
    database: Database,
    calendar: TradingCalendar,
    settings: Diagnostics,
    windows: Mapping[int, Sessions],
) -> dict[int, Part]:
    if not settings.definitions:
        return dict.fromkeys(windows, _not_run("no definitions of the features were given"))
    try:
        found = parity_of_windows(
            database, calendar, settings.definitions, list(windows.values()),
            entities=settings.tickers,
        )  # fmt: skip
    except QuantMlopsError as error:
        return dict.fromkeys(windows, _not_run(str(error)))
    except Exception as error:
        # A feature's function is the user's and may fail in any way; the alert must be told.
        return dict.fromkeys(windows, _not_run(f"{type(error).__name__}: {error}"))
    return {i: _parity(features) for i, features in zip(windows, found, strict=True)}


def _not_run(reason: str) -> Part:
    return {"not_run": reason}, [f"parity was not checked: {reason}"]


def _parity(features: Sequence[FeatureParity]) -> Part:
    compared = sum(feature.compared for feature in features)
    unchecked = [f.feature_name for f in features if not f.compared]
    wrong = [feature for feature in features if not feature.agrees]
    document = {
        "features": len(features),
        "compared": compared,
        "not_checked": unchecked,
        "disagreeing": [
            {
                "feature": feature.feature_name,
                "compared": feature.compared,
                "mismatches": feature.mismatches,
                "not_served": feature.not_served,
                "not_recomputable": feature.not_recomputable,
                "first_mismatch": feature.first_mismatch,
                "explanation": str(feature.explanation),
            }
            for feature in wrong
        ],
    }
    left = [
        f"{name}: no served value could be compared"
        for name in unchecked
        if name not in {feature.feature_name for feature in wrong}
    ]
    if not wrong:
        return document, [
            f"{compared:,} served values of {counted(len(features) - len(unchecked), 'feature')} "
            f"are what the prices known then give",
            *left,
        ]
    return document, [
        *left,
        *(
            f"{f.feature_name}: {f.mismatches:,} of {f.compared:,} served values are wrong"
            f"{f' from {f.first_mismatch} on ({f.explanation})' if f.mismatches else ''}, "
            f"{f.not_served:,} were not served, {f.not_recomputable:,} cannot be recomputed"
            for f in wrong
        ),
    ]


def _freshness(features: Sequence[FeatureHealth]) -> Part:
    stale = [feature for feature in features if feature.is_stale()]
    gaps = sorted(
        (f for f in features if f.missing_rate > 0), key=lambda f: (-f.missing_rate, f.feature_name)
    )
    document = {
        "features": len(features),
        "stale": [
            {
                "feature": feature.feature_name,
                "sessions_old": feature.sessions_old,
                "expected_age": feature.expected_age,
            }
            for feature in stale
        ],
        "missing": [
            {"feature": f.feature_name, "missing_rate": f.missing_rate, "entities": f.entities}
            for f in gaps[:SHOWN]
        ],
    }
    sentences = [
        f"{f.feature_name} was never known"
        if f.sessions_old is None
        else f"{f.feature_name} is {counted(f.sessions_old, 'session')} old"
        for f in stale
    ] or ["no feature is older than its availability explains"]
    sentences += [
        f"{f.feature_name} is missing for {f.missing_rate:.0%} of {f.entities} entities"
        for f in gaps[:SHOWN]
    ]
    return document, sentences


def _arrivals(
    database: Database,
    calendar: TradingCalendar,
    settings: Diagnostics,
    windows: Mapping[int, Sessions],
    opened: Sequence[date],
    *,
    evaluation_lag: timedelta,
) -> dict[int, Part]:
    """Return how the values about each window arrived, the slowest features first."""
    if not windows:
        return {}
    entities = stored_entities(database) if settings.tickers is None else list(settings.tickers)
    rows = database.fetch_all(
        query("select_arrivals_in_windows"),
        {
            "positions": list(windows),
            "since": [calendar.close_time(window[0].item()) for window in windows.values()],
            "until": [calendar.close_time(window[-1].item()) for window in windows.values()],
            "as_of": [calendar.close_time(day) + evaluation_lag for day in opened],
            "names": list(settings.features),
            "versions": list(settings.features.values()),
            "entities": entities,
        },
    )
    found: dict[int, Part] = {}
    for i in windows:
        own = [values for position, *values in rows if position == i]
        events, revisions = (sum(row[k] for row in own) for k in (1, 2))
        slowest = [
            {
                "feature": name,
                "events": count,
                "revisions": revised,
                **{f"lag_minutes_{k}": lag / timedelta(minutes=1) for k, lag in zip(
                    ("p50", "p95", "max"), lags, strict=True)},
            }
            for name, count, revised, *lags in own[:SHOWN]
        ]  # fmt: skip
        document = {"features": len(own), "events": events, "revisions": revisions}
        sentences = ["no value arrived"]
        if slowest:
            worst = slowest[0]
            sentences = [
                f"values arrived at most {worst['lag_minutes_max']:,.0f} minutes after their "
                f"close, {worst['feature']} last; {revisions:,} of {events:,} were revised"
            ]
        found[i] = document | {"slowest": slowest}, sentences
    return found
