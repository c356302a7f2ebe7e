"""Tries of sessions survive the cursor; only newly delivered prices begin a session anew."""

from __future__ import annotations

import json
from datetime import date

from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.orchestration.attempts import Attempts


def test_a_cursor_holds_spans_and_gives_back_what_was_known(calendar: TradingCalendar) -> None:
    days = calendar.sessions(date(2021, 1, 4), date(2022, 12, 30)).tolist()
    known = Attempts.read(None, calendar)
    for _ in range(2):
        known = known.counted(days[:400], in_file=[]).counted(days[450:], in_file=days)
    known = known.counted(days[:10], in_file=[])
    cursor = known.cursor(calendar)
    assert json.loads(cursor) == [
        [str(days[0]), str(days[9]), 3, False],
        [str(days[10]), str(days[399]), 2, False],
        [str(days[450]), str(days[-1]), 2, True],
    ]
    assert Attempts.read(cursor, calendar) == known
    assert known.still(days[395:455]).tried.keys() == {*days[395:400], *days[450:455]}


def test_only_prices_that_the_last_try_lacked_begin_a_session_anew(
    calendar: TradingCalendar,
) -> None:
    gap, failing = calendar.sessions(date(2021, 1, 4), date(2021, 1, 5)).tolist()
    known = Attempts({})
    for _ in range(3):
        assert known.open([gap, failing], in_file=[failing]) == [gap, failing]
        known = known.counted([gap, failing], in_file=[failing])
    assert known.open([gap, failing], in_file=[failing]) == []
    assert known.open([gap, failing], in_file=[]) == []
    assert known.open([gap, failing], in_file=[gap, failing]) == [gap]
    again = known.counted([gap], in_file=[gap, failing])
    assert [again.tried[day].tries for day in (gap, failing)] == [1, 3]
