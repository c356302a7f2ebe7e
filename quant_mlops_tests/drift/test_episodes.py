"""When an episode begins, opens and closes."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.drift.episodes import find_episodes
from quant_mlops.drift.rules import AlertConfig, Rule

RULES = {rule.name: rule for rule in AlertConfig().rules()}
SESSIONS_ASKED = {
    "ic_low": 5, "ic_severe": 1, "ic_negative": 3, "psi_mild": 1, "psi_severe": 1,
    "sharpe_low": 10, "sharpe_negative": 5,
}  # fmt: skip
NAN = float("nan")
FLAGS = st.lists(st.sampled_from("x.?"), max_size=40).map("".join)
ANY_RULE = st.builds(
    lambda sessions, clear: Rule("r", "ic", "below", 0.0, sessions, "warning", "check_data", clear),
    st.integers(1, 4),
    st.integers(1, 4),
)


def series(rule: Rule, flags: str) -> np.ndarray:
    """Make a metric that meets the rule at x, does not at a dot, and is missing at ?."""
    step = 0.001 if rule.comparison == "above" else -0.001
    values = {"x": rule.threshold + step, ".": rule.threshold - step, "?": NAN}
    return np.array([values[flag] for flag in flags], dtype=np.float64)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_fires_on_the_last_session_it_asks_for_and_not_one_earlier(name: str) -> None:
    rule, asked = RULES[name], SESSIONS_ASKED[name]
    assert set(RULES) == set(SESSIONS_ASKED)
    assert find_episodes(rule, series(rule, "...." + "x" * (asked - 1))) == []
    (episode,) = find_episodes(rule, series(rule, "...." + "x" * (asked + 2)))
    assert (episode.began, episode.opened, episode.last) == (4, 3 + asked, 5 + asked)
    assert episode.closed is None
    assert episode.without_value == ()


@pytest.mark.parametrize("name", [name for name, asked in SESSIONS_ASKED.items() if asked > 1])
def test_one_session_within_bounds_starts_the_count_again(name: str) -> None:
    rule, asked = RULES[name], SESSIONS_ASKED[name]
    assert find_episodes(rule, series(rule, "x" * (asked - 1) + "." + "x" * (asked - 1))) == []


@pytest.mark.parametrize("name", RULES)
def test_a_session_without_a_value_neither_counts_nor_resets_and_is_listed(name: str) -> None:
    rule, asked = RULES[name], SESSIONS_ASKED[name]
    gap = "?" if asked > 1 else ""
    assert find_episodes(rule, series(rule, "x" * (asked - 1) + "??")) == []
    (episode,) = find_episodes(rule, series(rule, "??." + "x" * (asked - 1) + gap * 2 + "x"))
    assert episode.began == 3
    assert episode.opened == 3 + asked - 1 + 2 * len(gap)
    assert episode.without_value == tuple(range(2 + asked, 2 + asked + 2 * len(gap)))


@pytest.mark.parametrize("name", RULES)
def test_an_episode_ends_only_after_enough_sessions_within_bounds(name: str) -> None:
    rule, asked = RULES[name], SESSIONS_ASKED[name]
    opening = "x" * asked
    wavering = opening + "....x" + "....?" * 2 + "x" + "...."
    assert [e.closed for e in find_episodes(rule, series(rule, wavering))] != [None]
    calm = opening + "....x....x"
    (episode,) = find_episodes(rule, series(rule, calm))
    assert (episode.closed, episode.last) == (None, asked + 9)
    first, second = find_episodes(rule, series(rule, opening + "..?.?.." + opening))
    assert (first.closed, first.last) == (asked + 6, asked - 1)
    assert second.opened == 2 * asked + 6


def test_a_change_of_threshold_or_clearing_is_the_rules_own() -> None:
    rule = replace(RULES["psi_mild"], clear_after=1)
    found = find_episodes(rule, series(rule, "x.x.x"))
    assert [(e.opened, e.closed) for e in found] == [(0, 1), (2, 3), (4, None)]


@given(rule=ANY_RULE, flags=FLAGS)
def test_episodes_are_what_a_pattern_finds_among_the_sessions_with_a_value(
    rule: Rule, flags: str
) -> None:
    known = [i for i, flag in enumerate(flags) if flag != "?"]
    text = "".join(flags[i] for i in known)
    n, c = rule.sessions, rule.clear_after
    expected = []
    for match in re.finditer(rf"x{{{n}}}((?:(?!\.{{{c}}}).)*)(\.{{{c}}})?", text):
        within = text[match.start() : match.end(1)]
        expected.append(
            (
                known[match.start()],
                known[match.start() + n - 1],
                known[match.start() + within.rindex("x")],
                known[match.end(2) - 1] if match.group(2) else None,
            )
        )
    found = find_episodes(rule, series(rule, flags))
    assert [(e.began, e.opened, e.last, e.closed) for e in found] == expected
    for episode in found:
        between = flags[episode.began : episode.opened]
        assert len(episode.without_value) == between.count("?")
        assert all(flags[i] == "?" for i in episode.without_value)


@given(rule=ANY_RULE, flags=FLAGS, cut=st.integers(0, 40))
def test_what_follows_changes_no_opening(rule: Rule, flags: str, cut: int) -> None:
    whole = find_episodes(rule, series(rule, flags))
    prefix = find_episodes(rule, series(rule, flags[:cut]))
    opened = [(e.began, e.opened, e.without_value) for e in whole if e.opened < cut]
    assert [(e.began, e.opened, e.without_value) for e in prefix] == opened
    for early, late in zip(prefix, whole, strict=False):
        assert early.closed in (None, late.closed)
        assert early.last <= late.last


@given(rule=ANY_RULE, flags=FLAGS)
def test_episodes_follow_one_another(rule: Rule, flags: str) -> None:
    for earlier, later in pairwise(find_episodes(rule, series(rule, flags))):
        assert earlier.closed is not None
        assert earlier.opened <= earlier.last < earlier.closed < later.began
