"""Since when: the dated changes behind the severe alerts, and how far their intervals hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from quant_mlops.reports.page import Cell, Markup, badge, paragraph, subheading, table
from quant_mlops.reports.records import AlertEpisode, Onset
from quant_mlops.statistics import CoverageResult, coverage
from quant_mlops.statistics.onset_coverage import Kind

SEVERE = ("severe", "critical")
# Each costs 500 simulated series.
ONSETS_SHOWN = 4
NONE = "\N{EN DASH}"
LABELS = {"ic": "IC", "psi": "PSI", "net_return": "net return"}
FORMS = {"ic": "+.3f", "psi": ".3f", "net_return": "+.3%"}
HOW_DATED = (
    "The interval is that of a single change, taken for granted; the p-value says whether there "
    "was one at all. Sessions are those on which a value was known: the IC of a session is that of "
    "predictions made a label's length earlier. A long interval means that the change is small "
    "beside the noise."
)


def newest_onset(alerts: Sequence[AlertEpisode], *, series: str) -> Onset | None:
    """Return the dated change of a series behind its newest severe alert that has one."""
    dated = [a.onset for a in alerts if a.severity in SEVERE and a.onset is not None]
    return next((onset for onset in reversed(dated) if onset.series == series), None)


def newest_that_stands_out(alerts: Sequence[AlertEpisode], *, series: str) -> Onset | None:
    """Return the change of `newest_onset`, unless noise alone would look like it."""
    onset = newest_onset(alerts, series=series)
    return onset if onset is not None and onset.stands_out else None


def interval(onset: Onset) -> str:
    """Say an onset in words."""
    return (
        f"most likely on {onset.session}, between {onset.first} and {onset.last} "
        f"({onset.level:.0%} interval{_doubt(onset)})"
    )


def _doubt(onset: Onset) -> str:
    return "" if onset.p_value is None else f", p-value {onset.p_value:.2g}"


def onset_tables(alerts: Sequence[AlertEpisode]) -> list[Markup]:
    """List when the changes behind the open and the newest severe alerts began.

    Parameters
    ----------
    alerts
        Oldest first. Open ones come before closed ones, and four are shown; without a dated severe
        alert there is no table.

    Returns
    -------
    list of Markup
        A heading, the table, and the measured coverage of each interval in it.

    """
    found = [(a, a.onset) for a in alerts[::-1] if a.severity in SEVERE and a.onset is not None]
    found.sort(key=lambda pair: pair[0].closed_session is not None)
    shown = found[:ONSETS_SHOWN]
    if not shown:
        return []
    columns = [("severity", "fixed"), ("rule", "words"), ("opened", "fixed"), ("series", "fixed"),
               ("onset", "fixed"), ("interval", "fixed"), ("p-value", "number"),
               ("mean before", "number"), ("after", "number")]  # fmt: skip
    rows = [_row(alert, onset) for alert, onset in shown]
    lines = dict.fromkeys(coverage_words(onset) for _, onset in shown)
    return [
        subheading("Onset"),
        table(columns, rows),
        *(paragraph(line) for line in lines),
        paragraph(HOW_DATED),
    ]


def coverage_words(onset: Onset) -> str:
    """Say how often the interval holds the date of simulated changes like this one."""
    measured = measured_coverage(onset)
    about = f"{LABELS.get(onset.series, onset.series)}, onset {onset.session}"
    if measured is None:
        return f"{about}: changes like this one are not simulated."
    return (
        f"{about}: in {measured.cases:,} simulated breaks like this one ({onset.observations:,} "
        f"values, same size and noise) the interval held the true date in {measured.share:.0%}; "
        f"its median length was {measured.median_length:.0f} sessions."
    )


@lru_cache(maxsize=64)
def measured_coverage(onset: Onset) -> CoverageResult | None:
    """Measure the interval on changes of the same length, size, noise and place.

    Returns None for what has no noise, and for a PSI that fell.
    """
    kind: Kind = "independent"
    if onset.series == "psi":
        kind = "stability"
        if not 0.0 < onset.mean_before < onset.mean_after:
            return None
    elif onset.series == "net_return":
        kind = "heavy_tailed"
    elif onset.lag:
        kind = "overlapping"
    if not onset.deviation > 0.0:
        return None
    return coverage(
        kind,
        observations=onset.observations,
        before=onset.mean_before,
        after=onset.mean_after,
        deviation=onset.deviation,
        position=onset.position,
        lag=onset.lag,
        level=onset.level,
    )


def _row(alert: AlertEpisode, onset: Onset) -> list[Cell]:
    form = FORMS.get(onset.series, "+.3g")
    before, after = (
        format(mean, form).replace("-", "\N{MINUS SIGN}")
        for mean in (onset.mean_before, onset.mean_after)
    )
    return [
        badge(alert.severity),
        alert.rule.replace("_", " "),
        alert.opened_session.isoformat(),
        LABELS.get(onset.series, onset.series),
        onset.session.isoformat(),
        f"{onset.first} to {onset.last}",
        NONE if onset.p_value is None else f"{onset.p_value:.2g}",
        before,
        after,
    ]
