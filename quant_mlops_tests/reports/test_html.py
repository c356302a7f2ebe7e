"""The report is one file: complete, escaped, reproducible, and with nothing to fetch."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from quant_mlops.database import Database
from quant_mlops.reports.history import MonitoringHistory, load_monitoring_history
from quant_mlops.reports.html import render_report, write_report
from quant_mlops.reports.onsets import newest_that_stands_out
from quant_mlops.reports.records import (
    AlertEpisode,
    Deployment,
    DriftSeries,
    FeatureDrift,
    ModelRecord,
    Onset,
    Retrain,
    ReturnSeries,
    RuleRecord,
    SnapshotRecord,
    StateStep,
)
from quant_mlops.reports.tables import verdict_words
from quant_mlops.statistics import coverage

NAN = float("nan")
SECTIONS = [
    "Summary", "Information coefficient", "Feature drift", "Strategy return", "Alerts", "Models",
    "How to read this",
]  # fmt: skip
HOSTILE = """<script>alert('1')</script>&amp;"><img src=http://evil.example onerror=x>$title{}%s"""
MOMENT = datetime(2024, 2, 1, 21, tzinfo=UTC)
MODEL_ID, SNAPSHOT_ID = UUID(int=1), UUID(int=2)


def filled(word: str = "momentum_us", sessions: int = 80) -> MonitoringHistory:
    """Make a history whose every text is `word`."""
    days = np.busday_offset("2024-01-02", np.arange(sessions), roll="forward")
    wave = np.sin(np.arange(sessions) / 7) / 10
    gaps = np.where(np.arange(sessions) % 9 == 4, NAN, wave)
    first = days[0].item()
    rank = np.zeros(sessions)
    return MonitoringHistory(
        strategy_id=word,
        sessions=days,
        drift=DriftSeries(gaps, wave, np.abs(wave) / 3, np.abs(gaps), gaps**2, *[wave] * 4),
        features=FeatureDrift((word, "rank"), np.stack([np.abs(gaps), rank], axis=1),
                              np.full((sessions, 2), 0.02)),
        returns=ReturnSeries(gaps / 10, wave / 10, np.where(wave < 0, 0.5, 1.0)),
        states=(StateStep(MOMENT, "reduced", 0.5, word, word, 1),),
        alerts=(
            AlertEpisode(1, word, "severe", word, word, first, first, None, MOMENT, word),
            AlertEpisode(2, word, "warning", "watch", word, first, first, first, None, None),
        ),
        deployments=(Deployment(MODEL_ID, word, 1, MOMENT, None, word, word),),
        retrains=(Retrain(3, first, 1, word, True, "rejected", MODEL_ID, 1, {word: [word]}),),
        models=(
            ModelRecord(MODEL_ID, word, 1, word, SNAPSHOT_ID, MOMENT,
                        {"ic_mean_test": 0.0421, "ic_mean_se_test": 0.0119,
                         "sharpe_ratio_backtest": 1.257, "sharpe_ratio_se_backtest": NAN}),
        ),
        snapshots=(SnapshotRecord(SNAPSHOT_ID, word, MOMENT, first, first, 12_345),),
        rules=(
            RuleRecord(word, f"IC < 0.02 {word}", "ic", "warning", word, 0.02, first),
            RuleRecord("psi_severe", "PSI > 0.25", "psi", "severe", word, 0.25, first),
        ),
    )  # fmt: skip


