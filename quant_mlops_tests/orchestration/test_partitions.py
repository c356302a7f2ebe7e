"""Partitions are the sessions of the exchange, and nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from quant_mlops.market.calendar import trading_calendar
from quant_mlops.orchestration.partitions import (
    newest_partition,
    previous_session,
    session_partitions,
)
from quant_mlops.strategy import Strategy

END_OF_2026 = datetime(2027, 1, 1, 15, tzinfo=UTC)


def changed(strategy: Strategy, **monitoring: Any) -> Strategy:
    section = strategy.monitoring.model_copy(update=monitoring)
    return strategy.model_copy(update={"monitoring": section})


def live(strategy: Strategy, calendar: str, first: date) -> Strategy:
    named = strategy.model_copy(update={"calendar": calendar})
    return changed(named, first_session=first, last_session=None)


@pytest.mark.parametrize("exchange", ["XNYS", "XLON", "XTKS", "XHKG", "XASX", "BVMF", "24/7"])
def test_keys_are_the_sessions_of_the_exchange_from_2019_to_2026(
    strategy: Strategy, exchange: str
) -> None:
    expected = trading_calendar(exchange).sessions(date(2019, 1, 1), date(2026, 12, 31))
    first_monitored = expected[1].item()

    partitions = session_partitions(live(strategy, exchange, first_monitored))

    keys = partitions.get_partition_keys(current_time=END_OF_2026)
    assert keys[0] == str(expected[0])
    assert keys == [str(day) for day in expected]


@pytest.mark.parametrize(
    ("closed", "why"),
    [
        ("2022-04-15", "Good Friday"),
        ("2022-11-24", "Thanksgiving"),
        ("2022-06-20", "Juneteenth, moved to Monday"),
        ("2025-01-09", "day of mourning"),
    ],
)
def test_a_holiday_has_no_partition(strategy: Strategy, closed: str, why: str) -> None:
    partitions = session_partitions(live(strategy, "XNYS", date(2022, 1, 4)))
    assert closed not in partitions.get_partition_keys(current_time=END_OF_2026), why


def test_the_first_partition_is_the_session_before_monitoring_begins(strategy: Strategy) -> None:
    after_a_long_weekend = changed(strategy, first_session=date(2022, 1, 18))
    assert session_partitions(after_a_long_weekend).get_first_partition_key() == "2022-01-14"


def test_a_strategy_with_a_last_session_has_no_partition_after_it(strategy: Strategy) -> None:
    ended = changed(strategy, first_session=date(2022, 1, 4), last_session=date(2022, 3, 11))
    keys = session_partitions(ended).get_partition_keys(current_time=END_OF_2026)
    assert (keys[0], keys[-1]) == ("2022-01-03", "2022-03-11")


@pytest.mark.parametrize(
    ("exchange", "session", "tick"),
    [
        ("XNYS", "2022-03-10", datetime(2022, 3, 11, 11, 0, tzinfo=UTC)),
        ("XTKS", "2022-03-10", datetime(2022, 3, 10, 21, 0, tzinfo=UTC)),
        ("XASX", "2022-03-10", datetime(2022, 3, 10, 19, 0, tzinfo=UTC)),
    ],
)
def test_a_session_is_a_partition_by_six_the_next_morning(
    strategy: Strategy, exchange: str, session: str, tick: datetime
) -> None:
    partitions = session_partitions(live(strategy, exchange, date(2022, 1, 12)))
    assert partitions.get_partition_keys(current_time=tick)[-1] == session


@pytest.mark.parametrize(
    ("session", "before"),
    [
        ("2022-01-18", "2022-01-14"),
        ("2022-11-25", "2022-11-23"),
        ("2022-03-15", "2022-03-14"),
        ("2022-03-14", "2022-03-11"),
    ],
)
def test_a_session_depends_on_the_session_before_it(
    strategy: Strategy, session: str, before: str
) -> None:
    partitions = session_partitions(live(strategy, "XNYS", date(2022, 1, 4)))
    found = previous_session().get_upstream_mapped_partitions_result_for_partitions(
        partitions.subset_with_partition_keys([session]),
        partitions,
        partitions,
        current_time=END_OF_2026,
    )
    assert list(found.partitions_subset.get_partition_keys()) == [before]


def test_the_first_partition_depends_on_nothing(strategy: Strategy) -> None:
    partitions = session_partitions(strategy)
    first = partitions.get_first_partition_key()
    assert first is not None
    found = previous_session().get_upstream_mapped_partitions_result_for_partitions(
        partitions.subset_with_partition_keys([first]),
        partitions,
        partitions,
        current_time=END_OF_2026,
    )
    assert list(found.partitions_subset.get_partition_keys()) == []


@pytest.mark.parametrize("exchange", ["XNYS", "XTKS", "24/7"])
@pytest.mark.parametrize("hour", [0, 4, 6, 16, 23])
def test_the_newest_partition_is_dagsters_last(
    strategy: Strategy, exchange: str, hour: int
) -> None:
    followed = live(strategy, exchange, date(2022, 1, 18))
    for day in (22, 23, 24, 27):
        moment = datetime(2022, 12, day, hour, tzinfo=UTC)
        *_, newest = session_partitions(followed).get_partition_keys(current_time=moment)
        assert str(newest_partition(followed, moment)) == newest
