"""A daemon at work is known by its next heartbeat, and one that was killed by having none."""

from __future__ import annotations

import time
from typing import Any

import pytest
from dagster._daemon.types import DaemonHeartbeat

from quant_mlops.errors import SettingsError
from quant_mlops.orchestration.daemon_heartbeats import refuse_second_daemon


def beat(desk: Any, *, seconds_ago: float = 0.0) -> None:
    beaten = DaemonHeartbeat(time.time() - seconds_ago, "SENSOR", "another")
    desk.instance.add_daemon_heartbeat(beaten)


def test_a_daemon_that_beats_again_is_told_of_and_one_that_does_not_is_let_be(desk: Any) -> None:
    said: list[str] = []
    refuse_second_daemon(desk.instance, progress=said.append)
    beat(desk, seconds_ago=60.0)
    refuse_second_daemon(desk.instance, progress=said.append)
    assert said == []

    beat(desk, seconds_ago=44.0)
    refuse_second_daemon(desk.instance, progress=said.append)
    (sentence,) = said
    assert sentence.startswith("a Dagster daemon was at work here at ")

    beat(desk, seconds_ago=20.0)
    with pytest.raises(SettingsError, match=r"another Dagster daemon is at work .* --home"):
        refuse_second_daemon(desk.instance, progress=lambda _: beat(desk))
