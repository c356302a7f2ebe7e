"""What rules cost on a healthy model and how soon they tell a broken one."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.drift.calibration import calibrate_rules
from quant_mlops.drift.episodes import find_episodes
from quant_mlops.drift.error_rates import Simulated, alarms_of, error_rate, simulate
from quant_mlops.drift.rules import AlertConfig, Rule
from quant_mlops.drift.simulation import HealthyHistory, StatedLaw
from quant_mlops.errors import MonitoringError

# Each maximal run of a condition is an alarm: the convention of the published table.
EACH_RUN = {rule.name: rule for rule in AlertConfig(clear_after=1).rules()}
MONTH_NEGATIVE = replace(EACH_RUN["ic_negative"], name="month", metric="ic_20d_mean")
PATHS = 1000


def rule_of(sessions: int, clear: int, cooldown: int) -> Rule:
    return Rule("r", "ic", "below", 0.0, sessions, "warning", "check_data", clear, cooldown)


@pytest.fixture(scope="module")
def independent() -> Simulated:
    return simulate(StatedLaw(), paths=PATHS, seed=5)


@pytest.fixture(scope="module")
def correlated() -> Simulated:
    return simulate(StatedLaw(ic_autocorrelation=0.5), paths=PATHS, seed=5)


@pytest.fixture(scope="module")
def weak() -> Simulated:
    return simulate(StatedLaw(ic_mean=0.03), paths=PATHS, seed=5)


@pytest.fixture(scope="module")
def strong() -> Simulated:
    return simulate(StatedLaw(ic_mean=0.10, ic_sd=0.15), paths=PATHS, seed=5)


@pytest.fixture(scope="module")
def healthy() -> HealthyHistory:
    """Give a long history whose moments are those of the stated law, and a slow PSI."""
    random = np.random.default_rng(8)

    def moments(mean: float, deviation: float) -> np.ndarray:
        sample = random.standard_normal(4000)
        return mean + deviation * (sample - sample.mean()) / sample.std()

    psi = np.convolve(random.chisquare(9, 559), np.full(60, 0.03 / 60 / 9), "valid")
    return HealthyHistory(
        first=date(2019, 1, 2), last=date(2020, 12, 31),
        ic=moments(0.05, 0.10), net=moments(2 / math.sqrt(252), 1.0),
        psi=psi, psi_no_drift_95=np.full(len(psi), 0.05), horizon=1, psi_window=60,
    )  # fmt: skip


@given(
    rule=st.builds(rule_of, st.integers(1, 4), st.integers(1, 4), st.integers(0, 4)),
    flags=st.integers(1, 40).flatmap(
        lambda count: st.lists(
            st.text("x.?o", min_size=count, max_size=count), min_size=1, max_size=4
        )
    ),
)
def test_alarms_of_many_paths_are_those_of_each_by_itself(rule: Rule, flags: list[str]) -> None:
    meaning = {"x": -1.0, ".": 1.0, "?": math.nan, "o": -1.0}  # o: met, and not cleared
    values = np.array([[meaning[flag] for flag in path] for path in flags]).T
    cleared = np.array([[flag != "o" for flag in path] for path in flags]).T
    found = alarms_of(rule, values, cleared)
    for path in range(len(flags)):
        episodes = find_episodes(rule, values[:, path], cleared[:, path])
        assert np.flatnonzero(found.opened[:, path]).tolist() == [e.opened for e in episodes]
        lasting = [
            session
            for e in episodes
            for session in range(e.opened, len(values) if e.closed is None else e.closed)
        ]
        assert np.flatnonzero(found.is_open[:, path]).tolist() == lasting


# What is published, and how far off it may be beside the simulation's own error: half a unit of
# its last digit, except for three that were simulated with an error of their own. 40,000 years
# under the convention here give 8.66 (s.e. 0.01) for the 8.4, where the closed form says 8.69,
# 0.379 (0.003) for the 0.33 and 2.32 (0.01) for the 2.4. Ending an episode later, cooling down,
# beginning the mean anew after an alarm or at the start of each year all bring the 0.33 nearer and
# take the 2.4 further away: five sessions to clear give 0.336, but 1.86.
PUBLISHED = {
    "independent": [
        (EACH_RUN["ic_low"], 1.3, 0.05, 22),
        (EACH_RUN["ic_negative"], 5.1, 0.05, 10),
        (MONTH_NEGATIVE, 0.33, 0.05, 22),
    ],
    "correlated": [
        (EACH_RUN["ic_low"], 4.9, 0.05, 13),
        (EACH_RUN["ic_negative"], 10.1, 0.05, 8),
        (MONTH_NEGATIVE, 2.1, 0.05, 20),
    ],
    "weak": [
        (EACH_RUN["ic_low"], 2.8, 0.05, 24),
        (EACH_RUN["ic_negative"], 8.4, 0.3, 11),
        (MONTH_NEGATIVE, 2.4, 0.1, 21),
    ],
    "strong": [
        (EACH_RUN["ic_low"], 0.42, 0.005, 30),
        (EACH_RUN["ic_negative"], 3.0, 0.05, 11),
        (MONTH_NEGATIVE, 0.05, 0.005, 24),
    ],
}


@pytest.mark.parametrize("law", PUBLISHED)
def test_normal_ics_give_the_published_rates(law: str, request: pytest.FixtureRequest) -> None:
    for rule, a_year, rounding, delay in PUBLISHED[law]:
        rate = error_rate(rule, request.getfixturevalue(law))
        slack = rounding + 3 * rate.false_alarms_se
        assert rate.false_alarms_a_year == pytest.approx(a_year, abs=slack), rule.name
        # The published medians lie up to two sessions above these.
        assert delay - 2 <= rate.delay_sessions <= delay + 1, rule.name
        assert rate.detected > 0.99


def test_runs_of_independent_ics_come_as_often_as_the_closed_form_says(
    independent: Simulated,
) -> None:
    for name, sessions, score in (("ic_low", 5, -0.3), ("ic_negative", 3, -0.5)):
        p = 0.5 * math.erfc(-score / math.sqrt(2))
        rate = error_rate(EACH_RUN[name], independent)
        expected = 252 * (1 - p) * p**sessions
        assert abs(rate.false_alarms_a_year - expected) < 4 * rate.false_alarms_se


def test_a_good_strategy_has_a_negative_week_of_sharpe_ratios_nine_times_a_year(
    independent: Simulated,
) -> None:
    rate = error_rate(EACH_RUN["sharpe_negative"], independent)
    assert rate.false_alarms_a_year == pytest.approx(8.8, abs=0.35)


def test_a_cusum_set_to_one_alarm_a_year_has_it_and_tells_a_break_in_fifteen_sessions(
    independent: Simulated, healthy: HealthyHistory
) -> None:
    written = [rule for rule in AlertConfig().rules() if rule.name == "ic_negative"]
    # A critical rule has a quarter of what is stated.
    calibrated = calibrate_rules(written, healthy, false_alarms_a_year=4.0, seed=3)
    (rule,) = calibrated
    assert rule.cusum_reference == pytest.approx(0.025)
    rate = error_rate(rule, independent)
    assert rate.false_alarms_a_year == pytest.approx(1.0, abs=0.15)
    assert rate.delay_sessions == pytest.approx(15, abs=1)
    origin = rule.calibration
    assert origin is not None
    assert (origin.first, origin.last, origin.sessions) == (healthy.first, healthy.last, 4000)


def test_every_calibrated_rule_fires_as_often_as_is_stated_on_its_own_history(
    healthy: HealthyHistory,
) -> None:
    calibrated = calibrate_rules(AlertConfig().rules(), healthy, false_alarms_a_year=2.0, seed=3)
    simulated = simulate(healthy, paths=500, seed=3)
    for rule in calibrated:
        a_year = {"warning": 2.0, "severe": 1.0, "critical": 0.5}[rule.severity]
        assert rule.calibration is not None
        assert rule.calibration.false_alarms_a_year == a_year
        rate = error_rate(rule, simulated)
        # The limit has the simulation error of its own paths as well.
        slack = 4 * math.sqrt(2) * rate.false_alarms_se
        assert rate.false_alarms_a_year < a_year + slack, rule.name
        # A few windows of a PSI are no continuum: beyond the stated rate the next may be half.
        least = a_year / 2 if rule.metric == "psi" else a_year
        assert rate.false_alarms_a_year > least - slack, rule.name
        assert (rule.mode, rule.name in EACH_RUN) == ("calibrated", True)


@pytest.mark.parametrize("a_year", [0.1, 1.0, 50.0])
@pytest.mark.parametrize("ic_mean", [0.05, 0.0])
@pytest.mark.parametrize("windows", [500, 25])
def test_the_graver_of_two_rules_has_the_limit_that_is_further_out(
    healthy: HealthyHistory, a_year: float, ic_mean: float, windows: int
) -> None:
    history = replace(
        healthy, ic=healthy.ic - 0.05 + ic_mean, psi=healthy.psi[:windows],
        psi_no_drift_95=healthy.psi_no_drift_95[:windows],
    )  # fmt: skip
    calibrated = calibrate_rules(
        AlertConfig().rules(), history, false_alarms_a_year=a_year, seed=3, paths=40
    )
    rules = {rule.name: rule for rule in calibrated}
    assert rules["psi_mild"].threshold < rules["psi_severe"].threshold
    assert rules["sharpe_low"].threshold > rules["sharpe_negative"].threshold
    references = [rules[name].cusum_reference for name in ("ic_low", "ic_severe", "ic_negative")]
    if ic_mean == 0.0:
        # Too near to each of the thresholds to be tuned to any, all watch one sum.
        assert len(set(references)) == 1
        limits = [rules[name].threshold for name in ("ic_low", "ic_severe", "ic_negative")]
        assert limits[0] < limits[1] < limits[2]
    else:
        assert references == sorted(set(references), reverse=True)


def test_gates_spare_alarms_and_cost_delay(independent: Simulated) -> None:
    config = AlertConfig()
    for written, gated in zip(config.rules("as_written"), config.rules("gated"), strict=True):
        if written.metric == "psi":
            continue
        before, after = error_rate(written, independent), error_rate(gated, independent)
        assert after.false_alarms_a_year < before.false_alarms_a_year / 5
        assert after.delay_sessions > before.delay_sessions


def test_what_a_source_has_not_is_undefined(independent: Simulated) -> None:
    rate = error_rate(EACH_RUN["psi_mild"], independent)
    assert math.isnan(rate.false_alarms_a_year)
    assert math.isnan(rate.delay_sessions)


def test_a_break_that_most_paths_never_tell_has_an_infinite_delay(independent: Simulated) -> None:
    rate = error_rate(replace(EACH_RUN["ic_severe"], threshold=-9.0), independent)
    assert (rate.false_alarms_a_year, rate.delay_sessions, rate.detected) == (0, math.inf, 0)


def test_a_rule_that_is_always_in_alarm_opens_nothing_and_says_so(independent: Simulated) -> None:
    rate = error_rate(replace(EACH_RUN["ic_severe"], threshold=9.0), independent)
    assert (rate.false_alarms_a_year, rate.in_alarm) == (0, 1)
    # Each session by itself: the share is the probability of a value below the threshold.
    rate = error_rate(EACH_RUN["ic_severe"], independent)
    assert rate.in_alarm == pytest.approx(NormalDist(0.05, 0.10).cdf(0.01), abs=0.005)


def test_a_psi_of_a_broken_feature_fires_before_its_window_has_turned_over(
    healthy: HealthyHistory,
) -> None:
    simulated = simulate(healthy, paths=50, seed=2)
    rates = {n: error_rate(EACH_RUN[n], simulated) for n in ("psi_mild", "psi_severe")}
    # The square of the share of the window after the break, times 0.5, passes the difference.
    assert 20 <= rates["psi_mild"].delay_sessions <= 27
    assert 38 <= rates["psi_severe"].delay_sessions <= 43


def test_a_history_that_is_too_short_is_refused_and_a_psi_without_one_stays_as_written(
    healthy: HealthyHistory,
) -> None:
    rules = AlertConfig().rules()
    short = replace(healthy, ic=healthy.ic[:19])
    with pytest.raises(MonitoringError, match="on 19 ICs, from 2019-01-02 to 2020-12-31"):
        calibrate_rules(rules, short, false_alarms_a_year=1.0, seed=1)
    without = replace(healthy, psi=healthy.psi[:0], psi_no_drift_95=healthy.psi[:0])
    found = calibrate_rules(rules, without, false_alarms_a_year=1.0, seed=1, paths=20)
    assert [rule for rule in found if rule.metric == "psi"] == [
        r for r in rules if r.metric == "psi"
    ]
    again = calibrate_rules(rules[:1], without, false_alarms_a_year=1.0, seed=1, paths=20)
    other = calibrate_rules(rules[:1], without, false_alarms_a_year=1.0, seed=2, paths=20)
    assert again == found[:1] != other