class Page(HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def headings(self) -> list[str]:
        return [word for word in self.words if word in SECTIONS]


def rendered(history: MonitoringHistory, **options: Any) -> str:
    given = {"title": "Monitoring", "summary_rows": [("live model", "v1")]}
    return render_report(history, **given | options)


@pytest.fixture(scope="module")
def report() -> str:
    return rendered(filled())


@pytest.fixture(scope="module")
def paused() -> str:
    return Page(rendered(filled("pause"))).text


def test_the_sections_come_in_order(report: str) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", report)
    assert headings == SECTIONS


def test_a_hostile_name_is_text_everywhere() -> None:
    text = rendered(filled(HOSTILE), title=HOSTILE, summary_rows=[(HOSTILE, HOSTILE)])
    page = Page(text)
    assert not {"script", "img", "iframe", "object", "link"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert('1')</script>&amp;") > 15
    assert page.text.count("$title{}%s") > 5


def test_nothing_is_fetched(report: str) -> None:
    page = Page(report)
    links = [value for _, name, value in page.attributes if name.endswith(("href", "src"))]
    assert links
    assert all(link.startswith("#") for link in links)
    assert set(re.findall(r"url\((.)", report)) == {"#"}
    assert "@import" not in report
    assert "http" not in re.sub(r'http-equiv="Content-Security-Policy"', "", report)


def test_ids_are_unique_and_every_reference_finds_its_own(report: str) -> None:
    page = Page(report)
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1
    for _, name, value in page.attributes:
        if name == "href":
            assert value[1:] in ids
        if name == "clip-path":
            assert value.removeprefix("url(#").removesuffix(")") in ids


def test_figures_take_their_colours_from_the_page(report: str) -> None:
    figures = re.findall(r"<svg.*?</svg>", report, flags=re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        assert "var(--ink)" in figure
        assert set(re.findall(r"#[0-9a-f]{6}\b", figure)) <= {"#000000"}


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    once = write_report(filled(), tmp_path / "a.html", title="t", summary_rows=[("a", "b")])
    again = write_report(filled(), tmp_path / "b.html", title="t", summary_rows=[("a", "b")])
    assert once.read_bytes() == again.read_bytes()


def test_the_file_replaces_an_older_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "report.html"
    write_report(filled(), path, title="first", summary_rows=[])
    assert write_report(filled(), path, title="second", summary_rows=[]) == path
    assert "<h1>second</h1>" in path.read_text("utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_a_report_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_report(filled(), path, title="t", summary_rows=[])
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_history_says_so(database: Database, tmp_path: Path) -> None:
    history = load_monitoring_history(database, "nobody")
    path = write_report(history, tmp_path / "empty.html", title="Empty", summary_rows=[])
    page = Page(path.read_text("utf-8"))
    assert page.headings()[-1] == SECTIONS[-1]
    assert page.text.count("nothing to show yet") >= 4
    assert "No alert was raised." in page.text


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_short_history_works(sessions: int) -> None:
    assert Page(rendered(filled(sessions=sessions))).headings()[0] == "Summary"


def test_a_history_of_nothing_but_missing_values_works() -> None:
    history = filled()
    blank = np.full(80, NAN)
    history = replace(
        history,
        drift=DriftSeries(*[blank] * 9),
        features=FeatureDrift(("rsi_14",), np.full((80, 1), NAN), np.full((80, 1), NAN)),
        returns=ReturnSeries(blank, blank, blank),
    )
    text = Page(rendered(history)).text
    assert "nothing to show yet" in text
    assert "nan" not in re.split(r"\W+", text)


def test_undefined_numbers_are_dashes(report: str) -> None:
    text = Page(report).text
    assert "+0.042 ± 0.012" in text
    assert "+1.26" in text
    assert "nan" not in re.split(r"\W+", text)


def test_the_limits_are_those_of_the_rules_in_force(report: str) -> None:
    assert "above 0.02; " in report
    assert "sessions above 0.25" in report
    usual = filled()
    strict = tuple(
        replace(rule, level=level, condition=f"{rule.metric} beyond {level}")
        for rule, level in zip(usual.rules, (0.035, 0.125), strict=True)
    )
    text = Page(rendered(replace(usual, rules=strict))).text
    for said in ("above 0.035; ", "sessions above 0.125", "severe above 0.125", "0.035 warning",
                 "ic beyond 0.035", "psi beyond 0.125"):  # fmt: skip
        assert said in text, said
    assert "sessions above 0.25" not in text


def test_a_rule_on_a_sum_has_no_limit_to_be_above(report: str) -> None:
    sums = tuple(replace(rule, level=NAN) for rule in filled().rules)
    text = Page(rendered(replace(filled(), rules=sums))).text
    assert "of the daily values are below 0; " in text
    assert "nan" not in text.lower()
    assert "sessions above" not in text
    assert "IC < 0.02 momentum_us" in text


def test_an_alert_tells_what_it_did(paused: str) -> None:
    assert (
        "pause; reduced, position scale 0.5 from 2024-02-01 21:00Z; "
        "request 3: v1 rejected; the live model stayed; acknowledged by pause on 2024-02-01 21:00Z"
    ) in paused


def test_what_limits_the_position_is_said_to_last_until_it_is_resumed(paused: str) -> None:
    history = filled("pause")
    newest = history.states[-1]
    assert newest.position_scale < 1
    assert (
        f"{newest.status} since {newest.effective_from:%Y-%m-%d}, which lasts until "
        f"`quant-mlops alerts resume`: {newest.reason}"
    ) in paused
    active = replace(newest, status="active", position_scale=1.0)
    again = Page(rendered(replace(history, states=(*history.states, active)))).text
    assert "which lasts until" not in again


def test_a_feature_that_never_moved_is_named_as_invisible_to_psi(report: str) -> None:
    assert "PSI cannot see them drift: rank." in Page(report).text


def onset(**changes: Any) -> Onset:
    given: dict[str, Any] = {
        "series": "ic", "session": date(2024, 3, 1), "first": date(2024, 2, 20),
        "last": date(2024, 3, 8), "level": 0.95, "p_value": 0.0004, "mean_before": 0.051,
        "mean_after": -0.102, "deviation": 0.1, "observations": 80, "position": 43, "lag": 4,
        "known_after": 5,
    }  # fmt: skip
    return Onset(**given | changes)


def dated(*onsets: Onset | None, severity: str = "severe") -> MonitoringHistory:
    day = date(2024, 3, 11)
    alerts = tuple(
        AlertEpisode(
            i, "ic_severe", severity, "watch", "low", day + timedelta(days=i),
            day + timedelta(days=i), None if i == 0 else day + timedelta(days=i + 1), None, None,
            found,
        )
        for i, found in enumerate(onsets)
    )  # fmt: skip
    return replace(filled(), alerts=alerts, states=(), retrains=())


def test_severe_alerts_say_since_when_and_how_far_the_interval_holds() -> None:
    text = Page(rendered(dated(onset()))).text
    assert (
        "ic severe 2024-03-11 IC 2024-03-01 2024-02-20 to 2024-03-08 0.0004 "
        "+0.051 \N{MINUS SIGN}0.102"
    ) in text
    where = "between 2024-02-20 and 2024-03-08 (95% interval, p-value 0.0004)"
    assert f"most likely on 2024-03-01, {where}" in text
    measured = coverage(
        "overlapping", observations=80, before=0.051, after=-0.102, deviation=0.1, position=43,
        lag=4,
    )  # fmt: skip
    assert measured.cases == 500
    assert measured.share >= 0.9
    assert (
        f"in 500 simulated breaks like this one (80 values, same size and noise) the interval held "
        f"the true date in {measured.share:.0%}; its median length was "
        f"{measured.median_length:.0f} sessions."
    ) in text


@pytest.mark.parametrize(
    ("p_value", "shaded"),
    [(0.0004, True), (0.05, True), (0.051, False), (0.97, False), (None, False)],
)
def test_a_change_is_shaded_only_where_noise_would_not_look_like_it(
    p_value: float | None, shaded: bool
) -> None:
    history = dated(onset(p_value=p_value))
    marked = newest_that_stands_out(history.alerts, series="ic")
    assert (marked is not None) == shaded
    text = Page(rendered(history)).text
    assert ("Shaded: the newest dated change of the IC, most likely on" in text) == shaded
    assert ("No change of the IC stands out from its noise; the newest" in text) != shaded


def test_open_alerts_are_dated_first_and_four_at_most() -> None:
    onsets = [onset(session=date(2024, 2, 21 + i)) for i in range(7)]
    text = rendered(dated(*onsets))
    heading = text.index("<h3>Onset</h3>")
    table = text[heading : text.index("</table>", heading)]
    assert [f"2024-02-{21 + i}" in table for i in range(7)] == [
        True, False, False, False, True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("given", [dated(None), dated(onset(), severity="warning")])
def test_without_a_dated_severe_alert_there_is_no_onset(given: MonitoringHistory) -> None:
    text = rendered(given)
    assert "<h3>Onset</h3>" not in text
    assert "interval)" not in text


def test_a_change_that_is_not_simulated_says_so() -> None:
    fell = onset(series="psi", mean_before=0.3, mean_after=0.1, p_value=None)
    text = Page(rendered(dated(fell))).text
    assert "PSI, onset 2024-03-01: changes like this one are not simulated." in text


def test_older_alerts_are_folded_away_but_kept() -> None:
    history = filled()
    day = date(2024, 1, 2)
    alerts = tuple(
        AlertEpisode(
            i, "psi_mild", "warning", "watch", f"message {i}.", day + timedelta(days=i),
            day + timedelta(days=i), day + timedelta(days=i + 1), None, None,
        )
        for i in range(30)
    )  # fmt: skip
    text = rendered(replace(history, alerts=alerts, states=(), retrains=()))
    shown, folded = text.split("<details>")
    assert "5 earlier alerts" in folded
    assert "message 29." in shown
    assert "message 5." in shown
    assert "message 4." in folded
    assert "message 0." in folded


def test_a_model_that_was_never_live_is_listed_with_what_became_of_it() -> None:
    history = filled()
    text = Page(rendered(replace(history, deployments=()))).text
    assert re.search(r"momentum_us v1 never .*request 3: v1 rejected; the live model stayed", text)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (None, "–"),  # noqa: RUF001
        ({}, "–"),  # noqa: RUF001
        ({"reason": "no better", "sessions": 60}, "no better"),
        ({"coalesced_into": 3}, "coalesced into 3"),
        ({"promoted": False, "folds": [0.012345678, 2]}, "folds 0.01235, 2; promoted no"),
        ("as it stands", "as it stands"),
    ],
)
def test_a_verdict_is_said_in_words(verdict: Any, words: str) -> None:
    assert verdict_words(verdict) == words
